//! The wall clock jumps, forwards and back, under a real broker; libfaketime makes it.

use std::path::{Path, PathBuf};

use ringmq_wire::native::schema::*;

use crate::ask;
use crate::harness::{Broker, program, scratch, until};
use crate::wire::{Wire, batch};

/// Where Debian's `libfaketime` is.
fn library() -> Option<PathBuf> {
    let places = std::fs::read_dir("/usr/lib").ok()?;
    let mut places = places.flatten().map(|place| place.path());
    places.find_map(|place| {
        let library = place.join("faketime/libfaketimeMT.so.1");
        library.exists().then_some(library)
    })
}

pub fn missing() -> Option<String> {
    match library() {
        Some(_) => None,
        None => Some("needs libfaketime, which is not installed".to_owned()),
    }
}

/// Store times never fall, the status says how far the clock is behind, and nothing is refused or lost.
pub fn may_jump() {
    let home = scratch();
    let clock = home.path().join("clock");
    set(&clock, "+0s");
    let start = || {
        let mut command = program();
        command
            .env("LD_PRELOAD", library().expect("checked before"))
            .env("DONT_FAKE_MONOTONIC", "1")
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_TIMESTAMP_FILE", &clock);
        let directory = home.path().join("data");
        let log = home.path().join("broker.log");
        let arguments = ["dev", "--namesrv-port", "0"];
        Broker::launch(&mut command, &directory, &log, &arguments)
    };
    let mut broker = start();
    let mut wire = Wire::connect(broker.shards[0]);
    wire.create("timed", 1, false).expect("made");
    let mut last_ms = 0;
    let mut stored = 0;
    let mut store = |wire: &mut Wire| {
        let bodies = [b"now".to_vec()];
        let answer = wire.produce("timed", 0, &batch(None, &bodies));
        let store_time_ms = answer.expect("stored").store_time_ms;
        assert!(store_time_ms >= last_ms, "{store_time_ms} after {last_ms}");
        stored += 1;
        std::mem::replace(&mut last_ms, store_time_ms)
    };
    store(&mut wire);
    for jump in ["+7200s", "-86400s", "+60s", "-7200s", "+0s"] {
        set(&clock, jump);
        let before_ms = store(&mut wire);
        let after_ms = store(&mut wire);
        if jump == "+7200s" {
            assert!(after_ms >= before_ms + 7_000_000, "the clock is believed");
        } else {
            until("the status says how far it is behind", || {
                health(&mut wire).contains("ms behind the last store time")
            });
        }
    }
    broker.stop();
    // A start with a clock behind the log.
    broker = start();
    let mut wire = Wire::connect(broker.shards[0]);
    store(&mut wire);
    assert_eq!(wire.read_all("timed", 0).len(), stored);
    broker.stop();
}

/// Replaced in one step, because it is read at any moment.
fn set(clock: &Path, offset: &str) {
    let next = clock.with_extension("next");
    std::fs::write(&next, format!("{offset}\n")).expect("written");
    std::fs::rename(next, clock).expect("replaced");
}

fn health(wire: &mut Wire) -> String {
    let request = ShardStatusRequestT::default();
    let status = ask!(wire, ShardStatus, ShardStatusResponse, &request);
    status.expect("answered").health.unwrap_or_default()
}
