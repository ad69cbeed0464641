//! The connection that a remoting request came on, and what we may ask of the client at its other end.
//!
//! Requests of ours have opaque numbers of their own: the two directions do not share a space. Calls under way are
//! bounded, and so is the time that each may take; answers nobody waits for are dropped.

use crate::node::CallError;
use crate::session::link::{Link, Phase};
use crate::shard::Shard;
use crate::shard::callers::{Calling, ClientChannel};
use futures_lite::future::or;
use ringmq_storage_engine::{disk::Disk, runtime::Runtime};
use ringmq_wire::remoting::message::Host;
use ringmq_wire::remoting::{Command, Header, Language, Serialization};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// Calls of one connection that may be unanswered.
const CALLS_MAX: usize = 256;
/// Bytes of unsent answers above which notices to a client are dropped: it does not read what it has.
const NOTICE_BACKLOG_BYTES: usize = 1 << 20;

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Number of the connection within its shard, never reused.
    pub number: u64,
    pub peer: SocketAddr,
    /// Our end.
    pub local: SocketAddr,
}

type Answered = (Command, Vec<u8>);

/// See the module.
pub struct Caller<D: Disk> {
    origin: Origin,
    store_host: Host,
    link: Rc<Link<D>>,
    /// What the client's last request said of itself.
    client: Cell<Client>,
    next_opaque: Cell<i32>,
    calls: RefCell<BTreeMap<i32, flume::Sender<Answered>>>,
}

#[derive(Debug, Clone, Copy)]
struct Client {
    serialization: Serialization,
    language: Language,
    version: i32,
}

impl<D: Disk> Caller<D> {
    pub fn new<R: Runtime>(shard: &Shard<D, R>, link: Rc<Link<D>>, origin: Origin) -> Self {
        Self {
            origin,
            store_host: store_host(shard, origin.local),
            link,
            client: Cell::new(Client {
                serialization: Serialization::Json,
                language: Language::Other,
                version: 0,
            }),
            next_opaque: Cell::new(1),
            calls: RefCell::default(),
        }
    }

    /// Number of the connection within its shard, never reused.
    pub fn number(&self) -> u64 {
        self.origin.number
    }

    pub fn peer(&self) -> SocketAddr {
        self.origin.peer
    }

    pub fn local(&self) -> SocketAddr {
        self.origin.local
    }

    /// The shard's address as messages and their ids carry it.
    pub fn store_host(&self) -> Host {
        self.store_host
    }

    /// How the client wrote its last request.
    pub fn serialization(&self) -> Serialization {
        self.client.get().serialization
    }

    /// What the client says it is written in.
    pub fn language(&self) -> Language {
        self.client.get().language
    }

    /// The client's version; see `docs/remoting.md`.
    pub fn version(&self) -> i32 {
        self.client.get().version
    }

    /// Whether the connection is gone, or about to go.
    pub fn is_closed(&self) -> bool {
        self.link.phase() != Phase::Open
    }

    /// A request came in.
    pub(crate) fn heard(&self, serialization: Serialization, header: &Header<'_>) {
        self.client.set(Client {
            serialization,
            language: header.language,
            version: header.version,
        });
    }

    /// Sends the client a request that is not answered. Dropped if the client does not take what it was sent before:
    /// everything that is told like this is also found out by polling.
    pub fn notify(&self, command: Command, body: Vec<u8>) {
        if self.link.unsent.used() > NOTICE_BACKLOG_BYTES {
            return;
        }
        self.send(self.opaque(), command.oneway(), &body);
    }

    /// Sends the client a request and waits for its answer.
    pub async fn call<R: Runtime>(
        &self,
        runtime: &R,
        command: Command,
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<Answered, CallError> {
        if self.is_closed() {
            return Err(CallError::Closed);
        }
        if self.calls.borrow().len() >= CALLS_MAX {
            return Err(CallError::Busy);
        }
        let opaque = self.opaque();
        let (sender, answer) = flume::bounded(1);
        self.calls.borrow_mut().insert(opaque, sender);
        let _pending = Pending {
            calls: &self.calls,
            opaque,
        };
        self.send(opaque, command, &body);
        drop(body);
        let answered = async { answer.recv_async().await.map_err(|_| CallError::Closed) };
        let timed_out = async {
            runtime.sleep(timeout).await;
            Err(CallError::TimedOut)
        };
        or(answered, timed_out).await
    }

    /// The client answered one of our requests.
    pub(crate) fn answered(&self, header: &Header<'_>, body: &[u8]) {
        // Late answers and those to nothing find nobody.
        if let Some(waiting) = self.calls.borrow_mut().remove(&header.opaque) {
            let _ = waiting.send((Command::from_header(header), body.to_vec()));
        }
    }

    /// Nothing more will be received: calls under way fail.
    pub(crate) fn closed(&self) {
        let calls = std::mem::take(&mut *self.calls.borrow_mut());
        drop(calls);
    }

    fn opaque(&self) -> i32 {
        let opaque = self.next_opaque.get();
        self.next_opaque.set(opaque.wrapping_add(1));
        opaque
    }

    fn send(&self, opaque: i32, command: Command, body: &[u8]) {
        let command = Command { opaque, ..command };
        self.link.answer(command.encode(self.serialization(), body));
    }
}

/// A call under way; forgotten when dropped.
struct Pending<'a> {
    calls: &'a RefCell<BTreeMap<i32, flume::Sender<Answered>>>,
    opaque: i32,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.calls.borrow_mut().remove(&self.opaque);
    }
}

/// A caller as other connections and shards reach it: see [`crate::shard::callers`].
pub struct Channel<D: Disk, R: Runtime> {
    caller: Rc<Caller<D>>,
    runtime: R,
}

impl<D: Disk, R: Runtime> Channel<D, R> {
    pub fn new(shard: &Shard<D, R>, caller: &Rc<Caller<D>>) -> Self {
        Self {
            caller: Rc::clone(caller),
            runtime: shard.runtime().clone(),
        }
    }
}

impl<D: Disk, R: Runtime> ClientChannel for Channel<D, R> {
    fn notify(&self, command: Command, body: Vec<u8>) {
        self.caller.notify(command, body);
    }

    fn call(&self, command: Command, body: Vec<u8>, timeout: Duration) -> Calling {
        let (caller, runtime) = (Rc::clone(&self.caller), self.runtime.clone());
        Box::pin(async move { caller.call(&runtime, command, body, timeout).await })
    }
}

/// What is advertised, if that is an address. A host name has none to write into a message: then it is the address
/// that the client reached us by, which must work for the client, with the advertised port.
fn store_host<D: Disk, R: Runtime>(shard: &Shard<D, R>, local: SocketAddr) -> Host {
    let advertised = &shard.node().shards()[shard.settings().index].address;
    if let Ok(address) = advertised.parse::<SocketAddr>() {
        return address.into();
    }
    let port = advertised
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse().ok());
    Host::new(local.ip(), port.unwrap_or(u32::from(local.port())))
}
