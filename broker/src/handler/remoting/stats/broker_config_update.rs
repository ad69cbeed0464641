//! 25: changes the configuration of the running node, all its shards. `brokerPermission` can be changed so: 4 takes the
//! write permission away until it is given back or the broker starts again. Everything else is read at the start.

use super::super::{Answer, Caller, Refused, Request};
use super::broker_config::properties;
use crate::shard::Shard;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::remoting::response_code::{INVALID_PARAMETER, NO_PERMISSION};
use std::rc::Rc;

const PERMISSION: &str = "brokerPermission";
const WRITE: u32 = 2;
/// Keys that RocketMQ refuses by name, too.
const REFUSED: [&str; 2] = ["configBlackList", "brokerConfigPath"];

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let text = std::str::from_utf8(&request.body)
        .map_err(|_| Refused::new(INVALID_PARAMETER, "the body is not text"))?;
    let mut writable = None;
    let now = properties(shard);
    for (name, value) in pairs(text)? {
        if REFUSED.contains(&name) {
            let remark = format!("{name} cannot be changed by a request");
            return Err(Refused::new(NO_PERMISSION, remark));
        }
        if name == PERMISSION {
            let bits: u32 = value.parse().map_err(|_| {
                Refused::new(
                    INVALID_PARAMETER,
                    format!("{PERMISSION}={value}: a number is expected"),
                )
            })?;
            writable = Some(bits & WRITE != 0);
        } else if !now
            .iter()
            .any(|(known, set)| *known == name && set == value)
        {
            let remark =
                format!("{name} is read when the broker starts: set it in broker.toml and restart");
            return Err(Refused::new(INVALID_PARAMETER, remark));
        }
    }
    if let Some(writable) = writable {
        shard.node().set_writable(writable);
        let client = caller.peer();
        tracing::warn!(writable, %client, "write permission of this node was changed by a request");
    }
    Ok(Answer::ok())
}

/// The `name=value` lines of a property file.
fn pairs(text: &str) -> Result<Vec<(&str, &str)>, Refused> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with(['#', '!']));
    lines
        .map(|line| {
            let (name, value) = line.split_once('=').ok_or_else(|| {
                Refused::new(INVALID_PARAMETER, format!("{line:?} is not NAME=VALUE"))
            })?;
            Ok((name.trim(), value.trim()))
        })
        .collect()
}
