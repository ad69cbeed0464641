//! One connection of a simulated shard: the reader, the session and the requests that serve sockets, between the two
//! ends of a simulated stream. Only what `session::connection` does with sockets is done here with streams.

use super::net::Stream;
use crate::handler::remoting::Origin;
use crate::session::inbox::Inbox;
use crate::session::link::{Link, Phase};
use crate::session::native::Session;
use crate::session::reader::{Ended, Reader, Source, now_ms};
use crate::session::receiving::Receiving;
use crate::session::remoting;
use crate::session::serve::Connection;
use crate::session::source::Receive;
use crate::session::watch::SendWatch;
use crate::shard::Shard;
use futures_lite::future::poll_fn;
use ringmq_storage_engine::disk::sim::SimDisk;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::runtime::sim::SimRuntime;
use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

pub type SimShard = Shard<SimDisk, SimRuntime>;

/// Pieces of one send.
const SLICES_MAX: usize = 8;
/// How often a finished reader looks whether the writer is done, too.
const ENDING_EVERY: Duration = Duration::from_millis(1);

/// What a connection and its supervisor share.
pub struct Wire {
    stream: Stream,
    receiving: RefCell<Receiving>,
    link: Rc<Link<SimDisk>>,
    send_watch: RefCell<SendWatch>,
    writing: Cell<bool>,
    runtime: SimRuntime,
}

impl Wire {
    pub fn new(shard: &SimShard, stream: Stream) -> Rc<Self> {
        let session = Session::new(*shard.limits(), now_ms(shard));
        Rc::new(Self {
            stream,
            receiving: RefCell::new(Receiving::Native(Rc::new(RefCell::new(session)))),
            link: Rc::new(Link::new(shard)),
            send_watch: RefCell::default(),
            writing: Cell::new(true),
            runtime: shard.runtime().clone(),
        })
    }

    /// Drops a peer that let a deadline pass.
    pub fn supervise(&self, shard: &SimShard) {
        let now_ms = now_ms(shard);
        let late = self.receiving.borrow().check(now_ms, self.link.owes());
        let (waiting, sent) = (self.link.has_unsent(), self.link.sent_bytes());
        let mut watch = self.send_watch.borrow_mut();
        if late.is_some() || watch.check(shard.limits(), now_ms, waiting, sent).is_some() {
            self.kill();
        }
    }

    pub fn stop_reading(&self) {
        self.stream.stop_reading();
    }

    pub fn kill(&self) {
        self.link.kill();
        self.stream.abort();
    }

    /// Waits until everything is sent that will be.
    async fn written(&self) {
        while self.writing.get() {
            self.runtime.sleep(ENDING_EVERY).await;
        }
    }

    async fn write(&self) {
        loop {
            let phase = poll_fn(|cx| self.link.poll_work(cx)).await;
            if phase == Phase::Dead || !self.link.has_unsent() {
                break;
            }
            let bytes: Vec<u8> = self.link.with_outbox(|outbox| {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let used = outbox.next_slices(&mut slices, usize::MAX);
                slices[..used]
                    .iter()
                    .flat_map(|slice| slice.iter())
                    .copied()
                    .collect()
            });
            match self.stream.write(&bytes).await {
                Ok(count) if self.link.phase() != Phase::Dead => self.link.sent(count),
                Ok(_) => {}
                Err(_) => {
                    self.kill();
                    break;
                }
            }
            self.runtime.yield_now().await;
        }
        self.writing.set(false);
    }
}

impl Source for Rc<Wire> {
    async fn receive<S: Receive>(&self, session: &RefCell<S>) -> io::Result<usize> {
        let room = session.borrow_mut().unfilled().len();
        let bytes = self.stream.read(room).await?;
        session.borrow_mut().unfilled()[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    async fn breathe(&self) {
        self.runtime.yield_now().await;
    }
}

/// Serves a connection until it ends.
pub async fn serve(shard: SimShard, wire: Rc<Wire>, number: u64, admitted: bool) {
    let link = Rc::clone(&wire.link);
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let connection = Connection::new(shard.clone(), Rc::clone(&link), number, peer);
    let writer = Rc::clone(&wire);
    shard.runtime().spawn(async move { writer.write().await });
    let session = wire.receiving.borrow().native();
    let mut reader = Reader::new(
        shard.clone(),
        session,
        link,
        connection,
        Rc::clone(&wire),
        admitted,
    );
    if reader.run().await == Ended::Remoting {
        let inbox = reader.session.borrow_mut().take_inbox();
        let origin = Origin {
            number,
            peer,
            local: peer,
        };
        return serve_remoting(shard, wire, inbox, origin, admitted).await;
    }
    reader.end();
    wire.written().await;
    reader.connection.closed();
}

/// Goes on with a connection that turned out to be a RocketMQ client's.
async fn serve_remoting(
    shard: SimShard,
    wire: Rc<Wire>,
    inbox: Inbox,
    origin: Origin,
    admitted: bool,
) {
    let session = remoting::Session::new(*shard.limits(), inbox, now_ms(&shard));
    let session = Rc::new(RefCell::new(session));
    wire.receiving
        .replace(Receiving::Remoting(Rc::clone(&session)));
    let link = Rc::clone(&wire.link);
    let connection = remoting::Connection::new(shard.clone(), Rc::clone(&link), origin);
    let mut reader =
        remoting::Reader::new(shard, session, link, connection, Rc::clone(&wire), admitted);
    reader.run().await;
    reader.end();
    wire.written().await;
    wire.link.kill();
}
