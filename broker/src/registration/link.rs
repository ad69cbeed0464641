//! The task of one name server: connect, tell, beat; on any failure start again.

use std::time::Duration;

use ringmq_wire::codes::{ErrorCode, Kind};
use ringmq_wire::native::schema;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::apache::{self, RemotingError};
use super::connection::{Connection, ConnectionError, NotTaken};
use super::plan::{Next, ShardPlan};
use super::{HEARTBEAT_TIMEOUT_MS, LinkState};
use crate::node::{NodeHandle, ShareChanges};

const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// Requests in one write, in bytes, but for the last of them.
const ROUND_BYTES_MAX: usize = 8 << 20;

/// What was logged last: each once per change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Nothing,
    Registered,
    Unreachable,
}

/// Why a link has to start again.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error(transparent)]
    Native(#[from] ConnectionError),
    #[error(transparent)]
    Apache(#[from] RemotingError),
}

pub(super) struct Link {
    pub(super) node: NodeHandle,
    pub(super) server: String,
    state: watch::Sender<LinkState>,
    plans: Vec<ShardPlan>,
    pub(super) started: Instant,
    pub(super) said: Said,
    /// By shard, the refusal that was logged last.
    refusals: Vec<Option<String>>,
}

/// Keeps the shards of `node` registered with `server` until `stop`, then takes them off.
pub(super) async fn run(
    node: NodeHandle,
    server: String,
    state: watch::Sender<LinkState>,
    mut stop: watch::Receiver<bool>,
) {
    let plans = vec![ShardPlan::default(); node.shards().len()];
    let mut link = Link {
        node,
        server,
        state,
        started: Instant::now(),
        refusals: vec![None; plans.len()],
        plans,
        said: Said::Nothing,
    };
    let mut retry = RETRY_MIN;
    while !*stop.borrow() {
        match link.serve(&mut stop).await {
            Ok(()) => return,
            Err(error) => link.say_unreachable(&error),
        }
        // A connection that worked for a while is worth a quick attempt.
        retry = if link.state.borrow().reachable {
            RETRY_MIN
        } else {
            (retry * 2).min(RETRY_MAX)
        };
        link.state.send_modify(|state| state.reachable = false);
        tokio::select! {
            () = sleep(retry) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }
}

impl Link {
    /// One connection's life; `Ok` when told to stop.
    async fn serve(&mut self, stop: &mut watch::Receiver<bool>) -> Result<(), LinkError> {
        let mut changed = self.node.shares_generation();
        let client_id = format!("broker-{}", self.node.identity().node);
        let opened = tokio::select! {
            opened = Connection::open(&self.server, &client_id) => opened,
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        };
        let mut connection = match opened {
            Ok(connection) => connection,
            Err(error) if error.is_hang_up() && apache::is_apache(&self.server).await => {
                return Ok(self.serve_apache(stop).await?);
            }
            Err(error) => return Err(error.into()),
        };
        for plan in &mut self.plans {
            plan.reconnected();
        }
        loop {
            // Marked seen before looking, so that a change made while looking wakes the wait below.
            changed.mark_unchanged();
            let wake_ms = self.tell_all(&mut connection).await?;
            self.publish(self.plans.iter().map(ShardPlan::confirmed).collect());
            tokio::select! {
                () = sleep_until(self.started + Duration::from_millis(wake_ms)) => {}
                _ = changed.changed() => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        Ok(self.leave(&mut connection).await?)
    }

    /// Tells everything there is to tell now; returns when to look again.
    async fn tell_all(&mut self, connection: &mut Connection) -> Result<u64, ConnectionError> {
        loop {
            let (told, wake_ms) = self.begin_round(connection);
            if told.is_empty() {
                return Ok(wake_ms);
            }
            let answers = connection.exchange(told.len()).await?;
            for ((shard, version), answer) in told.into_iter().zip(answers) {
                self.take_answer(shard, version, answer);
            }
        }
    }

    /// What is next for each shard, in one write: the shares of a new topic arrive together. Returns the shards with
    /// the versions that they told, and when to look again if there are none.
    fn begin_round(&mut self, connection: &mut Connection) -> (Vec<(usize, u64)>, u64) {
        let (mut told, mut wake_ms) = (Vec::new(), u64::MAX);
        for (shard, plan) in self.plans.iter().enumerate() {
            if connection.begun_bytes() >= ROUND_BYTES_MAX {
                // The others have their turn in the next one.
                break;
            }
            let now_ms = self.now_ms();
            let next = self.node.shares(shard, |table| plan.next(now_ms, table));
            match next {
                Next::WaitUntil(at_ms) => wake_ms = wake_ms.min(at_ms),
                Next::Heartbeat(version) => {
                    let beat = self.heartbeat(shard, version);
                    connection.begin(Kind::ShardHeartbeat, |builder| beat.pack(builder));
                    told.push((shard, version));
                }
                Next::Register(changes) => {
                    let version = changes.version;
                    let register = self.register(shard, changes);
                    connection.begin(Kind::ShardRegister, |builder| register.pack(builder));
                    told.push((shard, version));
                }
            }
        }
        (told, wake_ms)
    }

    fn take_answer(&mut self, shard: usize, version: u64, answer: Result<(), NotTaken>) {
        let now_ms = self.now_ms();
        let Err(NotTaken { code, message }) = answer else {
            self.refusals[shard] = None;
            self.plans[shard].accepted(now_ms, version);
            return;
        };
        if code != Some(ErrorCode::StaleRegistration)
            && self.refusals[shard].as_ref() != Some(&message)
        {
            let name = &self.node.shards()[shard].name;
            tracing::error!(server = %self.server, shard = %name, %message, "name server refuses the shard");
            self.refusals[shard] = Some(message);
        }
        self.plans[shard].refused(now_ms, code);
    }

    /// Makes visible what the name server has confirmed.
    pub(super) fn publish(&mut self, confirmed: Vec<u64>) {
        if confirmed.iter().all(|version| *version > 0) && self.said != Said::Registered {
            tracing::info!(server = %self.server, shards = confirmed.len(), "registered with name server");
            self.said = Said::Registered;
        }
        self.state.send_if_modified(|state| {
            let next = LinkState {
                reachable: true,
                confirmed,
            };
            let differs = *state != next;
            *state = next;
            differs
        });
    }

    /// Said once, until it could be reached again.
    fn say_unreachable(&mut self, error: &LinkError) {
        if self.said != Said::Unreachable {
            tracing::warn!(server = %self.server, %error, "cannot reach name server; trying again");
            self.said = Said::Unreachable;
        }
    }

    async fn leave(&mut self, connection: &mut Connection) -> Result<(), ConnectionError> {
        for shard in 0..self.plans.len() {
            if self.plans[shard].confirmed() == 0 {
                continue;
            }
            let mut leave = schema::ShardUnregisterRequestT::default();
            leave.shard.clone_from(&self.node.shards()[shard].name);
            (leave.directory_high, leave.directory_low) = self.directory();
            leave.epoch = self.node.identity().epoch;
            connection.begin(Kind::ShardUnregister, |builder| leave.pack(builder));
            // One that does not know the shard: it is as good as gone.
            let _ = connection.exchange(1).await?;
        }
        tracing::debug!(server = %self.server, "left name server");
        Ok(())
    }

    fn register(&self, shard: usize, changes: ShareChanges) -> schema::ShardRegisterRequestT {
        let identity = self.node.identity();
        let link = &self.node.shards()[shard];
        let mut request = schema::ShardRegisterRequestT::default();
        request.cluster.clone_from(&identity.cluster);
        request.node.clone_from(&identity.node);
        request.shard.clone_from(&link.name);
        (request.directory_high, request.directory_low) = self.directory();
        request.epoch = identity.epoch;
        request.address.clone_from(&link.address);
        request.writable = changes.writable;
        request.heartbeat_timeout_ms = HEARTBEAT_TIMEOUT_MS;
        request.base_version = changes.base_version;
        request.version = changes.version;
        request.shares = Some(changes.shares.into_iter().map(share).collect());
        request.removed = Some(changes.removed);
        request
    }

    fn heartbeat(&self, shard: usize, version: u64) -> schema::ShardHeartbeatRequestT {
        let mut request = schema::ShardHeartbeatRequestT::default();
        request.shard.clone_from(&self.node.shards()[shard].name);
        (request.directory_high, request.directory_low) = self.directory();
        request.epoch = self.node.identity().epoch;
        request.version = version;
        request
    }

    fn directory(&self) -> (u64, u64) {
        let id = self.node.identity().directory_id;
        ((id >> 64) as u64, id as u64)
    }

    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn share(topic: schema::TopicRecordT) -> schema::TopicShareT {
    let mut share = schema::TopicShareT::default();
    share.topic = Box::new(topic);
    share
}
