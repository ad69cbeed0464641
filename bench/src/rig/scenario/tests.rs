use super::*;

const GOOD: &str = r#"
title = "Durable batches"
target = 1
[[entrant]]
name = "ringmq"
server = "ringmq"
with.durable = { queues = 7 }
[[entrant]]
name = "limit"
server = "limit"
with.limit = { sizes = "65536", no_raw = true }
[[step]]
name = "durable"
command = "produce"
with = { batch = 1000, connections = 4, duration = "3s", queues = 1 }
[[step]]
name = "half"
command = "produce"
rate = { of = "durable", share = 0.5 }
[[claim]]
text = "near the limit"
figure = "ringmq/durable/throughput.mb_per_second"
against = ["limit/limit/best_mb_per_second"]
at_least = 0.65
"#;

#[test]
fn flags_become_a_command_line() {
    let scenario = Scenario::parse("s", GOOD).expect("good");
    assert_eq!((scenario.name.as_str(), scenario.rounds), ("s", 5));
    let step = &scenario.steps[0];
    let line = step.arguments(&scenario.entrants[0]).join(" ");
    assert_eq!(
        line,
        "produce --batch 1000 --connections 4 --duration 3s --queues 7"
    );
    if cfg!(target_os = "linux") {
        let line = scenario.entrants[1].limit_arguments().join(" ");
        assert_eq!(line, "limit --no-raw --sizes 65536");
    }
    assert_eq!(scenario.steps_of(&scenario.entrants[1]).count(), 0);
}

#[test]
fn what_is_wrong_is_named() {
    let cases = [
        ("batch = 1000", "batches = 1000", "--batches"),
        ("batch = 1000", "batch = 0", "--batch"),
        ("target = 1", "", "target"),
        (
            "target = 1",
            "target = 1\nname = \"x\"",
            "named by its file",
        ),
        ("server = \"ringmq\"", "server = \"pulsar\"", "pulsar"),
        ("of = \"durable\"", "of = \"half\"", "earlier step"),
        ("share = 0.5", "share = 2.0", "share"),
        ("with.durable", "with.durble", "durble"),
        ("at_least = 0.65", "", "at_least or at_most"),
        ("\"ringmq/durable/", "\"ring/durable/", "\"ring\""),
        (
            "\"ringmq/durable/",
            "\"ringmq/latency/",
            "ENTRANT/STEP/PATH",
        ),
        ("name = \"half\"", "name = \"durable\"", "twice"),
        ("name = \"half\"", "name = \"a b\"", "letters"),
        (
            "command = \"produce\"\nrate",
            "command = \"dance\"\nrate",
            "dance",
        ),
    ];
    for (from, to, expected) in cases {
        assert!(GOOD.contains(from), "{from}");
        let error = Scenario::parse("s", &GOOD.replacen(from, to, 1)).expect_err(to);
        assert!(error.contains(expected), "{to}: {error}");
    }
}

#[test]
fn the_scenarios_of_the_repository_are_good() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut targets = BTreeSet::new();
    for entry in std::fs::read_dir(directory).expect("there").flatten() {
        if entry.path().extension().is_some_and(|end| end == "toml") {
            let scenario = Scenario::load(&entry.path()).unwrap_or_else(|error| panic!("{error}"));
            targets.insert(scenario.target);
        }
    }
    assert_eq!(
        targets,
        (1..=11).collect(),
        "one scenario a target at least"
    );
}
