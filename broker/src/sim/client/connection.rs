//! One connection of a simulated client, or of a broker to a name server: requests out, answers in, with deadlines.

use crate::sim::net::Stream;
use crate::sim::world::World;
use ringmq_storage_engine::runtime::sim::SimRuntime;
use ringmq_wire::codes::{ErrorCode, Kind};
use ringmq_wire::native::schema::{ErrorResponse, HelloRequestT};
use ringmq_wire::native::{self, Decoded, FramePrefix, PREFACE, flags};
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// How long an answer may take before the connection is given up.
pub const PATIENCE: Duration = Duration::from_secs(4);
/// Most bytes asked of the stream at once.
const RECEIVE_BYTES: usize = 64 << 10;

/// A whole frame.
#[derive(Debug)]
pub struct Frame {
    pub prefix: FramePrefix,
    pub header: Vec<u8>,
    pub payload: Vec<u8>,
}

/// Why there is no answer, or none to the liking.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The connection ended or nobody answered in time.
    #[error("no answer")]
    Lost,
    #[error("{code:?}: {message}")]
    Refused {
        code: ErrorCode,
        message: String,
        epoch: u32,
        next_offset: u64,
    },
}

impl Failure {
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Lost => None,
            Self::Refused { code, .. } => Some(*code),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Self {
        Self::Lost
    }
}

impl Frame {
    /// The frame, unless it is an error.
    pub fn accepted(self) -> Result<Self, Failure> {
        if self.prefix.flags & flags::ERROR == 0 {
            return Ok(self);
        }
        let error = native::header::<ErrorResponse>(&self.header).expect("a broker sends tables");
        let code = ErrorCode::from_number(error.code()).expect("a registered code");
        let message = error.message().unwrap_or_default().to_owned();
        assert_ne!(code, ErrorCode::Internal, "a request panicked: {message}");
        assert_ne!(
            code,
            ErrorCode::Malformed,
            "the request was whole: {message}"
        );
        Err(Failure::Refused {
            code,
            message,
            epoch: error.epoch(),
            next_offset: error.next_offset(),
        })
    }
}

/// Takes frames out of a stream, whatever pieces it comes in.
#[derive(Debug)]
pub struct FrameReader {
    received: Vec<u8>,
}

impl FrameReader {
    pub fn new() -> Self {
        Self {
            received: Vec::new(),
        }
    }

    /// The next frame; an error at the end of the stream. Nothing is lost if it is dropped before it is done.
    pub async fn next(&mut self, stream: &Stream) -> io::Result<Frame> {
        loop {
            if let Decoded::Ready(prefix) = native::decode(&self.received).expect("whole frames")
                && self.received.len() >= prefix.frame_bytes
            {
                let frame: Vec<u8> = self.received.drain(..prefix.frame_bytes).collect();
                return Ok(Frame {
                    header: frame[prefix.header_range()].to_vec(),
                    payload: frame[prefix.payload_range()].to_vec(),
                    prefix,
                });
            }
            self.more(stream).await?;
        }
    }

    /// Takes `count` bytes that are no frame.
    pub async fn skip(&mut self, stream: &Stream, count: usize) -> io::Result<()> {
        while self.received.len() < count {
            self.more(stream).await?;
        }
        self.received.drain(..count);
        Ok(())
    }

    async fn more(&mut self, stream: &Stream) -> io::Result<()> {
        let bytes = stream.read(RECEIVE_BYTES).await?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.received.extend_from_slice(&bytes);
        Ok(())
    }
}

/// See the module.
pub struct Connection {
    world: Rc<World>,
    stream: Stream,
    reader: FrameReader,
    next_id: u64,
}

impl Connection {
    /// Connects and says Hello.
    pub async fn open(
        world: &Rc<World>,
        runtime: &SimRuntime,
        address: &str,
        client_id: &str,
    ) -> Result<Self, Failure> {
        let connecting = world.net.connect(runtime, address);
        let stream = world.within(PATIENCE, connecting).await;
        let stream = stream.ok_or(Failure::Lost)??;
        let mut connection = Self {
            world: Rc::clone(world),
            stream,
            reader: FrameReader::new(),
            next_id: 0,
        };
        connection.stream.write_all(&PREFACE).await?;
        let hello = HelloRequestT {
            version_min: 1,
            version_max: 1,
            client_id: client_id.to_owned(),
            ..HelloRequestT::default()
        };
        connection
            .call(|id| native::encode(Kind::Hello, 0, id, 0, |b| hello.pack(b)))
            .await?;
        Ok(connection)
    }

    /// Sends the frame that `encode` makes for the correlation id that is returned.
    pub async fn send(
        &mut self,
        payload: &[u8],
        encode: impl FnOnce(u64) -> Vec<u8>,
    ) -> Result<u64, Failure> {
        self.next_id += 1;
        let mut frame = encode(self.next_id);
        frame.extend_from_slice(payload);
        let sending = self.stream.write_all(&frame);
        let sent = self.world.within(PATIENCE, sending).await;
        sent.ok_or(Failure::Lost)??;
        Ok(self.next_id)
    }

    /// The next answer, whatever it answers. May be dropped at any time.
    pub async fn receive(&mut self) -> Result<Frame, Failure> {
        Ok(self.reader.next(&self.stream).await?)
    }

    /// One request and its answer, with nothing else under way.
    pub async fn call(&mut self, encode: impl FnOnce(u64) -> Vec<u8>) -> Result<Frame, Failure> {
        let id = self.send(&[], encode).await?;
        let world = Rc::clone(&self.world);
        let answer = world.within(PATIENCE, self.receive()).await;
        let frame = answer.ok_or(Failure::Lost)??;
        assert_eq!(
            frame.prefix.correlation_id, id,
            "the answer to another request"
        );
        frame.accepted()
    }
}
