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
    let cluster = &shard.settings().cluster;
    let spans = shard.with_traffic(|traffic, clock| {
        let statistic = statistic(traffic, cluster, &name, &key)?;
        Some(statistic.spans(clock.monotonic))
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

/// What is shown: sums and rates, and with `times` also the average of what was summed.
struct Statistic<'a> {
    sum: &'a mut Flow,
    times: Option<&'a mut Flow>,
}

fn statistic<'a>(
    traffic: &'a mut Traffic,
    cluster: &str,
    name: &str,
    key: &str,
) -> Option<Statistic<'a>> {
    let plain = |sum| Some(Statistic { sum, times: None });
    match name {
        "TOPIC_PUT_NUMS" => plain(&mut traffic.topic(key)?.messages),
        "TOPIC_PUT_SIZE" => plain(&mut traffic.topic(key)?.bytes),
        "BROKER_PUT_NUMS" if key == cluster => plain(&mut traffic.put_flow),
        "BROKER_GET_NUMS" if key == cluster => plain(&mut traffic.got_flow),
        _ => {
            let (topic, group) = key.split_once('@')?;
            let flows = traffic.group(topic, group)?;
            match name {
                "GROUP_GET_NUMS" => plain(&mut flows.read.messages),
                "GROUP_GET_SIZE" => plain(&mut flows.read.bytes),
                "SNDBCK_PUT_NUMS" => plain(&mut flows.sent_back),
                "GROUP_GET_LATENCY" => Some(Statistic {
                    sum: &mut flows.read_ms,
                    times: Some(&mut flows.reads),
                }),
                _ => None,
            }
        }
    }
}

impl Statistic<'_> {
    fn spans(self, now: Duration) -> Value {
        let Self { sum, mut times } = self;
        let mut span = |of: fn(&mut Flow, Duration) -> Span| {
            let (sum, times) = (of(sum, now), times.as_mut().map(|times| of(times, now).sum));
            let times = times.unwrap_or(0);
            let average = if times > 0 {
                sum.sum as f64 / times as f64
            } else {
                0.0
            };
            json!({ "avgpt": average, "sum": sum.sum, "tps": sum.rate })
        };
        json!({
            "statsDay": span(Flow::day),
            "statsHour": span(Flow::hour),
            "statsMinute": span(Flow::minute),
        })
    }
}
