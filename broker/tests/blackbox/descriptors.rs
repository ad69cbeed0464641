//! A broker whose process has no descriptor left.

use std::net::TcpStream;

use ringmq_wire::codes::ErrorCode;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::harness::{Broker, scratch, until};
use crate::wire::{Wire, batch};

/// Lets a broker have so many descriptors more than it has now; `None`: as many as before.
fn allow_more(broker: &Broker, more: Option<usize>) {
    let directory = format!("/proc/{}/fd", broker.pid());
    let open = std::fs::read_dir(directory).expect("it runs").count();
    let maximum = getrlimit(Resource::Nofile).maximum;
    let pid = i32::try_from(broker.pid()).ok().and_then(Pid::from_raw);
    let limit = Rlimit {
        current: more.map_or(maximum, |more| Some((open + more) as u64)),
        maximum,
    };
    prlimit(pid, Resource::Nofile, limit).expect("it is ours");
}

#[test]
fn without_descriptors_nobody_new_is_served_and_everybody_else_is() {
    let home = scratch();
    let broker = Broker::dev(&home.path().join("data"), &[]);
    let address = broker.shards[0];
    let mut wire = Wire::connect(address);
    wire.create("served", 1, false).expect("made");
    allow_more(&broker, Some(8));
    let crowd: Vec<TcpStream> = (0..64)
        .map(|_| TcpStream::connect(address).expect("the kernel takes it"))
        .collect();
    until("the log says why", || {
        let log = broker.log();
        log.contains("accept failed") && log.contains("Too many open files")
    });
    let bodies = [b"still here".to_vec()];
    for _ in 0..20 {
        let stored = wire.produce("served", 0, &batch(None, &bodies));
        stored.expect("those who are connected are served");
    }
    assert_eq!(wire.read_all("served", 0).len(), 20);
    drop(crowd);
    // Those who left made room.
    assert_eq!(Wire::connect(address).read_all("served", 0).len(), 20);
    broker.stop();
}

#[test]
fn a_segment_that_cannot_be_opened_is_waited_for() {
    let home = scratch();
    let broker = Broker::dev(&home.path().join("data"), &[]);
    let mut wire = Wire::connect(broker.shards[0]);
    wire.create("much", 1, false).expect("made");
    allow_more(&broker, Some(0));
    let body = vec![vec![5; 1 << 20]];
    // Two segments of 64 MiB are prepared already.
    let mut stored = 0;
    let refused = loop {
        match wire.produce("much", 0, &batch(None, &body)) {
            Ok(_) => stored += 1,
            Err(ErrorCode::Busy) => {}
            Err(code) => break code,
        }
        assert!(stored < 200, "no third segment can be opened");
    };
    assert_eq!(refused, ErrorCode::NoSpace);
    assert!(broker.log().contains("Too many open files"));
    allow_more(&broker, None);
    until("it goes on by itself", || {
        wire.produce("much", 0, &batch(None, &body)).is_ok()
    });
    assert_eq!(wire.read_all("much", 0).len(), stored + 1);
    broker.stop();
}
