//! Each kind of run, small, against a cluster in memory: so that the rig cannot rot.

#[path = "../../client/cli/tests/fake/mod.rs"]
mod fake;

use fake::Cluster;
use std::process::{Command, Output};

fn bench(cluster: &Cluster, line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringmq-bench"))
        .args(line.split_whitespace())
        .env("RINGMQ_NAMESRV", cluster.name_server.to_string())
        .output()
        .expect("it runs")
}

fn report(cluster: &Cluster, line: &str) -> serde_json::Value {
    let output = bench(cluster, &format!("{line} --json -"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{line}: {stderr}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn number(report: &serde_json::Value, pointer: &str) -> f64 {
    let found = report.pointer(pointer).and_then(serde_json::Value::as_f64);
    found.unwrap_or_else(|| panic!("{pointer} is not in {report:#}"))
}

#[test]
fn produce_counts_what_consume_finds() {
    let cluster = Cluster::start();
    let line = "produce --topic t --queues 4 --connections 2 --message-bytes 100 --batch 10 \
                --duration 500ms --warm-up 0s";
    let produced = report(&cluster, line);
    let sent = number(&produced, "/throughput/messages");
    assert!(sent > 0.0 && sent % 10.0 == 0.0, "{sent}");
    assert_eq!(number(&produced, "/parameters/message_bytes"), 100.0);
    assert_eq!(number(&produced, "/parameters/in_flight"), 8.0);
    assert!(
        number(&produced, "/acknowledged/p99_99_us") >= number(&produced, "/acknowledged/p50_us")
    );
    assert!(
        produced["errors"]
            .as_object()
            .is_some_and(serde_json::Map::is_empty)
    );
    if cfg!(target_os = "linux") {
        // The cluster is in this process.
        assert_eq!(
            number(&produced, "/server/0/pid"),
            f64::from(std::process::id())
        );
        assert!(number(&produced, "/server/0/rss_bytes") > 0.0);
    }
    let stored = {
        let state = cluster.shared.state.lock().expect("no panic");
        state.topics["t"]
            .queues
            .iter()
            .map(|queue| queue.next_offset)
            .sum::<u64>() as f64
    };
    assert!(
        stored >= sent,
        "{stored} stored, {sent} acknowledged in time"
    );
    let consumed = report(&cluster, "consume --topic t --verify --duration 30s");
    assert_eq!(number(&consumed, "/throughput/messages"), stored);
    assert!(
        number(&consumed, "/throughput/seconds") < 30.0,
        "ends at the end"
    );
}

#[test]
fn an_open_loop_keeps_its_rate() {
    let cluster = Cluster::start();
    let line = "produce --topic t --queues 2 --batch 1 --rate 500 --duration 2s --warm-up 200ms \
                --message-bytes 64";
    let report = report(&cluster, line);
    let rate = number(&report, "/throughput/messages_per_second");
    assert!((400.0..=600.0).contains(&rate), "{rate}");
    assert!(number(&report, "/send_delay/count") > 900.0);
}

#[test]
fn latency_sees_every_message_delivered() {
    let cluster = Cluster::start();
    let line = "latency --topic t --queues 3 --batch 2 --rate 400 --duration 1s --warm-up 200ms \
                --connections 2 --message-bytes 64";
    let report = report(&cluster, line);
    let acknowledged = number(&report, "/acknowledged/count");
    assert!(acknowledged > 0.0);
    assert_eq!(number(&report, "/delivered/count"), acknowledged);
    assert!(number(&report, "/delivered/max_us") < 30e6);
}

#[test]
fn a_missing_topic_and_a_missing_cluster_are_told() {
    let cluster = Cluster::start();
    let output = bench(&cluster, "consume --topic nothing");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("ringmq topic create nothing"));
    let output = bench(&cluster, "produce --namesrv 127.0.0.1:1");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("127.0.0.1:1"));
    assert_eq!(
        bench(&cluster, "produce --duration ten").status.code(),
        Some(2)
    );
}
