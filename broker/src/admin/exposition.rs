//! Shard counters as Prometheus wants them. Names begin with `ringmq_`; every series has the label `shard`.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use ringmq_storage_engine::store::{Histogram, LogMode, StoreMetrics};

use crate::metrics::{DelayMetrics, SessionMetrics, ShardMetrics};

/// What one shard answered; `None`: nothing in time.
#[derive(Debug)]
pub(super) struct Scraped {
    pub shard: String,
    pub metrics: Option<Box<ShardMetrics>>,
}

/// The text of a scrape.
pub(super) fn render(
    cluster: &str,
    node: &str,
    uptime_ms: u64,
    shards: Vec<Scraped>,
) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape {
        cluster: cluster.to_owned(),
        node: node.to_owned(),
        uptime_ms,
        shards,
    }));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Scrape {
    cluster: String,
    node: String,
    uptime_ms: u64,
    shards: Vec<Scraped>,
}

type Read<S> = fn(&S) -> u64;

const STORE_COUNTERS: &[(&str, &str, Read<StoreMetrics>)] = &[
    ("ringmq_appended_batches", "Record batches appended", |m| {
        m.batches_appended
    }),
    ("ringmq_appended_messages", "Messages appended", |m| {
        m.messages_appended
    }),
    (
        "ringmq_appended_controls",
        "Control records appended",
        |m| m.controls_appended,
    ),
    ("ringmq_appended_bytes", "Bytes of records appended", |m| {
        m.bytes_appended
    }),
    (
        "ringmq_frames_written",
        "Frames (group commits) written",
        |m| m.frames_written,
    ),
    (
        "ringmq_frame_bytes_written",
        "Bytes of frames written, padding included",
        |m| m.frame_bytes_written,
    ),
    (
        "ringmq_append_refused_busy",
        "Appends refused because too many bytes were in flight",
        |m| m.append_refused_busy,
    ),
    (
        "ringmq_append_refused_no_space",
        "Appends refused for want of disk space",
        |m| m.append_refused_no_space,
    ),
    ("ringmq_read_batches", "Record batches read", |m| {
        m.batches_read
    }),
    ("ringmq_read_bytes", "Bytes of batches read", |m| {
        m.bytes_read
    }),
    (
        "ringmq_cache_hits",
        "Reads answered from the tail cache",
        |m| m.cache_hits,
    ),
    ("ringmq_cache_misses", "Reads that went to the disk", |m| {
        m.cache_misses
    }),
    ("ringmq_segments_sealed", "Segments sealed", |m| {
        m.segments_sealed
    }),
    (
        "ringmq_segments_retired",
        "Segments removed or recycled",
        |m| m.segments_retired,
    ),
    ("ringmq_snapshots_written", "Snapshots written", |m| {
        m.snapshots_written
    }),
    ("ringmq_meta_writes", "Writes of shard.meta", |m| {
        m.meta_writes
    }),
];

const STORE_GAUGES: &[(&str, &str, Read<StoreMetrics>)] = &[
    (
        "ringmq_log_in_flight_bytes",
        "Bytes appended and not yet durable",
        |m| m.in_flight_bytes,
    ),
    (
        "ringmq_log_bytes",
        "Bytes of the log from its start to its end",
        |m| m.log_bytes,
    ),
    ("ringmq_cache_bytes", "Bytes of the tail cache", |m| {
        m.cache_bytes
    }),
    ("ringmq_disk_total_bytes", "Size of the file system", |m| {
        m.disk_total_bytes
    }),
    (
        "ringmq_disk_free_bytes",
        "Free bytes of the file system",
        |m| m.disk_free_bytes,
    ),
];

const SESSION_COUNTERS: &[(&str, &str, Read<SessionMetrics>)] = &[
    (
        "ringmq_produced_messages",
        "Messages received from producers",
        |m| m.produced_messages,
    ),
    (
        "ringmq_produced_bytes",
        "Bytes of batches received from producers",
        |m| m.produced_bytes,
    ),
    (
        "ringmq_fetched_messages",
        "Messages sent to consumers",
        |m| m.fetched_messages,
    ),
    (
        "ringmq_fetched_bytes",
        "Bytes of batches sent to consumers",
        |m| m.fetched_bytes,
    ),
    ("ringmq_connections_accepted", "Connections accepted", |m| {
        m.connections_accepted
    }),
    (
        "ringmq_connections_refused",
        "Connections refused at the limit",
        |m| m.connections_refused,
    ),
];

const SESSION_GAUGES: &[(&str, &str, Read<SessionMetrics>)] = &[
    ("ringmq_connections", "Open connections", |m| m.connections),
    (
        "ringmq_session_in_flight_bytes",
        "Request bytes not answered and answer bytes not sent",
        |m| m.in_flight_bytes,
    ),
];

const DELAY_COUNTERS: &[(&str, &str, Read<DelayMetrics>)] = &[
    (
        "ringmq_delayed_parked",
        "Messages stored to be delivered later",
        |m| m.parked,
    ),
    ("ringmq_delayed_delivered", "Of those, delivered", |m| {
        m.delivered
    }),
    (
        "ringmq_delayed_gone",
        "Of those, dropped because their topic was deleted",
        |m| m.gone,
    ),
    ("ringmq_delayed_lost", "Of those, lost to damage", |m| {
        m.lost
    }),
];

const SHARD_GAUGES: &[(&str, &str, Read<ShardMetrics>)] = &[
    ("ringmq_topics", "Topics with a share at the shard", |m| {
        m.topics
    }),
    ("ringmq_queues", "Queues of the shard", |m| m.queues),
    (
        "ringmq_delayed_waiting",
        "Messages that wait to be delivered",
        |m| m.delayed.waiting,
    ),
    (
        "ringmq_log_appended_position",
        "End of what entered the log",
        |m| m.frontiers.appended.0,
    ),
    (
        "ringmq_log_durable_position",
        "End of what survives a power cut",
        |m| m.frontiers.durable.0,
    ),
    (
        "ringmq_log_visible_position",
        "End of what consumers may read",
        |m| m.frontiers.visible.0,
    ),
    (
        "ringmq_log_undurable_bytes",
        "The distance appended - durable",
        |m| m.frontiers.appended.0.saturating_sub(m.frontiers.durable.0),
    ),
    (
        "ringmq_shard_writable",
        "Whether the log takes records",
        |m| u64::from(m.health.mode == LogMode::Serving),
    ),
    (
        "ringmq_shard_warnings",
        "Things that an operator should look at",
        |m| m.health.warnings.len() as u64,
    ),
];

/// A histogram: its metric, the powers of two that are of interest, and the size of its unit.
struct Shape {
    name: &'static str,
    help: &'static str,
    read: fn(&StoreMetrics) -> &Histogram,
    powers: std::ops::RangeInclusive<usize>,
    unit: f64,
}

const HISTOGRAMS: &[Shape] = &[
    Shape {
        name: "ringmq_durable_write_seconds",
        help: "From handing a frame to the disk until it is durable",
        read: |m| &m.durable_write_us,
        powers: 4..=24,
        unit: 1e-6,
    },
    Shape {
        name: "ringmq_frame_size_bytes",
        help: "Bytes of a frame",
        read: |m| &m.frame_bytes,
        powers: 12..=25,
        unit: 1.0,
    },
    Shape {
        name: "ringmq_group_commit_records",
        help: "Records that share a frame",
        read: |m| &m.group_records,
        powers: 1..=17,
        unit: 1.0,
    },
];

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.encode_node(&mut encoder)?;
        for (name, help, read) in STORE_COUNTERS {
            self.counter(&mut encoder, name, help, |m| read(&m.store))?;
        }
        for (name, help, read) in SESSION_COUNTERS {
            self.counter(&mut encoder, name, help, |m| read(&m.sessions))?;
        }
        for (name, help, read) in DELAY_COUNTERS {
            self.counter(&mut encoder, name, help, |m| read(&m.delayed))?;
        }
        for (name, help, read) in STORE_GAUGES {
            self.gauge(&mut encoder, name, help, |m| read(&m.store))?;
        }
        for (name, help, read) in SESSION_GAUGES {
            self.gauge(&mut encoder, name, help, |m| read(&m.sessions))?;
        }
        for (name, help, read) in SHARD_GAUGES {
            self.gauge(&mut encoder, name, help, read)?;
        }
        self.by_label(
            &mut encoder,
            "ringmq_requests",
            "Requests answered or refused",
            "kind",
            |m| {
                m.sessions
                    .requests
                    .iter()
                    .map(|(kind, count)| (kind.name(), *count))
                    .collect()
            },
        )?;
        self.remoting_requests(&mut encoder)?;
        self.by_label(
            &mut encoder,
            "ringmq_refusals",
            "Requests refused",
            "code",
            |m| {
                m.sessions
                    .refusals
                    .iter()
                    .map(|(code, count)| (code.name(), *count))
                    .collect()
            },
        )?;
        for shape in HISTOGRAMS {
            self.histogram(&mut encoder, shape)?;
        }
        Ok(())
    }
}

impl Scrape {
    fn encode_node(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut info =
            encoder.encode_descriptor("ringmq_broker", "Who this is", None, MetricType::Info)?;
        info.encode_info(&[
            ("version", env!("CARGO_PKG_VERSION")),
            ("cluster", &*self.cluster),
            ("node", &*self.node),
        ])?;
        let mut uptime = encoder.encode_descriptor(
            "ringmq_uptime_seconds",
            "Since the process started",
            None,
            MetricType::Gauge,
        )?;
        uptime.encode_gauge(&(self.uptime_ms as f64 / 1000.0))?;
        let mut up = encoder.encode_descriptor(
            "ringmq_shard_up",
            "Whether the shard answered this scrape within a second",
            None,
            MetricType::Gauge,
        )?;
        for scraped in &self.shards {
            up.encode_family(&[("shard", &*scraped.shard)])?
                .encode_gauge(&i64::from(scraped.metrics.is_some()))?;
        }
        Ok(())
    }

    fn answered(&self) -> impl Iterator<Item = (&str, &ShardMetrics)> {
        self.shards
            .iter()
            .filter_map(|scraped| Some((&*scraped.shard, scraped.metrics.as_deref()?)))
    }

    fn counter(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        read: impl Fn(&ShardMetrics) -> u64,
    ) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (shard, metrics) in self.answered() {
            metric
                .encode_family(&[("shard", shard)])?
                .encode_counter::<NoLabelSet, _, u64>(&read(metrics), None)?;
        }
        Ok(())
    }

    fn gauge(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        read: impl Fn(&ShardMetrics) -> u64,
    ) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (shard, metrics) in self.answered() {
            let value = i64::try_from(read(metrics)).unwrap_or(i64::MAX);
            metric
                .encode_family(&[("shard", shard)])?
                .encode_gauge(&value)?;
        }
        Ok(())
    }

    fn remoting_requests(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help =
            "Requests of RocketMQ clients, by code and code of the answer; -1: unknown codes";
        let mut metric = encoder.encode_descriptor(
            "ringmq_remoting_requests",
            help,
            None,
            MetricType::Counter,
        )?;
        for (shard, metrics) in self.answered() {
            for ((request, answer), count) in &metrics.sessions.remoting {
                let (request, answer) = (request.to_string(), answer.to_string());
                let labels = [("shard", shard), ("request", &request), ("answer", &answer)];
                metric
                    .encode_family(&labels)?
                    .encode_counter::<NoLabelSet, _, u64>(count, None)?;
            }
        }
        Ok(())
    }

    fn by_label(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        label: &'static str,
        read: impl Fn(&ShardMetrics) -> Vec<(&'static str, u64)>,
    ) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (shard, metrics) in self.answered() {
            for (value, count) in read(metrics) {
                metric
                    .encode_family(&[("shard", shard), (label, value)])?
                    .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
        }
        Ok(())
    }

    fn histogram(&self, encoder: &mut DescriptorEncoder<'_>, shape: &Shape) -> fmt::Result {
        let mut metric =
            encoder.encode_descriptor(shape.name, shape.help, None, MetricType::Histogram)?;
        for (shard, metrics) in self.answered() {
            let histogram = (shape.read)(&metrics.store);
            let buckets = buckets(histogram, shape);
            let labels = [("shard", shard)];
            let mut family = metric.encode_family(&labels)?;
            encode_histogram(
                &mut family,
                histogram.sum as f64 * shape.unit,
                histogram.count,
                &buckets,
            )?;
        }
        Ok(())
    }
}

fn encode_histogram(
    metric: &mut prometheus_client::encoding::MetricEncoder<'_>,
    sum: f64,
    count: u64,
    buckets: &[(f64, u64)],
) -> fmt::Result {
    fn none<S: EncodeLabelSet>() -> Option<
        &'static std::collections::HashMap<
            usize,
            prometheus_client::metrics::exemplar::Exemplar<S, f64>,
        >,
    > {
        None
    }
    metric.encode_histogram(sum, count, buckets, none::<NoLabelSet>())
}

/// Counts by bucket, those outside the powers of interest in the first and in the unbounded one.
fn buckets(histogram: &Histogram, shape: &Shape) -> Vec<(f64, u64)> {
    let (first, last) = (*shape.powers.start(), *shape.powers.end());
    let mut buckets = Vec::new();
    let mut below = 0;
    for (power, count) in histogram.buckets.iter().enumerate() {
        below += count;
        if power >= first && power <= last {
            // The store's bounds are exclusive, Prometheus' inclusive.
            let bound = (Histogram::upper_bound(power) - 1) as f64;
            buckets.push((bound * shape.unit, std::mem::take(&mut below)));
        }
    }
    buckets.push((f64::INFINITY, below));
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scraped() -> Vec<Scraped> {
        let mut metrics = ShardMetrics::default();
        metrics.store.messages_appended = 42;
        for us in [10, 100, 1_000_000_000] {
            metrics.store.durable_write_us.record(us);
        }
        metrics.frontiers.appended.0 = 9_000;
        metrics.frontiers.durable.0 = 5_000;
        metrics
            .sessions
            .requests
            .push((ringmq_wire::codes::Kind::Produce, 7));
        metrics.sessions.remoting.push(((310, 0), 5));
        vec![
            Scraped {
                shard: "s00-a".to_owned(),
                metrics: Some(Box::new(metrics)),
            },
            Scraped {
                shard: "s01-a".to_owned(),
                metrics: None,
            },
        ]
    }

    #[test]
    fn every_line_is_a_comment_or_a_named_sample() {
        let text = render("c", "n", 1500, scraped()).expect("renders");
        for line in text.lines() {
            if line.starts_with('#') {
                continue;
            }
            assert!(line.starts_with("ringmq_"), "{line}");
            let value = line.rsplit(' ').next().unwrap_or_default();
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn values_arrive_under_their_shard() {
        let text = render("c", "n", 1500, scraped()).expect("renders");
        for line in [
            "ringmq_appended_messages_total{shard=\"s00-a\"} 42",
            "ringmq_log_undurable_bytes{shard=\"s00-a\"} 4000",
            "ringmq_shard_up{shard=\"s01-a\"} 0",
            "ringmq_requests_total{shard=\"s00-a\",kind=\"Produce\"} 7",
            "ringmq_remoting_requests_total{shard=\"s00-a\",request=\"310\",answer=\"0\"} 5",
            "ringmq_durable_write_seconds_count{shard=\"s00-a\"} 3",
            "ringmq_durable_write_seconds_bucket{le=\"+Inf\",shard=\"s00-a\"} 3",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
