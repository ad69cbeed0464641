//! Work for a broker that is about to be hurt, and the record of what it promised.
//!
//! The record is in this process, outside of whatever is broken. Message `n` of a queue has bytes that follow from the
//! seed, the queue and `n`, and must get offset `n`: its one producer is idempotent and sends again what got no answer.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use ringmq_wire::batch::BatchView;
use ringmq_wire::codes::{ErrorCode, Kind};
use ringmq_wire::limits::PRODUCER_IN_FLIGHT_MAX;
use ringmq_wire::native;
use ringmq_wire::native::schema::*;

use crate::harness::Random;
use crate::wire::{Wire, batch, produced};

/// The topic that is written to.
pub const TOPIC: &str = "kept";
const MESSAGES_MAX: u64 = 6;
const FILLER_BYTES_MAX: usize = 16_000;
const POOL_BYTES: usize = 1 << 20;

/// What every message of a run is made of.
pub struct Bodies {
    pool: Vec<u8>,
}

impl Bodies {
    pub fn new(seed: u64) -> Self {
        let mut random = Random::seeded(seed);
        let mut pool = Vec::with_capacity(POOL_BYTES);
        while pool.len() < POOL_BYTES {
            pool.extend(random.below(u64::MAX).to_le_bytes());
        }
        Self { pool }
    }

    /// The bytes of message `number` of a queue: its name, and a piece of the pool that no other message has.
    pub fn of(&self, queue: u32, number: usize) -> Vec<u8> {
        let mixed =
            (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(queue) << 32;
        let from = (mixed >> 20) as usize % (POOL_BYTES - FILLER_BYTES_MAX);
        let bytes = (mixed >> 44) as usize % FILLER_BYTES_MAX;
        let mut body = format!("{queue}:{number}:").into_bytes();
        body.extend(&self.pool[from..from + bytes]);
        body
    }
}

/// The idempotent producer of one queue.
pub struct Producer {
    bodies: Arc<Bodies>,
    queue: u32,
    random: Random,
    /// Messages that were sent at least once.
    pub sent: usize,
    /// First message of a batch that is not acknowledged, and one behind its last.
    open: BTreeMap<usize, usize>,
    /// Everything below was acknowledged.
    pub acknowledged: usize,
    pub duplicates: usize,
}

impl Producer {
    pub fn new(bodies: &Arc<Bodies>, queue: u32) -> Self {
        Self {
            bodies: Arc::clone(bodies),
            queue,
            random: Random::seeded(0x5eed_0000 + u64::from(queue)),
            sent: 0,
            open: BTreeMap::new(),
            acknowledged: 0,
            duplicates: 0,
        }
    }

    /// Sends until the connection breaks, a batch is refused, or `enough` messages are acknowledged.
    pub fn run(&mut self, address: SocketAddr, enough: usize) -> io::Result<Result<(), ErrorCode>> {
        let mut wire = Wire::try_connect(address)?;
        let mut waiting = BTreeMap::new();
        // What got no answer may be stored or not: again, with the same sequences, in order.
        for (from, to) in self.open.clone() {
            waiting.insert(self.send(&mut wire, from, to)?, from);
        }
        while self.acknowledged < enough || !waiting.is_empty() {
            while waiting.len() < PRODUCER_IN_FLIGHT_MAX && self.acknowledged < enough {
                let (from, to) = self.more();
                waiting.insert(self.send(&mut wire, from, to)?, from);
            }
            let answer = wire.receive()?;
            let from = waiting.remove(&answer.id).expect("one of ours");
            match produced(&answer) {
                Ok(result) => {
                    assert_eq!(result.base_offset, from as u64, "message n has offset n");
                    self.duplicates += usize::from(result.duplicate);
                    self.open.remove(&from).expect("was open");
                    // Answers of one queue leave in order.
                    let below = self.open.first_key_value().map(|(from, _)| *from);
                    self.acknowledged = below.unwrap_or(self.sent);
                }
                Err(code) => return Ok(Err(code)),
            }
        }
        Ok(Ok(()))
    }

    fn more(&mut self) -> (usize, usize) {
        let from = self.sent;
        self.sent += 1 + self.random.below(MESSAGES_MAX) as usize;
        self.open.insert(from, self.sent);
        (from, self.sent)
    }

    fn send(&self, wire: &mut Wire, from: usize, to: usize) -> io::Result<u64> {
        let bodies: Vec<Vec<u8>> = (from..to)
            .map(|number| self.bodies.of(self.queue, number))
            .collect();
        let sequence = u32::try_from(from).expect("a short test");
        let producer = 0xfeed + u64::from(self.queue);
        wire.send_produce(
            TOPIC,
            self.queue,
            &batch(Some((producer, sequence)), &bodies),
        )
    }
}

/// Reads all queues, and compares every byte with what was sent.
pub struct Consumer {
    wire: Wire,
    bodies: Arc<Bodies>,
    session: u32,
    /// Messages read, by queue.
    pub read: Vec<usize>,
}

impl Consumer {
    /// At the start of `queues` queues.
    pub fn try_new(address: SocketAddr, bodies: &Arc<Bodies>, queues: u32) -> io::Result<Self> {
        Ok(Self {
            wire: Wire::try_connect(address)?,
            bodies: Arc::clone(bodies),
            session: 0,
            read: vec![0; queues as usize],
        })
    }

    /// One fetch; false: there was nothing new for `wait_ms`.
    pub fn fetch(&mut self, wait_ms: u32) -> io::Result<bool> {
        let (queues, payload) = self.exchange(wait_ms)?;
        let mut rest = &payload[..];
        let mut progress = false;
        for queue in queues {
            assert_eq!(queue.error, 0, "queue {}: {:?}", queue.slot, queue.message);
            for batch in queue.batches.unwrap_or_default() {
                let (bytes, behind) = rest.split_at(batch.length as usize);
                rest = behind;
                self.compare(queue.slot, bytes);
                progress = true;
            }
        }
        Ok(progress)
    }

    /// One fetch that is not expected to go well: what is wrong with each queue of the answer.
    pub fn fetch_errors(&mut self, wait_ms: u32) -> io::Result<Vec<Option<ErrorCode>>> {
        let (queues, _) = self.exchange(wait_ms)?;
        let codes = queues.iter().map(|q| ErrorCode::from_number(q.error));
        Ok(codes.collect())
    }

    fn exchange(&mut self, wait_ms: u32) -> io::Result<(Vec<FetchedQueueT>, Vec<u8>)> {
        let mut request = FetchRequestT::default();
        request.session = self.session;
        request.max_bytes = 4 << 20;
        request.min_bytes = 1;
        request.max_wait_ms = wait_ms;
        if self.session == 0 {
            request.add = Some((0..self.read.len() as u32).map(added).collect());
        }
        let id = self.wire.send(Kind::Fetch, 0, |b| request.pack(b))?;
        let answer = self.wire.receive()?;
        assert_eq!(answer.id, id);
        let header = answer
            .table()
            .map_err(|code| io::Error::other(code.name()))?;
        let table = native::header::<FetchResponse<'_>>(header)
            .expect("a table")
            .unpack();
        self.session = table.session;
        Ok((table.queues.unwrap_or_default(), answer.payload))
    }

    fn compare(&mut self, queue: u32, bytes: &[u8]) {
        let shared = bytes::Bytes::copy_from_slice(bytes);
        let view = BatchView::parse_placed(&shared).expect("stored batches are whole");
        let next = &mut self.read[queue as usize];
        assert_eq!(
            view.header().base_offset,
            *next as u64,
            "offsets of queue {queue} are dense"
        );
        let plain = view.records_section(&shared).expect("readable");
        for record in view.records(&plain) {
            let found = record.expect("readable").body;
            assert!(
                found == self.bodies.of(queue, *next),
                "message {next} of queue {queue} has other bytes"
            );
            *next += 1;
        }
    }

    /// Everything that is there.
    pub fn read_all(&mut self) -> io::Result<()> {
        while self.fetch(0)? {}
        Ok(())
    }
}

fn added(queue: u32) -> FetchAddT {
    let mut add = FetchAddT::default();
    add.slot = queue;
    add.topic = TOPIC.to_owned();
    add.queue = queue;
    add
}
