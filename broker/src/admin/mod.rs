//! The admin thread: everything that is not the data path, on one ordinary tokio thread.
//!
//! HTTP (`/healthz`, `/readyz`, `/metrics`), the control task, registrations with name servers, and in `dev` the name
//! server itself. A shard is asked through its bounded mailbox only, and never waited for longer than a second.

mod exposition;
mod http;
mod phase;

use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::control::Control;
use crate::directory::DirectoryLimits;
use crate::node::{ControlCommand, NodeHandle};
use crate::registration::{Registration, Watcher};

pub use phase::{Phase, Standing};

/// What the admin thread needs.
pub struct AdminPlan {
    pub node: NodeHandle,
    pub commands: flume::Receiver<ControlCommand>,
    pub limits: DirectoryLimits,
    /// Name servers to register with, besides an embedded one.
    pub servers: Vec<String>,
    /// Where to run a name server, if at all.
    pub embedded: Option<SocketAddr>,
    /// Bound; for HTTP.
    pub http: TcpListener,
    pub standing: Standing,
}

/// The running thread.
pub struct Admin {
    watcher: Watcher,
    namesrv: Option<SocketAddr>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// Why there is no admin thread.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("cannot start the admin thread: {0}")]
    Thread(std::io::Error),
    #[error(
        "the embedded name server cannot listen on {address}: {cause}; choose another --namesrv-port"
    )]
    NameServer {
        address: SocketAddr,
        cause: std::io::Error,
    },
}

/// What the thread tells its starter once it runs.
type Started = Result<(Watcher, Option<SocketAddr>), AdminError>;

impl Admin {
    /// Starts the thread; returns when everything listens.
    pub fn start(plan: AdminPlan) -> Result<Self, AdminError> {
        let (stop, stopped) = oneshot::channel();
        let (started, outcome) = flume::bounded(1);
        let thread = std::thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                match runtime {
                    Ok(runtime) => runtime.block_on(serve(plan, started, stopped)),
                    Err(error) => {
                        let _ = started.send(Err(AdminError::Thread(error)));
                    }
                }
            })
            .map_err(AdminError::Thread)?;
        let gone = || AdminError::Thread(std::io::Error::other("it ended while it started"));
        let (watcher, namesrv) = outcome.recv().map_err(|_| gone())??;
        Ok(Self {
            watcher,
            namesrv,
            stop,
            thread,
        })
    }

    /// Where the embedded name server listens.
    pub fn namesrv(&self) -> Option<SocketAddr> {
        self.namesrv
    }

    /// Name servers, and how many of them know all shards.
    pub fn reach(&self) -> (usize, usize) {
        self.watcher.reach()
    }

    /// Takes the shards off the name servers and ends the thread. Blocks for a few seconds at most.
    pub fn stop(self) {
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("the admin thread panicked");
        }
    }
}

async fn serve(plan: AdminPlan, started: flume::Sender<Started>, stopped: oneshot::Receiver<()>) {
    let (leave_namesrv, namesrv_left) = oneshot::channel::<()>();
    let mut servers = plan.servers;
    let mut namesrv_task = None;
    let mut namesrv = None;
    if let Some(listen) = plan.embedded {
        match embed(listen, plan.node.shards().len()).await {
            Ok((server, address)) => {
                namesrv = Some(address);
                let own = address.to_string();
                servers.retain(|server| *server != own);
                servers.insert(0, own);
                namesrv_task = Some(tokio::spawn(server.run(async move {
                    let _ = namesrv_left.await;
                })));
            }
            Err(cause) => {
                let _ = started.send(Err(AdminError::NameServer {
                    address: listen,
                    cause,
                }));
                return;
            }
        }
    }
    let registration = Registration::start(&plan.node, &servers);
    let control = Control::new(plan.node.clone(), registration.watcher(), plan.limits);
    let control = tokio::spawn(control.run(plan.commands));
    let http = tokio::spawn(http::serve(plan.http, plan.node, plan.standing));
    let _ = started.send(Ok((registration.watcher(), namesrv)));
    let _ = stopped.await;
    registration.leave().await;
    control.abort();
    http.abort();
    drop(leave_namesrv);
    if let Some(task) = namesrv_task {
        let _ = task.await;
    }
}

async fn embed(
    listen: SocketAddr,
    expected_shards: usize,
) -> std::io::Result<(ringmq_namesrv::Server, SocketAddr)> {
    let config = ringmq_namesrv::Config {
        listen,
        stop_timeout_ms: 200,
        expected_shards,
        ..Default::default()
    };
    let server = ringmq_namesrv::Server::bind(config).await?;
    let address = server.local_addr()?;
    Ok((server, address))
}
