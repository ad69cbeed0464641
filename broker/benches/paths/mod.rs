//! The code that runs for each message, each batch or each frame, without disk, socket or clock: what `timings`
//! measures and `instructions` counts.

mod broker;
mod log;
mod wire;

use ringmq_wire::batch::{BatchBuilder, BatchOptions, Record, place};

/// Records of a batch, and what a body has of bytes: small enough that the work on each record shows.
const RECORDS: usize = 100;
const BODY_BYTES: usize = 128;

/// One code path, ready to run again and again.
pub struct Path {
    pub name: &'static str,
    pub run: Box<dyn FnMut()>,
}

impl Path {
    fn new(name: &'static str, run: impl FnMut() + 'static) -> Self {
        let run = Box::new(run);
        Self { name, run }
    }
}

/// All of them, in the order in which a message meets them.
pub fn all() -> Vec<Path> {
    let mut paths = wire::paths();
    paths.extend(log::paths());
    paths.extend(broker::paths());
    paths
}

/// A batch as a producer sends it; every other message has the tag `even`.
fn batch() -> Vec<u8> {
    build(&mut BatchBuilder::new())
}

fn build(builder: &mut BatchBuilder) -> Vec<u8> {
    let body = [b'x'; BODY_BYTES];
    for number in 0..RECORDS {
        let record = Record {
            born_time_ms: 1_700_000_000_000 + number as i64,
            keys: &[],
            tag: if number % 2 == 0 { "even" } else { "odd" },
            properties: &[("trace", "on")],
            envelope: None,
            body: &body,
        };
        builder.push(&record).expect("a small record fits");
    }
    let options = BatchOptions::default();
    builder.finish(&options).expect("a small batch is valid")
}

/// A batch as it is stored, the one with this number in its queue.
fn placed(queue: u32, number: u64) -> Vec<u8> {
    let mut batch = batch();
    place(
        &mut batch,
        queue,
        number * RECORDS as u64,
        1_700_000_000_000,
    );
    batch
}
