//! The program: its ready line, its exit codes, its configuration file.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

fn namesrv() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq-namesrv"));
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .stdin(Stdio::null());
    command
        .env_remove("RINGMQ_NAMESRV_PORT")
        .env_remove("RINGMQ_NAMESRV_LISTEN");
    command
}

#[test]
fn it_says_where_it_listens_and_ends_well_at_sigterm() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("namesrv.toml");
    std::fs::write(&file, "listen = \"127.0.0.1\"\nport = 1\n").expect("writable");
    let mut child = namesrv()
        .args(["--port", "0", "--config"])
        .arg(&file)
        .spawn()
        .expect("starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    let address = line
        .trim_end()
        .strip_prefix("ready namesrv=")
        .expect("the ready line");
    let address: SocketAddr = address.parse().expect("an address");
    TcpStream::connect(address).expect("it listens there");
    let killed = Command::new("kill")
        .arg(child.id().to_string())
        .status()
        .expect("kill runs");
    assert!(killed.success());
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(0));
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("text");
    assert_eq!(rest, "", "stdout carries the ready line alone");
}

#[test]
fn what_it_cannot_use_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("namesrv.toml");
    let failure = |text: &str| {
        std::fs::write(&file, text).expect("writable");
        let output = namesrv().arg("--config").arg(&file).output().expect("runs");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).expect("text")
    };
    assert!(failure("prot = 9876").contains("unknown field `prot`"));
    assert!(failure("shards_max = 0").contains("shards_max is 0"));
    let usage = namesrv().arg("--prot").output().expect("runs");
    assert_eq!(usage.status.code(), Some(2));
}
