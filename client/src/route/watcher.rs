//! The task that keeps one watch open at one of the name servers.

use super::Routes;
use crate::{
    error::Error,
    name_servers::NameServers,
    transport::{Backoff, Links},
};
use ringmq_wire::native::schema;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// New interests that come together are asked for together.
const GATHER: Duration = Duration::from_millis(5);

/// Runs until it is aborted. Loss of the name server changes nothing in the cache: the next one is asked.
pub(crate) async fn keep_watching(
    routes: Arc<Routes>,
    links: Arc<Links>,
    name_servers: Arc<NameServers>,
) {
    let mut backoff = Backoff::new(50, 2000);
    loop {
        // Nothing to watch, nothing to keep a connection for.
        while routes.interest() == (vec![], vec![]) {
            routes.interest_changed.notified().await;
        }
        let started = Instant::now();
        if let Err(error) = watch_once(&routes, &links, &name_servers).await {
            tracing::debug!(%error, "route watch lost, asking the next name server");
            name_servers.skip_current();
        }
        if started.elapsed() > Duration::from_secs(10) {
            backoff.reset();
        }
        tokio::time::sleep(backoff.next_random()).await;
    }
}

/// Watches at the current name server until that fails.
async fn watch_once(
    routes: &Arc<Routes>,
    links: &Links,
    name_servers: &NameServers,
) -> Result<(), Error> {
    let deadline = Instant::now() + Duration::from_secs(5);
    let connection = links.name_server(name_servers.current(), deadline).await?;
    loop {
        let (topics, patterns) = routes.interest();
        let request = schema::RouteWatchRequestT {
            topics: Some(topics),
            patterns: Some(patterns),
        };
        let mut replies = connection.watch(&request).await?;
        loop {
            tokio::select! {
                reply = replies.next() => apply(routes, links, name_servers, &reply?),
                () = routes.interest_changed.notified() => {
                    tokio::time::sleep(GATHER).await;
                    break;
                }
            }
        }
    }
}

fn apply(
    routes: &Routes,
    links: &Links,
    name_servers: &NameServers,
    reply: &schema::RouteWatchResponseT,
) {
    let told = reply.routes.as_deref().unwrap_or_default();
    let shards = reply.shards.as_deref().unwrap_or_default();
    let mut table = routes.table();
    if !table.apply(told, shards, Instant::now()) {
        return;
    }
    tracing::debug!(topics = told.len(), shards = shards.len(), "routes changed");
    links.retain(|address| table.has_address(address) || name_servers.contains(address));
    drop(table);
    routes.announce_change();
}
