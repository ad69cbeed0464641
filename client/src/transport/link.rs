//! Addresses and the connection that each has at the moment.
//!
//! A link connects when it is first needed and again after its connection died; while an address refuses, attempts are
//! spaced by a bounded, jittered backoff, and all callers share one attempt. A link is to one server at one address:
//! where a route is older than the server that listens there now, the newcomer gets none of its requests.

use super::{Backoff, Connection, Identity};
use crate::error::{Error, ErrorKind};
use ringmq_wire::native;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

const RECONNECT_BASE_MS: u64 = 20;
const RECONNECT_MAX_MS: u64 = 1000;

/// All links of a client.
#[derive(Debug)]
pub(crate) struct Links {
    identity: Identity,
    by_peer: Mutex<HashMap<Peer, Arc<Link>>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Peer {
    /// As it names itself in its answer to Hello.
    server: String,
    address: String,
}

#[derive(Debug)]
struct Link {
    peer: Peer,
    state: tokio::sync::Mutex<State>,
}

#[derive(Debug)]
struct State {
    connection: Option<Connection>,
    backoff: Backoff,
    not_before: Option<Instant>,
    last_error: Option<Error>,
}

impl Links {
    pub(crate) fn new(identity: Identity) -> Self {
        Self {
            identity,
            by_peer: Mutex::default(),
        }
    }

    /// The live connection to a name server, made if need be.
    pub(crate) async fn name_server(
        &self,
        address: &str,
        deadline: Instant,
    ) -> Result<Connection, Error> {
        self.connection(native::NAME_SERVER, address, deadline)
            .await
    }

    /// The live connection to the server of that name, made if need be.
    pub(crate) async fn connection(
        &self,
        server: &str,
        address: &str,
        deadline: Instant,
    ) -> Result<Connection, Error> {
        let link = self.link(server, address);
        let started = Instant::now();
        match tokio::time::timeout_at(deadline.into(), link.connection(&self.identity)).await {
            Ok(result) => result,
            Err(_) => {
                let cause = link
                    .state
                    .try_lock()
                    .ok()
                    .and_then(|s| s.last_error.clone());
                let waited_ms = started.elapsed().as_millis() as u64;
                let cause = cause.map(Box::new);
                Err(Error::new(
                    "connect",
                    address,
                    ErrorKind::TimedOut { waited_ms, cause },
                ))
            }
        }
    }

    /// Forgets addresses for which `keep` says no; live handles to their connections stay usable.
    pub(crate) fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.by_peer
            .lock()
            .expect("no holder panics")
            .retain(|peer, _| keep(&peer.address));
    }

    fn link(&self, server: &str, address: &str) -> Arc<Link> {
        let peer = Peer {
            server: server.to_owned(),
            address: address.to_owned(),
        };
        let mut links = self.by_peer.lock().expect("no holder panics");
        if let Some(link) = links.get(&peer) {
            return Arc::clone(link);
        }
        let link = Arc::new(Link {
            peer: peer.clone(),
            state: tokio::sync::Mutex::new(State {
                connection: None,
                backoff: Backoff::new(RECONNECT_BASE_MS, RECONNECT_MAX_MS),
                not_before: None,
                last_error: None,
            }),
        });
        links.insert(peer, Arc::clone(&link));
        link
    }
}

impl Link {
    /// One attempt, after whatever wait the backoff asks for.
    async fn connection(&self, identity: &Identity) -> Result<Connection, Error> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection {
            if connection.is_open() {
                return Ok(connection.clone());
            }
            state.connection = None;
        }
        if let Some(at) = state.not_before {
            tokio::time::sleep_until(at.into()).await;
        }
        match Connection::open(&self.peer.server, &self.peer.address, identity).await {
            Ok(connection) => {
                state.backoff.reset();
                state.not_before = None;
                state.last_error = None;
                state.connection = Some(connection.clone());
                Ok(connection)
            }
            Err(error) => {
                let delay: Duration = state.backoff.next_random();
                state.not_before = Some(Instant::now() + delay);
                state.last_error = Some(error.clone());
                Err(error)
            }
        }
    }
}
