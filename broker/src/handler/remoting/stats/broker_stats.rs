//! 315: one of RocketMQ's statistics by name and key, over the last minute, hour and day.

use super::super::{Answer, Caller, Refused, Request};
use super::json;
use crate::shard::Shard;
use crate::shard::traffic::{Flow, Span, Traffic};
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::remoting::response_code;
use serde_json::{Value, json};
use std::rc::Rc;
use std::time::Duration;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _caller: &Rc<Caller<D>>,
    request: &Request,
) -> Result<Answer, Refused> {
    let name: String = request.command.required("statsName")?;
    let key: String = request.command.required("statsKey")?;
    let spans = shard.with_traffic(|traffic, clock| {
        flow(traffic, &name, &key).map(|flow| spans(flow, clock.monotonic))
    });
    match spans {
        Some(spans) => Ok(json(&spans)),
        // The code that tools expect for a statistic that has not begun.
        None => Err(Refused::new(
            response_code::SYSTEM_ERROR,
            format!("The stats <{name}> <{key}> not exist"),
        )),
    }
}

fn flow<'a>(traffic: &'a mut Traffic, name: &str, key: &str) -> Option<&'a mut Flow> {
    let of_group = |traffic: &'a mut Traffic| {
        let (topic, group) = key.split_once('@')?;
        traffic.group(topic, group)
    };
    match name {
        "TOPIC_PUT_NUMS" => Some(&mut traffic.topic(key)?.messages),
        "TOPIC_PUT_SIZE" => Some(&mut traffic.topic(key)?.bytes),
        "GROUP_GET_NUMS" => Some(&mut of_group(traffic)?.messages),
        "GROUP_GET_SIZE" => Some(&mut of_group(traffic)?.bytes),
        _ => None,
    }
}

fn spans(flow: &mut Flow, now: Duration) -> Value {
    let span = |span: Span| json!({ "avgpt": 0.0, "sum": span.sum, "tps": span.rate });
    json!({
        "statsDay": span(flow.day(now)),
        "statsHour": span(flow.hour(now)),
        "statsMinute": span(flow.minute(now)),
    })
}
