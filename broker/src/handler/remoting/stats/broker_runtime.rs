//! 28: numbers of the running broker, under the names that RocketMQ's tools look for.

use super::super::{Answer, Caller, Refused, Request};
use super::json;
use super::queues::{self, LocalQueue};
use crate::shard::Shard;
use crate::shard::traffic::{Clock, Total, Traffic};
use crate::state::system::{SCHEDULE_GROUP, SCHEDULE_TOPIC};
use ringmq_storage_engine::store::Histogram;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::remoting::VERSION;
use serde_json::json;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Of RocketMQ, whose behaviour we have; the name of [`VERSION`].
const VERSION_NAME: &str = "V5_3_3";
/// Requests are begun as they arrive; there are no pools whose queues could fill.
const POOLS: [&str; 6] = ["send", "pull", "query", "litePull", "ack", "EndTransaction"];

/// Queues whose oldest message is looked at.
const EARLIEST_QUEUES_MAX: usize = 64;

type Table = BTreeMap<String, String>;

pub async fn handle<D: Disk, R: Runtime>(
    shard: &Shard<D, R>,
    _caller: &Rc<Caller<D>>,
    _request: &Request,
) -> Result<Answer, Refused> {
    let mut table = Table::new();
    shard.with_traffic(|traffic, clock| {
        rates(&mut table, traffic, clock);
        clocks(&mut table, shard, clock);
    });
    log(&mut table, shard);
    latencies(&mut table, shard);
    pools(&mut table);
    delays(&mut table, shard);
    put(
        &mut table,
        "earliestMessageTimeStamp",
        earliest(shard).await,
    );
    Ok(json(&json!({ "table": table })))
}

fn put(table: &mut Table, name: impl Into<String>, value: impl ToString) {
    table.insert(name.into(), value.to_string());
}

fn rates(table: &mut Table, traffic: &mut Traffic, clock: Clock) {
    let three = |total: &mut Total| {
        let [ten, minute, ten_minutes] = total.rates(clock);
        format!("{ten} {minute} {ten_minutes}")
    };
    put(table, "putTps", three(&mut traffic.put));
    let got = three(&mut traffic.got);
    // RocketMQ 4 and 5 spell it differently.
    put(table, "getTransferedTps", &got);
    put(table, "getTransferredTps", &got);
    let (found, missed) = (traffic.found.rates(clock), traffic.missed.rates(clock));
    put(table, "getFoundTps", three(&mut traffic.found));
    put(table, "getMissTps", three(&mut traffic.missed));
    let all: Vec<String> = found
        .iter()
        .zip(missed)
        .map(|(found, missed)| (found + missed).to_string())
        .collect();
    put(table, "getTotalTps", all.join(" "));
    put(
        table,
        "getMessageEntireTimeMax",
        traffic.read_max.as_millis(),
    );
    for (name, total) in [("msgPut", &mut traffic.put), ("msgGet", &mut traffic.got)] {
        let [yesterday, today, now] = total.mornings(clock);
        put(table, format!("{name}TotalYesterdayMorning"), yesterday);
        put(table, format!("{name}TotalTodayMorning"), today);
        put(table, format!("{name}TotalTodayNow"), now);
    }
}

fn clocks<D: Disk, R: Runtime>(table: &mut Table, shard: &Shard<D, R>, clock: Clock) {
    let up_ms = shard.node().uptime_ms();
    let started = clock.wall_ms.saturating_sub(up_ms as i64);
    let seconds = up_ms / 1000;
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
    let runtime = format!("[ {days} days, {hours} hours, {minutes} minutes, {seconds} seconds ]");
    put(table, "bootTimestamp", started);
    put(table, "startAcceptSendRequestTimeStamp", started);
    put(table, "runtime", runtime);
    put(table, "brokerActive", true);
    put(table, "brokerVersion", VERSION);
    put(table, "brokerVersionDesc", VERSION_NAME);
    put(table, "ringmqVersion", crate::SOFTWARE);
    put(table, "ringmqCondition", shard.condition());
}

fn log<D: Disk, R: Runtime>(table: &mut Table, shard: &Shard<D, R>) {
    const GIB: f64 = (1u64 << 30) as f64;
    let (metrics, frontiers) = (shard.store().metrics(), shard.store().frontiers());
    let (total, free) = (
        metrics.disk_total_bytes as f64,
        metrics.disk_free_bytes as f64,
    );
    let used = if total > 0.0 { 1.0 - free / total } else { 0.0 };
    let end = frontiers.appended.0;
    let messages = metrics.messages_appended.max(1);
    let capacity = format!(
        "Total : {:.1} GiB, Free : {:.1} GiB.",
        total / GIB,
        free / GIB
    );
    put(table, "commitLogDirCapacity", capacity);
    put(table, "commitLogDiskRatio", used);
    put(table, "consumeQueueDiskRatio", used);
    put(table, "commitLogMaxOffset", end);
    put(
        table,
        "commitLogMinOffset",
        end.saturating_sub(metrics.log_bytes),
    );
    put(table, "dispatchBehindBytes", end - frontiers.visible.0);
    put(table, "dispatchMaxBuffer", 0);
    put(table, "remainHowManyDataToCommit", "0 B");
    put(
        table,
        "remainHowManyDataToFlush",
        format!("{} B", end - frontiers.durable.0),
    );
    put(table, "remainTransientStoreBufferNumbs", 0);
    put(table, "pageCacheLockTimeMills", 0);
    put(table, "putMessageTimesTotal", metrics.messages_appended);
    put(
        table,
        "putMessageFailedTimes",
        metrics.append_refused_busy + metrics.append_refused_no_space,
    );
    put(table, "putMessageSizeTotal", metrics.bytes_appended);
    put(
        table,
        "putMessageAverageSize",
        metrics.bytes_appended as f64 / messages as f64,
    );
}

/// How long messages take to get to the disk, in milliseconds, since the start.
fn latencies<D: Disk, R: Runtime>(table: &mut Table, shard: &Shard<D, R>) {
    let durable_us = shard.store().metrics().durable_write_us;
    let below_ms = |share| durable_us.quantile(share) as f64 / 1000.0;
    put(table, "putLatency99", below_ms(0.99));
    put(table, "putLatency999", below_ms(0.999));
    put(table, "putMessageEntireTimeMax", below_ms(1.0).ceil());
    let mut counts = Vec::new();
    let mut from_ms = 0;
    for until_ms in [1, 10, 50, 100, 200, 500, 1000, u64::MAX] {
        let count = within(&durable_us, from_ms * 1000, until_ms.saturating_mul(1000));
        counts.push(match until_ms {
            u64::MAX => format!("[{from_ms}ms~]:{count}"),
            _ => format!("[{from_ms}~{until_ms}ms]:{count}"),
        });
        from_ms = until_ms;
    }
    put(table, "putMessageDistributeTime", counts.join(" "));
}

/// Values in that range, as exactly as buckets of powers of two tell it.
fn within(values: &Histogram, from: u64, until: u64) -> u64 {
    let buckets = values.buckets.iter().enumerate();
    let in_range = buckets.filter(|(bucket, _)| {
        let below = Histogram::upper_bound(*bucket);
        below > from && below <= until
    });
    in_range.map(|(_, count)| count).sum()
}

fn pools(table: &mut Table) {
    for pool in POOLS {
        let prefix = match pool {
            "EndTransaction" => "EndTransaction".to_owned(),
            _ => format!("{pool}ThreadPool"),
        };
        put(table, format!("{prefix}QueueSize"), 0);
        put(table, format!("{pool}ThreadPoolQueueCapacity"), 0);
        put(table, format!("{pool}ThreadPoolQueueHeadWaitTimeMills"), 0);
    }
    for timer in ["ReadBehind", "OffsetBehind", "CongestNum"] {
        put(table, format!("timer{timer}"), 0);
    }
    for timer in ["timerEnqueueTps", "timerDequeueTps"] {
        put(table, timer, "0.0");
    }
}

/// When the oldest message was stored, of the queues that were made first; -1 without any.
async fn earliest<D: Disk, R: Runtime>(shard: &Shard<D, R>) -> i64 {
    let queues: Vec<LocalQueue> = shard.with_state(|state| {
        let topics = state.topics();
        let queues = topics.flat_map(|(_, topic)| queues::of_topic(shard, state, topic));
        let mut used: Vec<_> = queues
            .filter(|queue| queue.range.min < queue.range.visible)
            .collect();
        used.sort_unstable_by_key(|queue| queue.handle);
        used.truncate(EARLIEST_QUEUES_MAX);
        used
    });
    let mut earliest = i64::MAX;
    for queue in queues {
        match queues::store_time(shard, &queue, queue.range.min).await {
            0 => {}
            time => earliest = earliest.min(time),
        }
    }
    if earliest == i64::MAX { -1 } else { earliest }
}

/// How far delivery of delayed messages is at each level: the next message, and the end.
fn delays<D: Disk, R: Runtime>(table: &mut Table, shard: &Shard<D, R>) {
    shard.with_state(|state| {
        let Some(topic) = state.topic(SCHEDULE_TOPIC) else {
            return;
        };
        for (level, &handle) in (1..).zip(&topic.handles) {
            let next = state.committed(SCHEDULE_GROUP, handle).unwrap_or_default();
            let end = shard.visible_offset(handle);
            let name = format!("scheduleMessageOffset_{level}");
            put(table, name, format!("{},{}", next.0, end.0));
        }
    });
}
