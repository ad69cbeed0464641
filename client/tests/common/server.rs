//! Sockets and frames; what is answered is the handler's business.

use ringmq_wire::native::{self, Decoded, FramePrefix, PREFACE};
use std::{net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::mpsc,
    task::JoinSet,
};

/// A request and the way back.
pub struct Request {
    pub prefix: FramePrefix,
    pub header: Vec<u8>,
    pub payload: Vec<u8>,
    pub connection: u64,
    pub answers: mpsc::UnboundedSender<Vec<u8>>,
}

/// What to do with the connection after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    GoOn,
    Break,
}

pub type Handler = Arc<dyn Fn(Request) -> After + Send + Sync>;

/// Listens until it is stopped.
pub struct Server {
    address: SocketAddr,
    /// Bound, not listening: while this server is stopped its port refuses, and nobody else gets it.
    _reservation: TcpSocket,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub async fn start(port: u16, handler: Handler) -> Self {
        let reservation = bound(port);
        let address = reservation.local_addr().expect("it is bound");
        let listener = bound(address.port()).listen(1024).expect("a listener");
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            let mut number = 0;
            while let Ok((stream, _)) = listener.accept().await {
                number += 1;
                connections.spawn(serve(stream, number, Arc::clone(&handler)));
            }
        });
        Self {
            address,
            _reservation: reservation,
            task,
        }
    }

    pub fn address(&self) -> String {
        self.address.to_string()
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Connections break, the port refuses.
    pub async fn stop(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

fn bound(port: u16) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_reuseaddr(true).expect("it can be shared");
    let address = (std::net::Ipv4Addr::LOCALHOST, port).into();
    socket.bind(address).expect("the port is free or reserved");
    socket
}

async fn serve(stream: TcpStream, connection: u64, handler: Handler) {
    let (mut input, mut output) = stream.into_split();
    let (answers, mut outgoing) = mpsc::unbounded_channel::<Vec<u8>>();
    let writer = async move {
        while let Some(frame) = outgoing.recv().await {
            if output.write_all(&frame).await.is_err() {
                return;
            }
        }
    };
    let reader = async move {
        let mut preface = [0; PREFACE.len()];
        if input.read_exact(&mut preface).await.is_err() {
            return;
        }
        assert_eq!(preface, PREFACE);
        let mut buffer = Vec::new();
        loop {
            while let Decoded::Ready(prefix) =
                native::decode(&buffer).expect("a client sends frames")
            {
                if buffer.len() < prefix.frame_bytes {
                    break;
                }
                let request = Request {
                    prefix,
                    header: buffer[prefix.header_range()].to_vec(),
                    payload: buffer[prefix.payload_range()].to_vec(),
                    connection,
                    answers: answers.clone(),
                };
                buffer.drain(..prefix.frame_bytes);
                if handler(request) == After::Break {
                    return;
                }
            }
            if !matches!(input.read_buf(&mut buffer).await, Ok(read) if read > 0) {
                return;
            }
        }
    };
    tokio::select! {
        () = reader => {}
        () = writer => {}
    }
}
