//! The life of one executor: open its shards, serve them, end when all of them have stopped.

use super::condition::{Board, Condition};
use super::listener::Listener;
use super::pulse::{self, Pulse};
use super::{ShardPlan, mailbox};
use crate::delay;
use crate::handler::automatic;
use crate::node::{NodeHandle, ShardCommand};
use crate::shard::{Shard, routes, trim};
use crate::state::ShardState;
use ringmq_storage_engine::disk::glommio::GlommioDisk;
use ringmq_storage_engine::runtime::glommio::GlommioRuntime;
use ringmq_storage_engine::store::Store;
use std::rc::Rc;
use std::time::Duration;

/// Result of opening one shard, with its place in the plan.
pub(super) type Opened = (usize, Result<(), String>);

/// How often the board is brought up to date.
const WATCH_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn run_group(
    group: Vec<(usize, ShardPlan)>,
    node: NodeHandle,
    board: Board,
    opened: flume::Sender<Opened>,
    pulse: Pulse,
) {
    // Shards of a panicking executor are marked when this is dropped.
    let _alive: Vec<_> = group.iter().map(|(at, _)| board.watch(*at)).collect();
    let mut serving = Vec::new();
    glommio::spawn_local(pulse::take(pulse)).detach();
    for (position, plan) in group {
        let told = match open(plan, node.clone()).await {
            Ok(open) => {
                board.set(position, Condition::Serving);
                let board = board.clone();
                serving.push(glommio::spawn_local(serve(open, board, position)));
                Ok(())
            }
            Err(cause) => {
                board.set(position, Condition::Failed(cause.clone()));
                Err(cause)
            }
        };
        // Nobody listens any more when another shard failed; this one goes on until it is told to stop.
        let _ = opened.send((position, told));
    }
    drop(opened);
    for shard in serving {
        shard.await;
    }
}

/// Numbers of the first connections on a shard's port and on the one two below.
const FIRST_CONNECTIONS: [u64; 2] = [1, 1 << 62];

type GlommioShard = Shard<GlommioDisk, GlommioRuntime>;

struct OpenShard {
    shard: GlommioShard,
    listeners: Vec<Rc<Listener<GlommioDisk, GlommioRuntime>>>,
    commands: flume::Receiver<ShardCommand>,
}

async fn open(plan: ShardPlan, node: NodeHandle) -> Result<OpenShard, String> {
    let runtime = GlommioRuntime;
    let disk = GlommioDisk::open(&plan.directory)
        .await
        .map_err(|error| error.to_string())?;
    let store = Store::open(disk, runtime, plan.store, ShardState::default())
        .await
        .map_err(|error| error.to_string())?;
    if let Some(defect) = store.with_state(|state| state.defect().map(ToString::to_string)) {
        return Err(format!("the log cannot be replayed: {defect}"));
    }
    let shard = Shard::new(plan.settings, store, runtime, node);
    if let Err(refusal) = automatic::ensure_system_topics(&shard).await {
        // What is there is served; RocketMQ's clients may miss the rest.
        tracing::warn!(shard = shard.name(), %refusal.message, "system topics are not all there");
    }
    let topics: Vec<_> = shard.with_state(|state| {
        let topics = state.topics();
        topics.map(|(name, topic)| topic.to_wire(name)).collect()
    });
    let index = plan.seat.index;
    for topic in topics {
        shard.node().share_put(index, topic);
    }
    let sockets = [Some(plan.seat.listener), plan.seat.second];
    let mut listeners = Vec::new();
    for (socket, first) in sockets.into_iter().flatten().zip(FIRST_CONNECTIONS) {
        let listener = Listener::start(shard.clone(), socket, first)
            .map_err(|error| format!("the port cannot be used: {error}"))?;
        listeners.push(listener);
    }
    shard.node().shares_loaded(index);
    Ok(OpenShard {
        shard,
        listeners,
        commands: plan.seat.commands,
    })
}

async fn serve(open: OpenShard, board: Board, position: usize) {
    let watching = watch(open.shard.clone(), board.clone(), position);
    glommio::spawn_local(watching).detach();
    glommio::spawn_local(trim::run(open.shard.clone())).detach();
    glommio::spawn_local(delay::run(open.shard.clone())).detach();
    glommio::spawn_local(routes::run(open.shard.clone())).detach();
    let listeners = open.listeners;
    let stop_listening = async move |patience| {
        // At the same time: each waits for connections of its own.
        let stopping = listeners
            .into_iter()
            .map(|listener| glommio::spawn_local(async move { listener.stop(patience).await }));
        for stopped in stopping.collect::<Vec<_>>() {
            stopped.await;
        }
    };
    mailbox::run(open.shard, stop_listening, open.commands).await;
    board.set(position, Condition::Stopped);
}

/// Keeps the board current: a log that stopped must show.
async fn watch(shard: GlommioShard, board: Board, position: usize) {
    while !shard.is_stopping() {
        let condition = if shard.store().health().is_writable() {
            Condition::Serving
        } else {
            Condition::Degraded(shard.condition())
        };
        board.set(position, condition);
        glommio::timer::sleep(WATCH_EVERY).await;
    }
}
