//! Listening, accepting within limits, the expiry timer, stopping.

use crate::config::Config;
use crate::connection::{Shared, serve};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};

/// How often silent shards are looked for: well under the shortest sensible heartbeat timeout.
const EXPIRY_PERIOD_MS: u64 = 100;
/// Pause after a failed accept (descriptors may be used up for a while).
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A name server that listens. It serves while [`Self::run`] is polled.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    shared: Arc<Shared>,
}

impl Server {
    /// Binds the listener. Must be called within a tokio runtime.
    pub async fn bind(config: Config) -> io::Result<Self> {
        config
            .check()
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let listener = TcpListener::bind(config.listen).await?;
        let shared = Shared::new(config)?;
        Ok(Self {
            listener,
            shared: Arc::new(shared),
        })
    }

    /// Where it listens; with the port that was picked.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown` completes, then lets connections finish what they are at, for a bounded time.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let (stop, stopped) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut expiry = interval(Duration::from_millis(EXPIRY_PERIOD_MS));
        expiry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(shutdown);
        let mut next_id = 0;
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                _ = expiry.tick() => self.shared.directory.expire(EXPIRY_PERIOD_MS),
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        if connections.len() >= self.shared.config.connections_max {
                            tracing::warn!(%peer, "connection refused: {} are open, the limit", connections.len());
                            continue;
                        }
                        next_id += 1;
                        prepare(&stream, peer);
                        connections.spawn(serve(stream, peer, next_id, self.shared.clone(), stopped.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a connection");
                        sleep(ACCEPT_RETRY).await;
                    }
                }
            }
        }
        let Self { listener, shared } = self;
        drop(listener);
        stop.send_replace(true);
        let deadline = Instant::now() + Duration::from_millis(shared.config.stop_timeout_ms);
        while let Ok(Some(_)) = timeout_at(deadline, connections.join_next()).await {}
        connections.shutdown().await;
    }
}

/// Answers are small and awaited: no delay. Dead peers are noticed by keep-alive, too.
fn prepare(stream: &TcpStream, peer: SocketAddr) {
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE);
    let set = stream
        .set_nodelay(true)
        .and_then(|()| socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive));
    if let Err(error) = set {
        tracing::debug!(%peer, %error, "socket options");
    }
}
