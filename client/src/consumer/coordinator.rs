//! The task that decides which queues a consumer reads, and commits.
//!
//! It looks at routes and group members, at intervals and whenever something changed; compares what should be read with
//! what is; takes leases and start offsets for what is new, and gives back what is no longer its own.

use super::{
    Queue,
    commits::{self, Committed},
    fetcher::Fetcher,
    local_offsets::LocalOffsets,
    membership::Membership,
    queue::QueueState,
    settings::{Mode, QueuesCallback},
    shared::Shared,
};
use crate::{
    error::Error,
    route::{self, Route, Watched},
};
use regex::Regex;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

/// Without a group, routes are pushed; this is only a second look.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// While something that should be read is not.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// What a handle may ask for.
#[derive(Debug)]
pub(super) enum Command {
    Commit(oneshot::Sender<Result<(), Error>>),
    Close(oneshot::Sender<Result<(), Error>>),
}

/// Everything the task owns.
pub(super) struct Coordinator {
    pub(super) shared: Arc<Shared>,
    pub(super) membership: Option<Membership>,
    pub(super) local: Option<LocalOffsets>,
    patterns: Vec<Regex>,
    watched: HashMap<String, Watched>,
    _watched_patterns: Vec<Watched>,
    routes: Vec<Arc<Route>>,
    fetchers: HashMap<Arc<str>, JoinHandle<()>>,
    /// Something that should be read is not yet.
    pub(super) incomplete: bool,
}

impl Coordinator {
    pub(super) fn new(shared: Arc<Shared>) -> Result<Self, Error> {
        let settings = &shared.settings;
        let mut local = None;
        let mut membership = None;
        match &settings.mode {
            Mode::Alone => {}
            Mode::Group(group) => {
                let mut member = format!("{}#{:08x}", shared.core.client_id, rand::random::<u32>());
                // The random part must survive the bound.
                let over = member
                    .len()
                    .saturating_sub(ringmq_wire::limits::CLIENT_ID_BYTES_MAX);
                member.drain(..over);
                membership = Some(Membership::new(
                    group.clone(),
                    member,
                    settings.session_timeout,
                ));
            }
            Mode::Broadcast { offsets, .. } => local = Some(LocalOffsets::open(offsets)?),
        }
        let compiled = settings.patterns.iter().map(|p| route::whole_name(p));
        let patterns = compiled.collect::<Result<Vec<_>, _>>();
        let patterns =
            patterns.map_err(|e| Error::invalid("build consumer", "pattern", e.to_string()))?;
        let routes = &shared.core.routes;
        let topics = settings
            .topics
            .iter()
            .map(|t| (t.clone(), routes.watch_topic(t)));
        let watched = topics.collect();
        let watched_patterns = settings
            .patterns
            .iter()
            .map(|p| routes.watch_pattern(p))
            .collect();
        Ok(Self {
            shared,
            membership,
            local,
            patterns,
            watched,
            _watched_patterns: watched_patterns,
            routes: Vec::new(),
            fetchers: HashMap::new(),
            incomplete: false,
        })
    }

    /// Runs until the consumer is closed or dropped.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let shared = Arc::clone(&self.shared);
        let mut route_changes = shared.core.routes.changes();
        let commit_every = shared.settings.auto_commit;
        let mut next_commit = Instant::now() + commit_every.unwrap_or_default();
        let mut next_look = Instant::now() + self.look_every();
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::Commit(reply)) => drop(reply.send(self.commit_all().await)),
                    Some(Command::Close(reply)) => {
                        let result = self.close().await;
                        let _ = reply.send(result);
                        return;
                    }
                    None => {
                        let _ = self.close().await;
                        return;
                    }
                },
                _ = route_changes.changed() => next_look = Instant::now(),
                () = shared.look_now.notified() => next_look = Instant::now(),
                () = sleep_until(Some(next_look)) => {
                    route_changes.mark_unchanged();
                    self.look().await;
                    next_look = Instant::now() + self.look_every();
                }
                () = sleep_until(commit_every.map(|_| next_commit)) => {
                    if let Err(error) = self.commit_all().await {
                        tracing::warn!(%error, "automatic commit");
                    }
                    next_commit = Instant::now() + commit_every.unwrap_or_default();
                }
            }
        }
    }

    fn look_every(&self) -> Duration {
        let calm = self
            .membership
            .as_ref()
            .map_or(LOOK_EVERY, Membership::beat_every);
        if self.incomplete {
            calm.min(LOOK_AGAIN)
        } else {
            calm
        }
    }

    /// How long one step may take: several in a row must fit into the session's timeout, or leases are lost to waiting.
    pub(super) fn patience(&self) -> Duration {
        (self.shared.settings.session_timeout / 5).min(self.shared.core.request_timeout)
    }

    /// One look: what should be read, and what is.
    pub(super) async fn look(&mut self) {
        self.incomplete = false;
        self.refresh_routes().await;
        let targets = match self.membership.as_mut() {
            None => self.all_queues(),
            Some(membership) => {
                let renewed = membership.refresh(&self.shared.core, &self.routes).await;
                self.renew(&renewed);
                self.group_targets()
            }
        };
        self.drop_lapsed().await;
        self.give_back(&targets).await;
        self.take_on(&targets).await;
        self.start_fetchers();
    }

    /// The routes of all topics that are read.
    async fn refresh_routes(&mut self) {
        let core = &self.shared.core;
        let deadline = Instant::now() + self.patience().min(Duration::from_secs(2));
        for topic in self.shared.take_doubtful_routes() {
            if let Err(error) = core.fresh_route(&topic, deadline).await {
                tracing::debug!(%topic, %error, "asking for a route anew");
                if error.is_topic_not_found() {
                    core.routes.table().forget(&topic);
                }
            }
        }
        let mut routes = BTreeMap::new();
        for topic in &self.shared.settings.topics {
            match core.route(topic, deadline).await {
                Ok(route) => drop(routes.insert(Arc::clone(&route.topic), route)),
                Err(error) => {
                    tracing::debug!(%topic, %error, "no route");
                    self.incomplete = true;
                }
            }
        }
        if !self.patterns.is_empty() {
            let table = core.routes.table();
            let matches = |topic: &str| self.patterns.iter().any(|p| p.is_match(topic));
            for topic in table.topics_where(Instant::now(), matches) {
                if let Some(route) = table.route(&topic, Instant::now()) {
                    routes.insert(topic, route);
                }
            }
        }
        for topic in routes.keys() {
            if !self.watched.contains_key(&**topic) {
                self.watched
                    .insert(topic.to_string(), core.routes.watch_topic(topic));
            }
        }
        self.routes = routes.into_values().collect();
    }

    fn all_queues(&self) -> BTreeMap<Queue, Arc<Route>> {
        let only = self.shared.settings.queues.as_deref();
        let mut all = BTreeMap::new();
        for route in &self.routes {
            let wanted = |queue: &u32| only.is_none_or(|only| only.contains(queue));
            for queue in (0..route.queues).filter(wanted) {
                all.insert(
                    Queue::new(Arc::clone(&route.topic), queue),
                    Arc::clone(route),
                );
            }
        }
        all
    }

    /// Queues that are ours by the group's members. Where nobody can tell, what we have stays ours.
    fn group_targets(&mut self) -> BTreeMap<Queue, Arc<Route>> {
        let Some(membership) = &self.membership else {
            return BTreeMap::new();
        };
        let mut targets = BTreeMap::new();
        for route in &self.routes {
            let strategy = self.shared.settings.assignment;
            let queues = membership.targets(&self.shared.core, route, strategy);
            let queues = queues.unwrap_or_else(|| {
                self.incomplete = true;
                let assigned = self.shared.assigned();
                assigned
                    .keys()
                    .filter(|q| q.topic == route.topic)
                    .map(|q| q.queue)
                    .collect()
            });
            for queue in queues {
                targets.insert(
                    Queue::new(Arc::clone(&route.topic), queue),
                    Arc::clone(route),
                );
            }
        }
        targets
    }

    fn renew(&self, renewed: &BTreeMap<Arc<str>, Instant>) {
        for state in self.shared.assigned().values() {
            if let Some(sent) = renewed.get(&state.shard) {
                state.renew(*sent + self.shared.settings.session_timeout);
            }
        }
        self.shared.inbox.wake();
    }

    /// Queues whose leases could not be renewed in time may be another member's by now.
    async fn drop_lapsed(&mut self) {
        let now = Instant::now();
        let assigned: Vec<_> = self.shared.assigned().values().cloned().collect();
        let lapsed = assigned
            .into_iter()
            .filter(|state| state.is_lapsed(now))
            .collect();
        self.lose(lapsed);
    }

    /// Queues that are gone already: nothing can be committed or released.
    fn lose(&mut self, lost: Vec<Arc<QueueState>>) {
        if lost.is_empty() {
            return;
        }
        lost.iter().for_each(|state| state.stop_delivering());
        call(&self.shared.settings.on_revoked, &lost);
        self.retire(&lost);
    }

    fn retire(&mut self, gone: &[Arc<QueueState>]) {
        let mut assigned = self.shared.assigned();
        for state in gone {
            state.retire();
            assigned.remove(&state.queue);
        }
        drop(assigned);
        self.shared.announce();
    }

    /// Gives back what is no longer ours, and what was made anew under the same name.
    async fn give_back(&mut self, targets: &BTreeMap<Queue, Arc<Route>>) {
        let stays = |state: &Arc<QueueState>| {
            targets.get(&state.queue).is_some_and(|route| {
                route.incarnation == state.incarnation
                    && *route.shard_of(state.queue.queue) == state.shard
            })
        };
        let assigned: Vec<_> = self.shared.assigned().values().cloned().collect();
        let gone: Vec<_> = assigned.into_iter().filter(|state| !stays(state)).collect();
        self.revoke(gone, Instant::now() + Duration::from_secs(3))
            .await;
    }

    /// Stops delivering, lets the program acknowledge, commits, and releases the leases.
    async fn revoke(&mut self, gone: Vec<Arc<QueueState>>, deadline: Instant) -> Option<Error> {
        if gone.is_empty() {
            return None;
        }
        gone.iter().for_each(|state| state.stop_delivering());
        call(&self.shared.settings.on_revoked, &gone);
        let mut error = None;
        if self.shared.settings.auto_commit.is_some() {
            error = self.commit(&gone, deadline).await.error;
        }
        self.retire(&gone);
        if let Some(membership) = &self.membership {
            super::leases::release(&self.shared.core, membership, &gone, deadline).await;
        }
        error
    }

    fn start_fetchers(&mut self) {
        let shards: BTreeSet<Arc<str>> = self
            .shared
            .assigned()
            .values()
            .map(|state| Arc::clone(&state.shard))
            .collect();
        for shard in shards {
            self.fetchers.entry(Arc::clone(&shard)).or_insert_with(|| {
                let fetcher = Fetcher::new(Arc::clone(&self.shared), shard);
                tokio::spawn(fetcher.run())
            });
        }
    }

    async fn commit_all(&mut self) -> Result<(), Error> {
        let states: Vec<_> = self.shared.assigned().values().cloned().collect();
        let deadline = Instant::now() + self.patience();
        let committed = self.commit(&states, deadline).await;
        self.lose(committed.lost);
        committed.error.map_or(Ok(()), Err)
    }

    async fn commit(&mut self, states: &[Arc<QueueState>], deadline: Instant) -> Committed {
        match (&self.membership, &mut self.local) {
            (Some(membership), _) => {
                commits::commit(&self.shared, &membership.member, states, deadline).await
            }
            (None, Some(local)) => {
                let error = commit_locally(local, states).err();
                Committed {
                    lost: Vec::new(),
                    error,
                }
            }
            (None, None) => Committed::default(),
        }
    }

    async fn close(&mut self) -> Result<(), Error> {
        let deadline = self.shared.core.deadline();
        let all: Vec<_> = self.shared.assigned().values().cloned().collect();
        let error = self.revoke(all, deadline).await;
        self.shared.start_closing();
        self.shared.inbox.close();
        if let Some(membership) = &self.membership {
            membership
                .leave(&self.shared.core, &self.routes, deadline)
                .await;
        }
        error.map_or(Ok(()), Err)
    }
}

fn commit_locally(local: &mut LocalOffsets, states: &[Arc<QueueState>]) -> Result<(), Error> {
    let mut moved = Vec::new();
    for state in states {
        if let Some((offset, _)) = state.to_commit() {
            local.set(&state.queue, state.incarnation.1, offset);
            moved.push((state, offset));
        }
    }
    if moved.is_empty() {
        return Ok(());
    }
    local.save()?;
    moved
        .into_iter()
        .for_each(|(state, offset)| state.committed(offset));
    Ok(())
}

pub(super) fn call(callback: &Option<QueuesCallback>, states: &[Arc<QueueState>]) {
    if let Some(callback) = callback {
        let queues: Vec<Queue> = states.iter().map(|state| state.queue.clone()).collect();
        callback(&queues);
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
