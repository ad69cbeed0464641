//! Simulated RocketMQ clients: what a client of the remoting protocol does, one request at a time, with a connection to each
//! shard. Unlike native ones they do not send again what got no answer: such a message may be there, once or not at all.

pub mod consumer;
pub mod first;
pub mod producer;
mod share;

use crate::session::guard::PANICKED;
use crate::sim::client::connection::PATIENCE;
use crate::sim::net::Stream;
use crate::sim::oracle::TopicFact;
use crate::sim::world::World;
use ringmq_wire::remoting::{Command, FramePrefix, Header, Serialization, flag, request_code};
use std::io;
use std::rc::Rc;

const RECEIVE_BYTES: usize = 64 << 10;

/// The connection ended or nobody answered in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no answer")]
pub struct Lost;

impl From<io::Error> for Lost {
    fn from(_: io::Error) -> Self {
        Self
    }
}

/// See the module.
pub struct Connection {
    world: Rc<World>,
    stream: Stream,
    received: Vec<u8>,
    serialization: Serialization,
    next_opaque: i32,
    notified: bool,
}

impl Connection {
    pub async fn open(
        world: &Rc<World>,
        address: &str,
        serialization: Serialization,
    ) -> Result<Self, Lost> {
        let connecting = world.net.connect(&world.runtime, address);
        let stream = world.within(PATIENCE, connecting).await.ok_or(Lost)??;
        Ok(Self {
            world: Rc::clone(world),
            stream,
            received: Vec::new(),
            serialization,
            next_opaque: 0,
            notified: false,
        })
    }

    /// One request and its answer. Requests of the broker's that come before are notices.
    pub async fn call(
        &mut self,
        mut command: Command,
        body: &[u8],
    ) -> Result<(Command, Vec<u8>), Lost> {
        self.next_opaque += 1;
        command.opaque = self.next_opaque;
        let frame = command.encode(self.serialization, body);
        let world = Rc::clone(&self.world);
        let exchange = async {
            self.stream.write_all(&frame).await?;
            loop {
                let (answer, body) = self.receive().await?;
                if answer.is_response() {
                    assert_eq!(
                        answer.opaque, command.opaque,
                        "an answer to another request"
                    );
                    assert_ne!(answer.remark.as_deref(), Some(PANICKED), "{command:?}");
                    return Ok((answer, body));
                }
                self.notified |= answer.code == request_code::NOTIFY_CONSUMER_IDS_CHANGED;
            }
        };
        world.within(PATIENCE, exchange).await.ok_or(Lost)?
    }

    /// One request that is not to be answered.
    pub async fn say(&mut self, mut command: Command) -> Result<(), Lost> {
        self.next_opaque += 1;
        command.opaque = self.next_opaque;
        command.flag |= flag::ONEWAY;
        let frame = command.encode(self.serialization, &[]);
        let world = Rc::clone(&self.world);
        let writing = self.stream.write_all(&frame);
        world.within(PATIENCE, writing).await.ok_or(Lost)??;
        Ok(())
    }

    /// Whether a notice has come that the members of a group changed, since this was asked before.
    pub fn take_notice(&mut self) -> bool {
        std::mem::take(&mut self.notified)
    }

    async fn receive(&mut self) -> Result<(Command, Vec<u8>), Lost> {
        loop {
            let prefix = FramePrefix::parse(&self.received).expect("a broker sends frames");
            if let Some(prefix) = prefix
                && self.received.len() >= prefix.frame_bytes()
            {
                let frame: Vec<u8> = self.received.drain(..prefix.frame_bytes()).collect();
                let header = &frame[prefix.header_range()];
                let header = Header::parse(prefix.serialization(), header);
                let command = Command::from_header(&header.expect("a broker sends headers"));
                return Ok((command, frame[prefix.body_range()].to_vec()));
            }
            let bytes = self.stream.read(RECEIVE_BYTES).await?;
            if bytes.is_empty() {
                return Err(Lost);
            }
            self.received.extend_from_slice(&bytes);
        }
    }
}

/// A queue as this protocol names it: its number among those of the topic on its shard.
fn local_id(topic: &TopicFact, queue: u32) -> u32 {
    queue / topic.placement.len() as u32
}
