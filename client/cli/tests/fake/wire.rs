//! Frames on a socket.

use ringmq_wire::codes::Kind;
use ringmq_wire::native::{Decoded, FramePrefix, PREFACE, decode, encode, schema};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub struct Frame {
    pub prefix: FramePrefix,
    pub bytes: Vec<u8>,
}

impl Frame {
    pub fn header(&self) -> &[u8] {
        &self.bytes[self.prefix.header_range()]
    }
    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.prefix.payload_range()]
    }
}

pub struct Link {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Link {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).ok();
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// The client's side, up to the answer to Hello.
    pub async fn hello(stream: TcpStream) -> Self {
        let mut link = Self::new(stream);
        link.send(&PREFACE).await;
        let hello = schema::HelloRequestT {
            version_min: 1,
            version_max: 1,
            client_id: "fake".into(),
            ..Default::default()
        };
        link.send(&encode(Kind::Hello, 0, 1, 0, |b| hello.pack(b)))
            .await;
        link.read().await.expect("an answer to Hello");
        link
    }

    /// The server's side, up to the first request. False: the client went away.
    pub async fn preface(&mut self) -> bool {
        let mut preface = [0; PREFACE.len()];
        self.stream.read_exact(&mut preface).await.is_ok() && preface == PREFACE
    }

    /// A peer that is gone shows when reading.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.ok();
    }

    /// The next frame; none when the peer is gone. Cancel safe.
    pub async fn read(&mut self) -> Option<Frame> {
        loop {
            match decode(&self.buffer).expect("a frame") {
                Decoded::Ready(prefix) if self.buffer.len() >= prefix.frame_bytes => {
                    let rest = self.buffer.split_off(prefix.frame_bytes);
                    let bytes = std::mem::replace(&mut self.buffer, rest);
                    return Some(Frame { prefix, bytes });
                }
                _ => {}
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }
}
