//! A broker in a memory cgroup (version 1) that is smaller than what its clients would like to fill.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use ringmq_wire::codes::Kind;
use ringmq_wire::native::schema::*;

use super::load::{Bodies, Consumer, Producer, TOPIC};
use crate::harness::{Broker, Random, program, scratch};
use crate::wire::Wire;

const GROUPS: &str = "/sys/fs/cgroup/memory";
const QUEUES: u32 = 8;
/// Caches of 80 MiB, requests and answers of 64 MiB, frames of 32 MiB, and the program.
const LIMIT_BYTES: u64 = 288 << 20;
const DEAF_CONSUMERS: usize = 16;

pub fn missing() -> Option<String> {
    let limit = Path::new(GROUPS).join("memory.limit_in_bytes");
    match std::fs::File::options().write(true).open(&limit) {
        Ok(_) => None,
        Err(error) => Some(format!("needs {}: {error}", limit.display())),
    }
}

/// A cgroup; removed when dropped.
struct Group(PathBuf);

impl Group {
    fn new() -> Self {
        let path = Path::new(GROUPS).join(format!("ringmq-{}", std::process::id()));
        std::fs::create_dir(&path).expect("made");
        let group = Self(path);
        group.set("memory.limit_in_bytes", LIMIT_BYTES);
        group
    }

    fn set(&self, key: &str, value: u64) {
        std::fs::write(self.0.join(key), value.to_string()).expect("set");
    }

    fn get(&self, key: &str) -> u64 {
        let value = std::fs::read_to_string(self.0.join(key)).expect("told");
        value.trim().parse().expect("a number")
    }

    /// A command that runs in it.
    fn within(&self, program: &Command) -> Command {
        let mut command = Command::new("sh");
        let script = r#"echo $$ > "$0/cgroup.procs" && exec "$@""#;
        command.arg("-c").arg(script).arg(&self.0);
        command.arg(program.get_program());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Empty only a little after the death of its last process.
        for _ in 0..100 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// Busy producers and consumers that never read: it stays within its limit and loses nothing. Returns the most
/// memory that it took.
pub fn is_enough() -> u64 {
    let group = Group::new();
    let home = scratch();
    let arguments = [
        "dev",
        "--namesrv-port",
        "0",
        "--set",
        "limits.shard_in_flight_bytes=67108864",
    ];
    let log = home.path().join("broker.log");
    let directory = home.path().join("data");
    let mut command = group.within(&program());
    let broker = Broker::launch(&mut command, &directory, &log, &arguments);
    let address = broker.shards[0];
    let made = Wire::connect(address).create(TOPIC, QUEUES, false);
    made.expect("made");
    let bodies = Arc::new(Bodies::new(Random::new().below(u64::MAX)));
    let mut producers: Vec<Producer> = (0..QUEUES).map(|q| Producer::new(&bodies, q)).collect();
    let mut produce = |enough| {
        std::thread::scope(|scope| {
            for producer in &mut producers {
                scope.spawn(move || {
                    let ran = producer.run(address, enough);
                    assert_eq!(ran.expect("the connection stays"), Ok(()));
                });
            }
        });
    };
    produce(500);
    let deaf: Vec<Wire> = (0..DEAF_CONSUMERS)
        .map(|_| ask_and_forget(address))
        .collect();
    produce(2_000);
    let mut consumer = Consumer::try_new(address, &bodies, QUEUES).expect("connects");
    consumer.read_all().expect("everything can be read");
    let sent: Vec<usize> = producers.iter().map(|producer| producer.sent).collect();
    assert_eq!(consumer.read, sent);
    drop(deaf);
    broker.stop();
    group.get("memory.max_usage_in_bytes")
}

/// A connection that asks for everything there is, many times, and takes nothing.
fn ask_and_forget(address: std::net::SocketAddr) -> Wire {
    let mut wire = Wire::connect(address);
    for _ in 0..8 {
        let mut add = FetchAddT::default();
        add.topic = TOPIC.to_owned();
        let mut request = FetchRequestT::default();
        request.add = Some(vec![add]);
        request.max_bytes = 16 << 20;
        wire.send(Kind::Fetch, 0, |b| request.pack(b))
            .expect("sent");
    }
    wire
}
