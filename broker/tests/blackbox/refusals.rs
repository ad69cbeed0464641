//! What a broker refuses to start with, and what it says then.

use crate::harness::{Broker, complaint, run, scratch};

fn refused(arguments: &[&str], code: i32, words: &[&str]) {
    let output = run(arguments);
    let said = complaint(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    for word in words {
        assert!(
            said.contains(word),
            "{arguments:?} should say {word:?}: {said}"
        );
    }
    assert!(
        output.stdout.is_empty(),
        "nothing but results goes to stdout"
    );
}

#[test]
fn a_directory_has_one_process() {
    let home = scratch();
    let directory = home.path().join("data");
    let path = directory.display().to_string();
    let broker = Broker::dev(&directory, &[]);
    let second = [
        "dev",
        "--data-dir",
        &path,
        "--port",
        "0",
        "--namesrv-port",
        "0",
        "--admin-port",
        "0",
    ];
    refused(&second, 1, &["in use by process", &path]);
    broker.stop();
    Broker::dev(&directory, &[]).stop();
}

#[test]
fn a_port_has_one_process() {
    let home = scratch();
    let broker = Broker::dev(&home.path().join("data"), &[]);
    let other = home.path().join("other").display().to_string();
    let port = broker.shards[0].port().to_string();
    let arguments = [
        "dev",
        "--data-dir",
        &other,
        "--port",
        &port,
        "--namesrv-port",
        "0",
        "--admin-port",
        "0",
    ];
    refused(
        &arguments,
        1,
        &["cannot listen on 127.0.0.1:", &port, "--port"],
    );
    let port = broker.admin.port().to_string();
    let arguments = [
        "dev",
        "--data-dir",
        &other,
        "--port",
        "0",
        "--namesrv-port",
        "0",
        "--admin-port",
        &port,
    ];
    refused(&arguments, 1, &["cannot listen on", &port, "--admin-port"]);
    let port = broker
        .namesrv
        .rsplit(':')
        .next()
        .expect("a port")
        .to_owned();
    let arguments = [
        "dev",
        "--data-dir",
        &other,
        "--port",
        "0",
        "--namesrv-port",
        &port,
        "--admin-port",
        "0",
    ];
    refused(&arguments, 1, &["name server", &port, "--namesrv-port"]);
    broker.stop();
}

#[test]
fn shards_may_become_more_but_not_fewer() {
    let home = scratch();
    let directory = home.path().join("data");
    Broker::dev(&directory, &["--shards", "2"]).stop();
    let path = directory.display().to_string();
    let fewer = [
        "dev",
        "--data-dir",
        &path,
        "--shards",
        "1",
        "--port",
        "0",
        "--namesrv-port",
        "0",
        "--admin-port",
        "0",
    ];
    refused(&fewer, 1, &["2", "shards"]);
    let broker = Broker::dev(&directory, &["--shards", "3"]);
    assert_eq!(broker.shards.len(), 3);
    broker.stop();
}

#[test]
fn wrong_settings_are_named() {
    let home = scratch();
    let file = home.path().join("broker.toml");
    let path = file.display().to_string();
    let write = |text: &str| std::fs::write(&file, text).expect("written");
    write("[storage]\nretention_m = 1\n");
    refused(
        &["run", "--config", &path],
        2,
        &[&path, "`storage.retention_m`", "`storage.retention_ms`"],
    );
    write("shards = \"many\"\n");
    refused(
        &["run", "--config", &path],
        2,
        &["`shards`", "whole number"],
    );
    write("shards = [\n");
    refused(&["run", "--config", &path], 2, &[&path]);
    refused(
        &["run", "--config", "/not/there.toml"],
        2,
        &["/not/there.toml"],
    );
    refused(&["dev", "--shards", "65"], 2, &["--shards", "0 to 64"]);
    refused(
        &["dev", "--set", "nothing.like.this=1"],
        2,
        &["nothing.like.this"],
    );
    refused(&["dev", "--listen", "here"], 2, &["--listen", "IP address"]);
    refused(&["run", "--advertise", "0.0.0.0"], 2, &["advertise"]);
    refused(&["dev", "--log", "a=b=c"], 2, &["log.filter"]);
    refused(&["dev", "--no-such-flag"], 2, &["--no-such-flag"]);
}

#[test]
fn the_printed_configuration_is_a_configuration() {
    let home = scratch();
    let first = run(&[
        "run",
        "--node",
        "n",
        "--shards",
        "3",
        "--set",
        "log.format=json",
        "--print-config",
    ]);
    assert_eq!(first.status.code(), Some(0));
    let file = home.path().join("printed.toml");
    std::fs::write(&file, &first.stdout).expect("written");
    let again = run(&[
        "run",
        "--config",
        &file.display().to_string(),
        "--print-config",
    ]);
    assert_eq!(again.stdout, first.stdout);
    assert!(String::from_utf8_lossy(&first.stdout).contains("node = \"n\""));
}

#[test]
fn doctor_says_what_is_well_and_what_is_not() {
    let home = scratch();
    let good = run(&[
        "doctor",
        "--data-dir",
        &home.path().display().to_string(),
        "--port",
        "0",
        "--admin-port",
        "0",
    ]);
    let said = String::from_utf8_lossy(&good.stdout).into_owned();
    assert_eq!(good.status.code(), Some(0), "{said}");
    assert!(
        said.lines()
            .any(|line| line.starts_with("ok") && line.contains("kernel")),
        "{said}"
    );
    assert!(!said.contains("FAIL"), "{said}");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = taken.local_addr().expect("bound").port().to_string();
    let bad = run(&[
        "doctor",
        "--data-dir",
        "/proc/ringmq",
        "--listen",
        "127.0.0.1",
        "--port",
        &port,
        "--shards",
        "1",
        "--admin-port",
        "0",
    ]);
    let said = String::from_utf8_lossy(&bad.stdout).into_owned();
    assert_eq!(bad.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&format!("FAIL port: 127.0.0.1:{port}")),
        "{said}"
    );
    assert!(said.contains("FAIL direct IO"), "{said}");
    assert_eq!(
        said.matches("cause: ").count(),
        said.matches("cure:  ").count(),
        "{said}"
    );
}

#[test]
fn a_directory_without_direct_io_is_refused_at_start() {
    let start = [
        "dev",
        "--data-dir",
        "/proc/ringmq",
        "--port",
        "0",
        "--namesrv-port",
        "0",
        "--admin-port",
        "0",
    ];
    refused(&start, 1, &["direct IO", "cause: ", "cure: "]);
}
