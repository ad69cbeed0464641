//! 25: changes the configuration of the running node, all its shards, until its next start: `brokerPermission` (4 takes
//! the write permission away), `autoCreateTopicEnable` (if it was on at start) and `autoCreateSubscriptionGroup`.
//! Everything else is read at the start.

use super::super::{Answer, Caller, Refused, Request};
use super::broker_config::{GROUPS, TOPICS, properties};
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
    let now = properties(shard);
    // All of them are looked at before the first is done.
    let changes: Vec<Change> = pairs(text)?
        .into_iter()
        .map(|(name, value)| change(shard, &now, name, value))
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .flatten()
        .collect();
    let node = shard.node();
    for change in changes {
        match change {
            Change::Writable(writable) => node.set_writable(writable),
            Change::Topics(on) => node.automatic().topics.set(on),
            Change::Groups(on) => node.automatic().groups.set(on),
        }
        let client = caller.peer();
        tracing::warn!(?change, %client, "the configuration of this node was changed by a request, until its next start");
    }
    Ok(Answer::ok())
}

/// What a request may change.
#[derive(Debug, Clone, Copy)]
enum Change {
    Writable(bool),
    Topics(bool),
    Groups(bool),
}

/// `None`: it is so already.
fn change<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    now: &[(&str, String)],
    name: &str,
    value: &str,
) -> Result<Option<Change>, Refused> {
    let wrong = |wanted: &str| {
        let remark = format!("{name}={value}: {wanted} is expected");
        Refused::new(INVALID_PARAMETER, remark)
    };
    let on = || value.parse::<bool>().map_err(|_| wrong("true or false"));
    match name {
        _ if REFUSED.contains(&name) => {
            let remark = format!("{name} cannot be changed by a request");
            Err(Refused::new(NO_PERMISSION, remark))
        }
        PERMISSION => {
            let bits: u32 = value.parse().map_err(|_| wrong("a number"))?;
            Ok(Some(Change::Writable(bits & WRITE != 0)))
        }
        // The template of RocketMQ's clients is made at start, or not.
        TOPICS if shard.node().identity().auto_create => Ok(Some(Change::Topics(on()?))),
        GROUPS => Ok(Some(Change::Groups(on()?))),
        _ if now
            .iter()
            .any(|(known, set)| *known == name && set == value) =>
        {
            Ok(None)
        }
        _ => {
            let remark =
                format!("{name} is read when the broker starts: set it in broker.toml and restart");
            Err(Refused::new(INVALID_PARAMETER, remark))
        }
    }
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
