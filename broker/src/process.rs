//! The life of a broker process: checks, start, service, stop.
//!
//! ```text
//!  config ─ doctor ─ lock directory ─ bind ports ─ admin thread ─ executors ─ ready
//!  signal ─ withdraw write permission ─ drain ─ stop shards (flush, snapshot) ─ leave name servers ─ exit 0
//! ```
//! Everything that can be refused is refused before the first executor starts.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ringmq_storage_engine::data_dir::{
    DataDir, DataDirError, FormatConstants, Identity, ShardCount,
};
use ringmq_storage_engine::store::StoreOptions;

use crate::address;
use crate::admin::{Admin, AdminError, AdminPlan, Phase, Standing};
use crate::config::Config;
use crate::doctor::{self, Plan};
use crate::node::{
    NodeHandle, NodeIdentity, SHARD_MAILBOX_MAX, ShardCommand, ShardLink, ShardSeat, reply,
    shard_name,
};
use crate::ports::{self, PortError};
use crate::runtime::{self, Condition, NodePlan, Running, ShardPlan, StartError, placement};
use crate::shard::ShardSettings;
use crate::signals::StopRequests;

/// How long a start waits for name servers before it says ready; they are tried on and on afterwards.
const REGISTER_WAIT: Duration = Duration::from_secs(2);
/// How often the shards are looked at.
const WATCH_EVERY: Duration = Duration::from_millis(500);
/// How long the shards may take to flush and write their snapshots.
const STOP_WAIT: Duration = Duration::from_secs(120);

/// Why the process ends with an error.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("this machine cannot run a broker:\n{0}")]
    Doctor(String),
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Ports(#[from] PortError),
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("{0}")]
    Shard(String),
}

/// A broker that serves.
pub struct Broker {
    config: Config,
    node: NodeHandle,
    admin: Admin,
    admin_address: SocketAddr,
    running: Running,
    standing: Standing,
    /// Locked until the last shard has stopped.
    _directory: DataDir,
}

/// Checks, locks, binds and starts; returns when all shards serve.
pub fn start(config: Config, embedded_namesrv: bool) -> Result<Broker, ProcessError> {
    let checked = Plan::of(&config, embedded_namesrv);
    check_machine(&config, checked)?;
    let directory = open_directory(&config)?;
    let shards = directory.shards() as usize;
    let sockets = ports::bind_shards(&config, shards)?;
    let admin_wanted = SocketAddr::new(config.admin.listen, config.admin.port);
    let http = ports::bind(admin_wanted, "--admin-port")?;
    let admin_address = ports::local(&http, admin_wanted)?;

    let identity = identity(&config, &directory);
    let mut links = Vec::new();
    let mut seats = Vec::new();
    let advertised = Advertised::new(&config);
    for (index, (listener, second)) in sockets.into_iter().enumerate() {
        let name = shard_name(index, &identity.node);
        let bound = ports::local(&listener, admin_wanted)?;
        let (mailbox, commands) = flume::bounded(SHARD_MAILBOX_MAX);
        links.push(ShardLink {
            name: name.clone(),
            address: advertised.shard(index, bound.port()),
            mailbox,
        });
        seats.push(ShardSeat {
            index,
            name,
            listener,
            second,
            commands,
        });
    }
    let (node, commands) = NodeHandle::new(identity, links);
    let standing = Standing::default();
    let admin = Admin::start(AdminPlan {
        node: node.clone(),
        commands,
        limits: config.directory_limits(),
        servers: config.node.namesrv.clone(),
        embedded: embedded_namesrv
            .then(|| SocketAddr::new(config.node.listen, config.dev.namesrv_port)),
        http,
        standing: standing.clone(),
    })?;
    let executors = shards.min(placement::parallelism()).max(1);
    let plan = NodePlan {
        node: node.clone(),
        shards: seats
            .into_iter()
            .map(|seat| shard_plan(&config, &directory, seat))
            .collect(),
        executors,
        pinned: true,
        io_memory_bytes: placement::io_memory_bytes(executors),
    };
    let running = match runtime::start(plan) {
        Ok(running) => running,
        Err(error) => {
            admin.stop();
            return Err(error.into());
        }
    };
    standing.watch(running.conditions());
    standing.enter(Phase::Serving);
    let broker = Broker {
        config,
        node,
        admin,
        admin_address,
        running,
        standing,
        _directory: directory,
    };
    broker.wait_registered();
    Ok(broker)
}

fn check_machine(config: &Config, plan: Plan) -> Result<(), ProcessError> {
    let checks = doctor::machine(config, plan);
    let failed: Vec<String> = checks
        .iter()
        .filter(|check| !check.ok)
        .map(doctor::describe)
        .collect();
    if !failed.is_empty() {
        return Err(ProcessError::Doctor(failed.join("\n")));
    }
    for check in checks.iter().filter(|check| check.is_warning()) {
        tracing::warn!(
            check = check.name,
            found = %check.found,
            cause = %check.cause,
            cure = %check.cure,
            "the machine could serve better"
        );
    }
    Ok(())
}

fn open_directory(config: &Config) -> Result<DataDir, DataDirError> {
    let shards = match config.node.shards {
        0 => ShardCount::New(u32::try_from(placement::default_shards()).unwrap_or(1)),
        shards => ShardCount::Exactly(shards),
    };
    let mut identity = Identity {
        node: config.node.node.clone(),
        cluster: config.node.cluster.clone(),
        shards,
        format: FormatConstants {
            segment_bytes: config.storage.segment_bytes,
            ..FormatConstants::default()
        },
    };
    if !identity.node.is_empty() {
        return DataDir::open_or_create(&config.node.data_dir, &identity);
    }
    identity.node = host_name();
    match DataDir::open_or_create(&config.node.data_dir, &identity) {
        // The host name is only a first guess: a directory that has a name keeps it, on another host, too.
        Err(DataDirError::OtherNode { found, .. }) => {
            identity.node = found;
            DataDir::open_or_create(&config.node.data_dir, &identity)
        }
        other => other,
    }
}

/// The host name as far as it can be part of a shard's name.
fn host_name() -> String {
    let uname = rustix::system::uname();
    let host = uname.nodename().to_string_lossy().into_owned();
    let name: String = host
        .split('.')
        .next()
        .unwrap_or_default()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' || c == '_' {
                c
            } else {
                '-'
            }
        })
        .take(ringmq_wire::limits::NODE_NAME_BYTES_MAX)
        .collect();
    if name.is_empty() {
        "node".to_owned()
    } else {
        name
    }
}

fn identity(config: &Config, directory: &DataDir) -> NodeIdentity {
    let wall = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    NodeIdentity {
        cluster: config.node.cluster.clone(),
        node: directory.superblock().node.clone(),
        directory_id: directory.superblock().directory_id,
        epoch: u64::try_from(wall.as_millis()).unwrap_or(u64::MAX),
        auto_create: config.topics.auto_create,
        auto_create_queues: config.topics.auto_create_queues,
    }
}

fn shard_plan(config: &Config, directory: &DataDir, seat: ShardSeat) -> ShardPlan {
    let superblock = directory.superblock();
    let settings = ShardSettings {
        retention_ms: i64::try_from(config.storage.retention_ms).ok(),
        delay_levels: config.delay_levels(),
        auto_create_groups: config.groups.auto_create,
        ..ShardSettings::new(
            &superblock.cluster,
            &superblock.node,
            seat.index,
            config.session_limits(),
        )
    };
    let store = StoreOptions {
        segment_bytes: superblock.format.segment_bytes,
        frame_bytes_max: superblock.format.frame_bytes_max as usize,
        ..config.store_options()
    };
    ShardPlan {
        directory: directory.shard_path(u32::try_from(seat.index).unwrap_or(u32::MAX)),
        settings,
        store,
        seat,
    }
}

/// What clients are told.
struct Advertised {
    host: String,
    base_port: Option<u16>,
}

impl Advertised {
    fn new(config: &Config) -> Self {
        match address::parse_advertise(&config.node.advertise) {
            Ok(Some((host, base_port))) => Self { host, base_port },
            // Checked when the configuration was loaded; nothing given means: find out.
            _ => {
                let (host, chosen) = address::default_host(config.node.listen);
                if chosen {
                    tracing::warn!(
                        %host,
                        "listening on all addresses; clients are told this one; set `advertise` if they cannot reach it"
                    );
                }
                Self {
                    host,
                    base_port: None,
                }
            }
        }
    }

    fn shard(&self, index: usize, bound_port: u16) -> String {
        let port = self.base_port.map_or(usize::from(bound_port), |base| {
            usize::from(base) + 10 * index
        });
        format!("{}:{port}", self.host)
    }
}

impl Broker {
    /// `ready broker=… namesrv=… admin=…`
    pub fn ready_line(&self) -> String {
        let brokers: Vec<&str> = self
            .node
            .shards()
            .iter()
            .map(|link| link.address.as_str())
            .collect();
        let namesrv = match self.admin.namesrv() {
            Some(address) => address.to_string(),
            None => self.config.node.namesrv.join(","),
        };
        format!(
            "ready broker={} namesrv={namesrv} admin={}",
            brokers.join(","),
            self.admin_address
        )
    }

    fn wait_registered(&self) {
        let deadline = Instant::now() + REGISTER_WAIT;
        loop {
            let (servers, reached) = self.admin.reach();
            if reached == servers {
                return;
            }
            if Instant::now() >= deadline {
                tracing::warn!(servers, reached, "not all name servers know the shards yet");
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Serves until told to stop, then stops. Blocks.
    pub fn serve(self, requests: &StopRequests) -> Result<(), ProcessError> {
        let failed = loop {
            match requests.received.recv_timeout(WATCH_EVERY) {
                Ok(()) | Err(flume::RecvTimeoutError::Disconnected) => break None,
                Err(flume::RecvTimeoutError::Timeout) => {
                    if let Some(failed) = self.failed_shard() {
                        tracing::error!(%failed, "a shard does not serve any more; stopping, so that a restart can recover it");
                        break Some(failed);
                    }
                }
            }
        };
        if failed.is_none() {
            self.drain(requests);
        }
        self.stop(failed)
    }

    fn failed_shard(&self) -> Option<String> {
        let conditions = self.standing.conditions();
        let mut shards = self.node.shards().iter().zip(conditions);
        shards.find_map(|(link, condition)| match condition {
            Condition::Failed(why) => Some(format!("shard {}: {why}", link.name)),
            _ => None,
        })
    }

    /// Takes the shards off the writers' routes and serves on until clients had time to see it.
    fn drain(&self, requests: &StopRequests) {
        self.standing.enter(Phase::Draining);
        let drain = Duration::from_millis(self.config.node.drain_ms);
        if drain.is_zero() {
            return;
        }
        self.node.set_writable(false);
        tracing::info!(
            seconds = drain.as_secs(),
            "draining: write permission is withdrawn; a second signal skips the wait"
        );
        let _ = requests.received.recv_timeout(drain);
    }

    fn stop(self, failed: Option<String>) -> Result<(), ProcessError> {
        self.standing.enter(Phase::Stopping);
        let mut answers = Vec::new();
        for link in self.node.shards() {
            let (reply, answer) = reply();
            let stop = ShardCommand::Stop { reply };
            if link
                .mailbox
                .send_timeout(stop, Duration::from_secs(5))
                .is_ok()
            {
                answers.push((link.name.clone(), answer));
            }
        }
        let mut wrong: Vec<String> = failed.into_iter().collect();
        let deadline = Instant::now() + STOP_WAIT;
        for (shard, answer) in answers {
            match answer.recv_deadline(deadline) {
                Ok(Ok(())) => tracing::debug!(%shard, "stopped"),
                Ok(Err(error)) => {
                    wrong.push(format!("shard {shard} did not stop cleanly: {error}"))
                }
                Err(error) => wrong.push(format!("shard {shard} did not stop: {error}")),
            }
        }
        self.admin.stop();
        // An executor that did not stop would be waited for without end.
        if wrong.is_empty()
            && let Err(panics) = self.running.join()
        {
            wrong.push(panics);
        }
        if wrong.is_empty() {
            tracing::info!("stopped");
            return Ok(());
        }
        Err(ProcessError::Shard(wrong.join("; ")))
    }
}
