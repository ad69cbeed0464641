//! The port of a shard: binding it, accepting, and the table of its connections.

use crate::session::connection::{Wire, serve};
use crate::shard::Shard;
use crate::shard::counters::count;
use futures_lite::FutureExt;
use glommio::net::TcpListener;
use ringmq_storage_engine::disk::Disk;
use ringmq_storage_engine::runtime::Runtime;
use socket2::{Domain, Protocol, Socket, Type};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::Duration;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// How often connections are looked at.
const SUPERVISION: Duration = Duration::from_secs(1);
/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections over the limit that may be told so at a time; more are closed without a word.
const REFUSALS_MAX: usize = 64;

/// Binds and listens, non-blocking.
///
/// glommio: its own `bind` sets SO_REUSEPORT, with which two brokers would share one port without noticing.
pub fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    // Only for what a broker that stopped left in TIME_WAIT; a live listener still keeps its port.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// The connections of a shard, from accept to stop.
pub struct Listener<D: Disk, R: Runtime> {
    shard: Shard<D, R>,
    /// A second descriptor of the socket, to wake the accept task at the end.
    socket: std::net::TcpListener,
    wires: RefCell<BTreeMap<u64, Rc<Wire<D>>>>,
    next_number: Cell<u64>,
    refusals: Cell<usize>,
    closing: Cell<bool>,
}

impl<D: Disk, R: Runtime> Listener<D, R> {
    /// Starts to accept. `first`: number of the first connection; numbers are unique in a shard.
    pub fn start(
        shard: Shard<D, R>,
        socket: std::net::TcpListener,
        first: u64,
    ) -> io::Result<Rc<Self>> {
        let listener = Rc::new(Self {
            shard,
            socket: socket.try_clone()?,
            wires: RefCell::default(),
            next_number: Cell::new(first),
            refusals: Cell::new(0),
            closing: Cell::new(false),
        });
        // glommio: an accept future that is dropped loses its connection and leaks the descriptor. So one task
        // accepts for the whole life of the shard, and is never cancelled.
        let accepting = Rc::clone(&listener);
        let socket = glommio_listener(socket);
        glommio::spawn_local(async move { accepting.accept(socket).await }).detach();
        let supervising = Rc::clone(&listener);
        glommio::spawn_local(async move { supervising.supervise().await }).detach();
        Ok(listener)
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        self.wires.borrow().len()
    }

    /// Stops accepting and reading; answers under way are sent. Connections that are not done after `patience`
    /// are cut.
    pub async fn stop(&self, patience: Duration) {
        self.closing.set(true);
        // Wakes the accept task: on Linux a listening socket that is shut down fails its accept.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        for wire in self.open_wires() {
            wire.stop_reading();
        }
        let deadline = self.shard.now() + patience;
        while self.connections() > 0 && self.shard.now() < deadline {
            self.shard.runtime().sleep(Duration::from_millis(5)).await;
        }
        for wire in self.open_wires() {
            wire.kill();
        }
    }

    fn open_wires(&self) -> Vec<Rc<Wire<D>>> {
        self.wires.borrow().values().cloned().collect()
    }

    async fn accept(self: Rc<Self>, socket: TcpListener) {
        let mut failing = false;
        loop {
            let accepted = socket.shared_accept().await;
            if self.closing.get() {
                // Owned from here, so dropped and closed.
                let _ = accepted.map(glommio::net::AcceptedTcpStream::bind_to_executor);
                return;
            }
            match accepted {
                Ok(accepted) => {
                    failing = false;
                    let stream = accepted.bind_to_executor();
                    // A peer that is gone already has no address.
                    if let Ok(peer) = stream.peer_addr() {
                        self.admit(stream, peer);
                    }
                }
                Err(error) => {
                    if !failing {
                        tracing::warn!(shard = self.shard.name(), "accept failed: {error}");
                    }
                    failing = true;
                    self.shard.runtime().sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(self: &Rc<Self>, stream: glommio::net::TcpStream, peer: SocketAddr) {
        let counters = self.shard.counters();
        let admitted = counters.connections.get() < self.shard.limits().connections_max;
        if admitted {
            count(&counters.connections_total, 1);
            counters.connections.set(counters.connections.get() + 1);
        } else {
            count(&counters.connections_refused, 1);
            if self.refusals.get() >= REFUSALS_MAX {
                return;
            }
            self.refusals.set(self.refusals.get() + 1);
        }
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        let wire = Wire::new(&self.shard, stream, number, peer);
        self.wires.borrow_mut().insert(number, Rc::clone(&wire));
        let this = Rc::clone(self);
        glommio::spawn_local(async move {
            let serving = serve(this.shard.clone(), Rc::clone(&wire), admitted);
            // glommio: a panic in a detached task ends the executor, and with it every other connection.
            if AssertUnwindSafe(serving).catch_unwind().await.is_err() {
                count(&this.shard.counters().panics, 1);
                tracing::error!(
                    shard = this.shard.name(),
                    connection = number,
                    %peer,
                    "a connection panicked: this is a defect, please report it with the lines above"
                );
                wire.kill();
            }
            this.leave(number, admitted);
        })
        .detach();
    }

    fn leave(&self, number: u64, admitted: bool) {
        self.wires.borrow_mut().remove(&number);
        if admitted {
            let connections = &self.shard.counters().connections;
            connections.set(connections.get() - 1);
        } else {
            self.refusals.set(self.refusals.get() - 1);
        }
    }

    async fn supervise(self: Rc<Self>) {
        while !self.closing.get() {
            self.shard.runtime().sleep(SUPERVISION).await;
            for wire in self.open_wires() {
                wire.supervise(&self.shard);
            }
        }
    }
}

#[allow(unsafe_code, reason = "glommio takes a listener only as a raw number")]
fn glommio_listener(socket: std::net::TcpListener) -> TcpListener {
    // SAFETY: the descriptor is a listening socket that nobody else owns any more.
    unsafe { TcpListener::from_raw_fd(socket.into_raw_fd()) }
}
