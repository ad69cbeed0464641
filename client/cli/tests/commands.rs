//! The program against a cluster in memory: arguments, output, exit codes.

mod fake;

use fake::Cluster;
use std::io::Write;
use std::process::{Command, Output, Stdio};

fn ringmq(cluster: &Cluster) -> Command {
    let mut command = bare();
    command.env("RINGMQ_NAMESRV", cluster.name_server.to_string());
    command
}

fn bare() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq"));
    command
        .env_remove("RINGMQ_NAMESRV")
        .env_remove("NAMESRV_ADDR")
        .env_remove("RUST_LOG");
    command.stdin(Stdio::null());
    command
}

fn run(cluster: &Cluster, line: &str) -> Output {
    ringmq(cluster)
        .args(line.split_whitespace())
        .output()
        .expect("it runs")
}

/// Stdout of a command that must succeed.
fn ok(cluster: &Cluster, line: &str) -> String {
    let output = run(cluster, line);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{line}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Stderr of a command that must fail with 1 and without data.
fn fails(cluster: &Cluster, line: &str) -> String {
    let output = run(cluster, line);
    assert_eq!(
        output.status.code(),
        Some(1),
        "{line}: {}",
        text(&output.stdout)
    );
    text(&output.stderr)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).expect("JSON")
}

fn produce(cluster: &Cluster, line: &str, input: &[u8]) -> Output {
    let mut command = ringmq(cluster);
    command.args(line.split_whitespace());
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    child
        .stdin
        .take()
        .expect("piped")
        .write_all(input)
        .expect("it reads");
    child.wait_with_output().expect("it ends")
}

#[test]
fn topics_are_made_listed_described_changed_and_deleted() {
    let cluster = Cluster::start();
    assert_eq!(
        ok(&cluster, "topic list"),
        "NAME  QUEUES  SHARDS  RETENTION\n(none)\n"
    );
    let made = ok(&cluster, "topic create orders --queues 4 --retention 24h");
    assert_eq!(made, "topic orders: 4 queues on 1 shard(s)\n");
    ok(&cluster, "topic create orders --queues 4");
    assert!(fails(&cluster, "topic create orders --queues 5").contains("TopicExists"));
    let listed = json(&ok(&cluster, "topic list --output json"));
    assert_eq!(listed[0]["name"], "orders");
    assert_eq!(listed[0]["retention_ms"], 86_400_000);
    ok(
        &cluster,
        "topic update orders --queues 6 --retention default",
    );
    let described = json(&ok(&cluster, "topic describe orders -o json"));
    assert_eq!(described["queues"], 6);
    assert_eq!(described["retention_ms"], serde_json::Value::Null);
    assert_eq!(described["queue_states"].as_array().map(Vec::len), Some(6));
    assert!(ok(&cluster, "topic describe orders").contains("QUEUE"));
    ok(&cluster, "topic delete orders");
    assert!(fails(&cluster, "topic delete orders").contains("does not exist"));
}

#[test]
fn a_missing_topic_prints_how_to_make_it() {
    let cluster = Cluster::start();
    for line in [
        "topic describe nothing",
        "consume nothing",
        "produce nothing",
    ] {
        let error = fails(&cluster, line);
        assert!(
            error.contains("ringmq topic create nothing --queues 8"),
            "{line}: {error}"
        );
    }
}

#[test]
fn lines_come_back_as_they_went_in() {
    let cluster = Cluster::start();
    ok(&cluster, "topic create lines --queues 1");
    let input = b"one\n\n  two \xff\nthree\r\nlast";
    let output = produce(&cluster, "produce lines", input);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(output.stdout, b"", "data only on stdout, and there is none");
    assert!(text(&output.stderr).starts_with("5 messages to lines in "));
    let consumed = run(&cluster, "consume lines");
    assert_eq!(
        consumed.status.code(),
        Some(0),
        "{}",
        text(&consumed.stderr)
    );
    assert_eq!(consumed.stdout, [&input[..], b"\n"].concat());
    // Without a group nothing is kept: the same again.
    assert_eq!(run(&cluster, "consume lines").stdout, consumed.stdout);
    assert_eq!(ok(&cluster, "consume lines --max 1"), "one\n");
    assert_eq!(ok(&cluster, "consume lines --from 4"), "last\n");
    assert_eq!(ok(&cluster, "consume lines --from latest"), "");
}

#[test]
fn queues_are_kept_apart_and_in_order() {
    let cluster = Cluster::start();
    ok(&cluster, "topic create q --queues 4");
    let lines: Vec<String> = (0..1000).map(|n| format!("line {n}")).collect();
    let input = lines.join("\n");
    let output = produce(
        &cluster,
        "produce q --queues-in-turn --compression zstd",
        input.as_bytes(),
    );
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for queue in 0..4 {
        let expected: Vec<&str> = lines
            .iter()
            .skip(queue)
            .step_by(4)
            .map(String::as_str)
            .collect();
        let consumed = ok(&cluster, &format!("consume q --queue {queue}"));
        assert!(consumed.lines().eq(expected), "queue {queue}");
    }
    assert_eq!(ok(&cluster, "consume q").lines().count(), 1000);
    assert!(fails(&cluster, "consume q --queue 4").contains("no queue 4"));
}

#[test]
fn a_group_goes_on_where_it_stopped() {
    let cluster = Cluster::start();
    ok(&cluster, "topic create g --queues 2");
    produce(&cluster, "produce g", b"a\nb\nc\nd\n");
    let fresh = run(&cluster, "consume g --group audit");
    assert_eq!(
        (fresh.status.code(), text(&fresh.stdout)),
        (Some(0), String::new())
    );
    assert!(
        text(&fresh.stderr).contains("--from earliest"),
        "{}",
        text(&fresh.stderr)
    );
    let all = ok(&cluster, "consume g --group other --from earliest");
    let mut all: Vec<&str> = all.lines().collect();
    all.sort_unstable();
    assert_eq!(all, ["a", "b", "c", "d"]);
    produce(&cluster, "produce g --queue 1", b"e\n");
    assert_eq!(
        ok(&cluster, "consume g --group other --from earliest"),
        "e\n"
    );
    let again = run(&cluster, "consume g --group other");
    assert_eq!(text(&again.stderr), "nothing new for group other\n");
    let described = json(&ok(&cluster, "group describe other -o json"));
    assert_eq!(described["lag"], 0);
    assert!(ok(&cluster, "group list").contains("other"));
    let reset = json(&ok(
        &cluster,
        "group reset-offsets other g --to earliest --queue 0 -o json",
    ));
    assert_eq!(reset[0]["offset"], 0);
    assert_eq!(ok(&cluster, "consume g --group other").lines().count(), 2);
    ok(&cluster, "group delete other");
    assert!(fails(&cluster, "group delete other").contains("does not exist"));
}

#[test]
fn keys_tags_and_properties_arrive_and_single_messages_are_found() {
    let cluster = Cluster::start();
    ok(&cluster, "topic create k --queues 1");
    let line = "produce k --key-separator : --tag created --property region=eu";
    let output = produce(&cluster, line, b"k1:first\nk2:second\nplain\n");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let consumed = ok(&cluster, "consume k --output json");
    let messages: Vec<_> = consumed.lines().map(json).collect();
    assert_eq!(messages[0]["keys"], serde_json::json!(["k1"]));
    assert_eq!(messages[0]["body"], "first");
    assert_eq!(messages[1]["tag"], "created");
    assert_eq!(
        messages[1]["properties"],
        serde_json::json!([["region", "eu"]])
    );
    assert_eq!(messages[2]["keys"], serde_json::json!([]));
    let found = json(&ok(&cluster, "message get k --key k2 -o json"));
    assert_eq!(
        (&found[0]["body"], &found[0]["offset"]),
        (&"second".into(), &1.into())
    );
    assert!(ok(&cluster, "message get k --queue 0 --offset 0").contains("body        first"));
    let position = messages[1]["position"].to_string();
    let found = json(&ok(
        &cluster,
        &format!("message get --position {position} -o json"),
    ));
    assert_eq!(found[0]["body"], "second");
    assert!(fails(&cluster, "message get k --queue 0 --offset 9").contains("no message"));
}

#[test]
fn the_cluster_shows_its_shards() {
    let cluster = Cluster::start();
    let status = json(&ok(&cluster, "cluster status -o json"));
    assert_eq!(status["shards"][0]["shard"], fake::SHARD);
    assert_eq!(status["shards"][0]["health"], "ok");
    assert!(ok(&cluster, "cluster status").starts_with("SHARD"));
}

#[test]
fn a_closed_pipe_is_not_a_crash() {
    let cluster = Cluster::start();
    ok(&cluster, "topic create p --queues 1");
    let lines = "x".repeat(99) + "\n";
    produce(&cluster, "produce p", lines.repeat(50_000).as_bytes());
    let mut child = ringmq(&cluster)
        .args(["consume", "p"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(0), String::new())
    );
}

#[test]
fn follow_prints_what_comes_until_it_is_enough() {
    let cluster = Cluster::start();
    ok(&cluster, "topic create f --queues 1");
    produce(&cluster, "produce f", b"old\n");
    let mut child = ringmq(&cluster)
        .args([
            "consume", "f", "--follow", "--from", "earliest", "--max", "2",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut stdout = std::io::BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut stdout, &mut line).expect("a line");
    assert_eq!(line, "old\n", "printed although more may come");
    produce(&cluster, "produce f", b"new\nmore\n");
    line.clear();
    std::io::Read::read_to_string(&mut stdout, &mut line).expect("text");
    assert_eq!(line, "new\n");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert_eq!(
        ok(&cluster, "consume f --follow --timeout 200ms"),
        "",
        "starts at the end"
    );
}

#[test]
fn wrong_usage_is_2_and_an_absent_cluster_is_1() {
    let usage = bare().args(["topic", "create"]).output().expect("it runs");
    assert_eq!(usage.status.code(), Some(2));
    let nobody = bare()
        .args([
            "--namesrv",
            "127.0.0.1:1",
            "--request-timeout",
            "2s",
            "topic",
            "list",
        ])
        .output()
        .expect("it runs");
    assert_eq!(nobody.status.code(), Some(1));
    assert!(
        text(&nobody.stderr).contains("127.0.0.1:1"),
        "{}",
        text(&nobody.stderr)
    );
    assert!(text(&nobody.stderr).contains("is the cluster running?"));
}

#[test]
fn name_servers_come_from_the_flag_then_the_variables() {
    let cluster = Cluster::start();
    let list = |flag: Option<String>, ringmq: Option<String>, rocketmq: Option<String>| {
        let mut command = bare();
        command.args(
            flag.into_iter()
                .flat_map(|list| ["--namesrv".to_string(), list]),
        );
        command.envs(ringmq.map(|list| ("RINGMQ_NAMESRV", list)));
        command.envs(rocketmq.map(|list| ("NAMESRV_ADDR", list)));
        command.args(["--request-timeout", "2s", "topic", "list"]);
        command.output().expect("it runs").status.code()
    };
    let right = || Some(cluster.name_server.to_string());
    let wrong = || Some("127.0.0.1:1".to_string());
    assert_eq!(list(right(), wrong(), wrong()), Some(0));
    assert_eq!(list(None, right(), wrong()), Some(0));
    assert_eq!(
        list(None, None, right().map(|a| format!("127.0.0.1:1;{a}"))),
        Some(0)
    );
    assert_eq!(list(None, wrong(), right()), Some(1));
}

#[test]
fn completions_are_printed_without_a_cluster() {
    let output = bare()
        .args(["completions", "bash"])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).contains("_ringmq"));
}
