//! Tells every name server, all the time and all at once, which shards this node has and what they serve.
//!
//! - [`plan`] decides what one name server is told next about one shard; pure.
//! - [`connection`] carries one request at a time.
//! - [`apache`] is for name servers of Apache RocketMQ, which are told in the remoting protocol.
//! - [`Registration`] runs one task a name server. Name servers do not know of each other, so one that is down, slow or
//!   wrong delays nobody but itself.
//!
//! A shard beats every two seconds and asks to be dropped after ten silent ones, so a dead host leaves the routes then.

mod apache;
mod connection;
mod link;
pub mod plan;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::node::NodeHandle;

/// How often a shard says that it lives.
pub const HEARTBEAT_MS: u64 = 2_000;
/// How long a name server believes it.
pub const HEARTBEAT_TIMEOUT_MS: u32 = 10_000;
/// How long a request waits for name servers to take what it changed.
const REGISTERED_WAIT: Duration = Duration::from_secs(2);
/// How long leaving may take.
const LEAVE_WAIT: Duration = Duration::from_secs(2);

/// What is known about one name server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LinkState {
    /// Whether the last attempt to reach it worked; true before the first one.
    reachable: bool,
    /// By shard, the version that it has confirmed.
    confirmed: Vec<u64>,
}

/// The registrations with all name servers.
#[derive(Debug)]
pub struct Registration {
    links: Arc<Vec<watch::Receiver<LinkState>>>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Registration {
    /// Starts one task for each of `servers`. Must be called within a tokio runtime.
    pub fn start(node: &NodeHandle, servers: &[String]) -> Self {
        let stop = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        let mut links = Vec::new();
        for server in servers {
            let (state, receiver) = watch::channel(LinkState {
                reachable: true,
                confirmed: vec![0; node.shards().len()],
            });
            links.push(receiver);
            tasks.spawn(link::run(
                node.clone(),
                server.clone(),
                state,
                stop.subscribe(),
            ));
        }
        Self {
            links: Arc::new(links),
            stop,
            tasks,
        }
    }

    /// How many name servers there are, and how many of them could be reached last time and know all shards.
    pub fn reach(&self) -> (usize, usize) {
        reach(&self.links)
    }

    /// A cheap copy that can wait for confirmations.
    pub fn watcher(&self) -> Watcher {
        Watcher {
            links: self.links.clone(),
        }
    }

    /// Takes all shards off all name servers, for at most two seconds.
    pub async fn leave(mut self) {
        self.stop.send_replace(true);
        let deadline = Instant::now() + LEAVE_WAIT;
        while let Ok(Some(_)) = tokio::time::timeout_at(deadline, self.tasks.join_next()).await {}
    }
}

/// Waits for confirmations.
#[derive(Debug, Clone)]
pub struct Watcher {
    links: Arc<Vec<watch::Receiver<LinkState>>>,
}

impl Watcher {
    /// See [`Registration::reach`].
    pub fn reach(&self) -> (usize, usize) {
        reach(&self.links)
    }

    /// Returns when every reachable name server has confirmed `version` of the shard's shares, or after two seconds:
    /// the name server that is missing will have it when it comes back.
    pub async fn confirmed(&self, shard: usize, version: u64) {
        let deadline = Instant::now() + REGISTERED_WAIT;
        for link in self.links.iter() {
            let mut link = link.clone();
            let known =
                link.wait_for(|state| !state.reachable || state.confirmed[shard] >= version);
            if tokio::time::timeout_at(deadline, known).await.is_err() {
                tracing::warn!(
                    shard,
                    version,
                    "a name server does not confirm a registration; going on without it"
                );
            }
        }
    }
}

fn reach(links: &[watch::Receiver<LinkState>]) -> (usize, usize) {
    let reached = links
        .iter()
        .filter(|link| {
            let state = link.borrow();
            state.reachable && state.confirmed.iter().all(|version| *version > 0)
        })
        .count();
    (links.len(), reached)
}

#[cfg(test)]
mod tests;
