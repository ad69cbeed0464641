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

/// A null server of its own process; killed when dropped.
struct Null(std::process::Child, String);

impl Null {
    fn start() -> Self {
        use std::io::BufRead;
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringmq-bench"))
            .args(["null", "--message-bytes", "100", "--batch", "10"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        std::io::BufReader::new(stdout)
            .read_line(&mut line)
            .expect("a line");
        let address = line.trim().strip_prefix("ready broker=").expect("ready");
        let address = address.to_owned();
        Self(child, address)
    }
}

impl Drop for Null {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_null_server_takes_and_gives_without_end() {
    let cluster = Cluster::start();
    let null = Null::start();
    for (size, batch) in [(100, 1), (1024, 1000)] {
        let line = format!(
            "produce --shard {} --message-bytes {size} --batch {batch} --connections 2 --queues 2 \
             --duration 1s --warm-up 0s",
            null.1
        );
        let produced = report(&cluster, &line);
        assert!(number(&produced, "/messages_in_all") > 0.0);
        if cfg!(target_os = "linux") {
            assert_eq!(number(&produced, "/server/0/pid"), f64::from(null.0.id()));
            assert!(number(&produced, "/generator_cpu_per_million") >= 0.0);
        }
    }
    let line = format!(
        "consume --shard {} --queues 2 --duration 1s --connections 2",
        null.1
    );
    let consumed = report(&cluster, &line);
    assert!(number(&consumed, "/messages_in_all") > 0.0);
}

#[test]
#[cfg(target_os = "linux")]
fn the_limit_is_measured() {
    let cluster = Cluster::start();
    let line = "limit --sizes 65536 --in-flight 1,2 --connections 2 --duration 50ms --warm-up 10ms \
                --file-bytes 16777216 --buffer-bytes 4194304";
    let limits = report(&cluster, line);
    for cell in 0..2 {
        let rate = number(&limits, &format!("/cells/{cell}/rounds_mb_per_second/0"));
        // On a busy machine nothing may fall into so short a window.
        assert!(rate >= 0.0, "{limits:#}");
    }
    assert!(number(&limits, "/durable_write/0/p50_us") > 0.0);
    assert!(number(&limits, "/round_trip/0/p50_us") > 0.0);
    assert!(number(&limits, "/loopback_mb_per_second/0") >= 0.0);
    assert!(number(&limits, "/reads/0/rounds_mb_per_second/0") > 0.0);
    assert_eq!(
        limits["machine"]["kernel"].as_str().map(str::is_empty),
        Some(false)
    );
}

#[test]
fn a_scenario_is_run_and_reported() {
    let cluster = Cluster::start();
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name).display().to_string();
    let scenario = r#"
title = "Nothing is stored"
target = 1
rounds = 2
[[entrant]]
name = "null"
server = "null"
[[step]]
name = "some"
command = "produce"
with = { message_bytes = 100, batch = 10, duration = "200ms", warm_up = "0s" }
[[step]]
name = "more"
command = "produce"
rate = { of = "some", share = 0.01 }
with = { message_bytes = 100, batch = 10, duration = "200ms", warm_up = "0s" }
[[claim]]
text = "a <share> is less than all"
figure = "null/more/messages_in_all"
against = ["null/some/messages_in_all"]
at_most = 1.0
[[claim]]
text = "the null server stops time"
figure = "null/some/acknowledged.p50_us"
at_most = 0.0
"#;
    std::fs::write(at("tiny.toml"), scenario).expect("written");
    let line = format!(
        "run {} --results {} --data-dir {}",
        at("tiny.toml"),
        at("results"),
        at("data")
    );
    let run = bench(&cluster, &line);
    assert_eq!(run.status.code(), Some(0), "{run:?}");
    let said = String::from_utf8_lossy(&run.stdout);
    assert_eq!(said.matches("tiny 2/2 null").count(), 2, "{said}");
    assert!(!directory.path().join("data").exists(), "nothing is left");
    let reported = bench(&cluster, &format!("report {}", at("results")));
    assert_eq!(reported.status.code(), Some(0), "{reported:?}");
    let table = std::fs::read_to_string(at("results/report.md")).expect("written");
    assert!(
        table.contains("| a <share> is less than all | **met** |"),
        "{table}"
    );
    assert!(
        table.contains("| the null server stops time | **not met** |"),
        "{table}"
    );
    let page = std::fs::read_to_string(at("results/report.html")).expect("written");
    assert!(
        page.contains("<svg") && page.contains("a &lt;share&gt; is"),
        "a chart"
    );
    assert!(
        !page.contains("http-equiv") && !page.contains("src="),
        "one file"
    );

    let broken = scenario.replace("batch", "badge");
    std::fs::write(at("tiny.toml"), broken).expect("written");
    let run = bench(&cluster, &line);
    assert_eq!(run.status.code(), Some(1));
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(
        said.contains("tiny.toml") && said.contains("--badge"),
        "{said}"
    );
}
