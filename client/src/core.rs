//! What all handles of a client share: links, routes, the list of name servers.

use crate::{
    error::{Error, ErrorKind},
    name_servers::NameServers,
    route::{self, Route, Routes, Watched},
    transport::{Call, Connection, Identity, Links},
};
use ringmq_wire::{codes::ErrorCode, native::schema};
use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// Shared by the handles; its background task ends when the last handle is gone.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) client_id: String,
    pub(crate) links: Arc<Links>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) name_servers: Arc<NameServers>,
    pub(crate) request_timeout: Duration,
    watcher: tokio::task::JoinHandle<()>,
    /// Topics that were asked for by name stay watched as long as the client lives.
    watched: Mutex<std::collections::HashMap<String, Watched>>,
}

impl Drop for Core {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

impl Core {
    pub(crate) fn start(
        client_id: String,
        identity: Identity,
        name_servers: NameServers,
        request_timeout: Duration,
    ) -> Arc<Self> {
        let links = Arc::new(Links::new(identity));
        let routes = Arc::new(Routes::new());
        let name_servers = Arc::new(name_servers);
        let watching = route::keep_watching(
            Arc::clone(&routes),
            Arc::clone(&links),
            Arc::clone(&name_servers),
        );
        let watcher = tokio::spawn(watching);
        let watched = Mutex::default();
        Arc::new(Self {
            client_id,
            links,
            routes,
            name_servers,
            request_timeout,
            watcher,
            watched,
        })
    }

    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.request_timeout
    }

    /// A connection to any name server.
    pub(crate) async fn name_server(&self, deadline: Instant) -> Result<Connection, Error> {
        let started = Instant::now();
        let mut last = None;
        while Instant::now() < deadline {
            // With others to ask, a server that does not even refuse must not use up the whole deadline.
            let patience = match self.name_servers.count() {
                1 => deadline,
                _ => deadline.min(Instant::now() + Duration::from_secs(1)),
            };
            match self
                .links
                .name_server(self.name_servers.current(), patience)
                .await
            {
                Ok(connection) => return Ok(connection),
                Err(error) => {
                    self.name_servers.skip_current();
                    last = Some(error);
                }
            }
        }
        Err(deadline_passed(
            "connect to a name server",
            self.name_servers.all(),
            started,
            last,
        ))
    }

    /// Asks name servers in turn until one answers.
    pub(crate) async fn ask_name_server<C: Call>(
        &self,
        request: &C,
        deadline: Instant,
    ) -> Result<C::Response, Error> {
        let started = Instant::now();
        let mut last = None;
        while Instant::now() < deadline {
            let connection = match self.name_server(deadline).await {
                Ok(connection) => connection,
                Err(error) => return Err(last.unwrap_or(error)),
            };
            // With others to ask, one slow server must not use up the whole deadline.
            let mut patience = deadline.saturating_duration_since(Instant::now());
            if self.name_servers.count() > 1 {
                patience = patience.min(Duration::from_secs(2));
            }
            match connection.call(request, patience).await {
                Ok(response) => return Ok(response),
                Err(error) if error.is_retryable() => {
                    self.name_servers.skip_current();
                    last = Some(error);
                    pause(deadline).await;
                }
                Err(error) => return Err(error),
            }
        }
        Err(deadline_passed(
            C::KIND.name(),
            self.name_servers.all(),
            started,
            last,
        ))
    }

    /// The cached route, or the name server's answer. The topic is watched from then on.
    pub(crate) async fn route(&self, topic: &str, deadline: Instant) -> Result<Arc<Route>, Error> {
        match self.routes.cached(topic) {
            Some(route) => Ok(route),
            None => self.fresh_route(topic, deadline).await,
        }
    }

    /// Asks a name server even if the route is cached.
    pub(crate) async fn fresh_route(
        &self,
        topic: &str,
        deadline: Instant,
    ) -> Result<Arc<Route>, Error> {
        let request = schema::RouteQueryRequestT {
            topics: Some(vec![topic.to_owned()]),
        };
        let answer = self.ask_name_server(&request, deadline).await;
        let answer = answer.map_err(|e| e.during("look up route of topic", topic))?;
        let told = answer.routes.unwrap_or_default();
        let shards = answer.shards.unwrap_or_default();
        let (changed, route) = {
            let mut table = self.routes.table();
            let known = told.iter().any(|r| r.topic == topic && r.error == 0);
            let changed = table.apply(&told, &shards, Instant::now());
            (
                changed,
                table.route(topic, Instant::now()).filter(|_| known),
            )
        };
        if changed {
            self.routes.announce_change();
        }
        let Some(route) = route else {
            let kind = ErrorKind::TopicNotFound;
            return Err(Error::new("look up route of topic", topic, kind));
        };
        self.keep_watched(topic);
        Ok(route)
    }

    fn keep_watched(&self, topic: &str) {
        let mut watched = self.watched.lock().expect("no holder panics");
        if watched.len() < route::WATCHED_TOPICS_MAX && !watched.contains_key(topic) {
            watched.insert(topic.to_owned(), self.routes.watch_topic(topic));
        }
    }

    /// The topic's route; a missing topic is made by the broker's defaults, unless it refuses.
    pub(crate) async fn route_or_create(
        &self,
        topic: &str,
        deadline: Instant,
    ) -> Result<Arc<Route>, Error> {
        match self.route(topic, deadline).await {
            Err(error) if error.is_topic_not_found() => {
                self.create_automatically(topic, deadline).await
            }
            result => result,
        }
    }

    async fn create_automatically(
        &self,
        topic: &str,
        deadline: Instant,
    ) -> Result<Arc<Route>, Error> {
        let renamed = |e: Error| e.during("create topic", topic);
        let started = Instant::now();
        let request = schema::TopicCreateRequestT {
            topic: Box::new(schema::TopicRecordT {
                name: topic.to_owned(),
                ..Default::default()
            }),
            automatic: true,
        };
        let mut last = None;
        while Instant::now() < deadline {
            let shards = self.cluster_shards(deadline).await.map_err(renamed)?;
            let writable: Vec<_> = shards.iter().filter(|s| s.writable).collect();
            if let Some(shard) = pick_by_name(&writable, topic) {
                match self.call_shard(&shard.shard, &request, deadline).await {
                    Ok(response) => {
                        let record = response.topic.as_deref();
                        let Some(route) = record.and_then(Route::from_record) else {
                            // The answer did not describe it; the name server knows it by now.
                            return self.fresh_route(topic, deadline).await;
                        };
                        self.routes.table().put(route);
                        self.routes.announce_change();
                        self.keep_watched(topic);
                        return self.route(topic, deadline).await;
                    }
                    Err(error) if !error.is_retryable() => return Err(renamed(error)),
                    Err(error) => last = Some(error),
                }
            }
            pause(deadline).await;
        }
        Err(deadline_passed("create topic", topic, started, last))
    }

    /// All live shards, sorted by name.
    pub(crate) async fn cluster_shards(
        &self,
        deadline: Instant,
    ) -> Result<Vec<schema::ShardAddressT>, Error> {
        let request = schema::ClusterInfoRequestT::default();
        let answer = self.ask_name_server(&request, deadline).await?;
        let mut shards = answer.shards.unwrap_or_default();
        shards.sort_by(|a, b| a.shard.cmp(&b.shard));
        let changed = self.routes.table().apply(&[], &shards, Instant::now());
        if changed {
            self.routes.announce_change();
        }
        Ok(shards)
    }

    /// The connection to a shard by name.
    pub(crate) async fn shard(&self, shard: &str, deadline: Instant) -> Result<Connection, Error> {
        let known = self
            .routes
            .table()
            .shard(shard)
            .map(|place| place.address.clone());
        let address = match known {
            Some(address) => address,
            None => {
                let shards = self.cluster_shards(deadline).await?;
                let found = shards.into_iter().find(|s| s.shard == shard);
                let found = found.map(|s| s.address);
                found.ok_or_else(|| Error::new("find shard", shard, ErrorKind::NoRoute))?
            }
        };
        self.links.connection(shard, &address, deadline).await
    }

    /// One attempt at one request to a shard.
    pub(crate) async fn call_shard<C: Call>(
        &self,
        shard: &str,
        request: &C,
        deadline: Instant,
    ) -> Result<C::Response, Error> {
        let connection = self.shard(shard, deadline).await?;
        connection
            .call(request, deadline.saturating_duration_since(Instant::now()))
            .await
    }

    /// Repeats a request that may be repeated until it is answered or the deadline passes.
    pub(crate) async fn call_shard_until<C: Call>(
        &self,
        shard: &str,
        request: &C,
        deadline: Instant,
    ) -> Result<C::Response, Error> {
        let started = Instant::now();
        let mut last = None;
        while Instant::now() < deadline {
            match self.call_shard(shard, request, deadline).await {
                Err(error)
                    if error.is_retryable() && error.code() != Some(ErrorCode::WrongShard) =>
                {
                    last = Some(error);
                    pause(deadline).await;
                }
                result => return result,
            }
        }
        Err(deadline_passed(C::KIND.name(), shard, started, last))
    }
}

/// A short, jittered rest between two attempts.
pub(crate) async fn pause(deadline: Instant) {
    let rest = Duration::from_millis(rand::random_range(20..100));
    let left = deadline.saturating_duration_since(Instant::now());
    tokio::time::sleep(rest.min(left)).await;
}

/// The same topic goes to the same shard from every client, so that two creations meet.
fn pick_by_name<'a>(
    shards: &[&'a schema::ShardAddressT],
    topic: &str,
) -> Option<&'a schema::ShardAddressT> {
    let hash = ringmq_wire::batch::key_hash(topic) as usize;
    shards.get(hash % shards.len().max(1)).copied()
}

pub(crate) fn deadline_passed(
    operation: &'static str,
    object: impl Into<String>,
    started: Instant,
    last: Option<Error>,
) -> Error {
    let waited_ms = started.elapsed().as_millis() as u64;
    Error::new(
        operation,
        object,
        ErrorKind::TimedOut {
            waited_ms,
            cause: last.map(Box::new),
        },
    )
}
