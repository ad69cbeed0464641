//! Executors: one thread pinned to a core each, with one or more shards.
//!
//! [`start`] opens every shard and returns when all of them serve, or with the first that does not. Shards are
//! then reached through their mailboxes; [`Running`] tells how each stands and when its thread has ended. An
//! executor that panics takes its shards with it: their logs are crash-safe, and [`Running::condition`] says so.

mod condition;
mod executor;
pub mod listener;
pub(crate) mod mailbox;
pub mod placement;
mod pulse;

pub use condition::Condition;
pub use listener::listen;

use crate::node::{NodeHandle, ShardSeat};
use crate::shard::ShardSettings;
use condition::Board;
use executor::{Opened, run_group};
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use ringmq_storage_engine::store::StoreOptions;
use std::path::PathBuf;
use std::time::Duration;

/// Longest run of tasks between two looks at the rings: bounds how late a finished write is noticed while
/// connections are busy. glommio's own 100 ms would be the latency of every acknowledgement then.
///
/// glommio: when this passes between arming the timer and running the first task, because the thread lost its core,
/// the executor takes that for "nothing to run" and may sleep although tasks are ready, until something outside wakes
/// it. At 1 ms a busy machine hung one start in a hundred.
const PREEMPTION: Duration = Duration::from_millis(20);

/// One shard to run.
#[derive(Debug)]
pub struct ShardPlan {
    pub seat: ShardSeat,
    /// Its directory; exists, on a locked data directory.
    pub directory: PathBuf,
    pub settings: ShardSettings,
    pub store: StoreOptions,
}

/// All shards of a node.
#[derive(Debug)]
pub struct NodePlan {
    pub node: NodeHandle,
    pub shards: Vec<ShardPlan>,
    /// Threads; at most one a shard is used.
    pub executors: usize,
    /// Keep each thread on one core, where every thread can have its own.
    pub pinned: bool,
    /// Registered memory of each executor: see [`placement::io_memory_bytes`].
    pub io_memory_bytes: usize,
}

/// Why a shard does not serve.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("executor {executor} cannot start: {cause}")]
    Executor { executor: usize, cause: String },
    #[error("shard {shard} cannot start: {cause}")]
    Shard { shard: String, cause: String },
    #[error("the executor of shard {shard} ended while it started; its panic is in the log")]
    Ended { shard: String },
}

/// Executors at work.
pub struct Running {
    executors: Vec<ExecutorJoinHandle<()>>,
    board: Board,
}

/// Starts every executor and waits until all shards serve. Blocks. On an error the shards that do serve go on
/// until their mailboxes are dropped.
pub fn start(plan: NodePlan) -> Result<Running, StartError> {
    let names: Vec<String> = plan.shards.iter().map(|s| s.seat.name.clone()).collect();
    let board = Board::new(names.len());
    let executors = plan.executors.clamp(1, names.len().max(1));
    let cores = plan.pinned.then(|| placement::cores(executors)).flatten();
    let (opened, outcomes) = flume::bounded::<Opened>(names.len().max(1));
    let mut groups: Vec<Vec<(usize, ShardPlan)>> = (0..executors).map(|_| Vec::new()).collect();
    for (position, shard) in plan.shards.into_iter().enumerate() {
        groups[position % executors].push((position, shard));
    }
    let pulses = pulse::start(executors).map_err(|error| StartError::Executor {
        executor: 0,
        cause: error.to_string(),
    })?;
    let mut handles = Vec::with_capacity(executors);
    for (executor, (group, pulse)) in groups.into_iter().zip(pulses).enumerate() {
        let placement = match &cores {
            Some(cores) => Placement::Fixed(cores[executor]),
            None => Placement::Unbound,
        };
        let builder = LocalExecutorBuilder::new(placement)
            .name(&format!("shard-{executor}"))
            .io_memory(plan.io_memory_bytes)
            .preempt_timer(PREEMPTION);
        let (node, board, opened) = (plan.node.clone(), board.clone(), opened.clone());
        let handle = builder
            .spawn(move || run_group(group, node, board, opened, pulse))
            .map_err(|error| StartError::Executor {
                executor,
                cause: error.to_string(),
            })?;
        handles.push(handle);
    }
    drop(opened);
    wait_until_open(&names, &outcomes)?;
    Ok(Running {
        executors: handles,
        board,
    })
}

fn wait_until_open(names: &[String], outcomes: &flume::Receiver<Opened>) -> Result<(), StartError> {
    let mut open = vec![false; names.len()];
    while let Some(next) = open.iter().position(|is_open| !is_open) {
        match outcomes.recv() {
            Ok((position, Ok(()))) => open[position] = true,
            Ok((position, Err(cause))) => {
                let shard = names[position].clone();
                return Err(StartError::Shard { shard, cause });
            }
            Err(flume::RecvError::Disconnected) => {
                let shard = names[next].clone();
                return Err(StartError::Ended { shard });
            }
        }
    }
    Ok(())
}

impl Running {
    /// How a shard stands, by its place in the plan.
    pub fn condition(&self, shard: usize) -> Condition {
        self.board.get(shard)
    }

    /// How every shard stands; usable from any thread, also after this is gone.
    pub fn conditions(&self) -> impl Fn() -> Vec<Condition> + Send + Sync + Clone + use<> {
        let board = self.board.clone();
        move || board.all()
    }

    /// Waits until every executor has ended: after each shard got `ShardCommand::Stop`, or lost its mailbox.
    /// Blocks. The error names what panicked.
    pub fn join(self) -> Result<(), String> {
        let mut failed = Vec::new();
        for (executor, handle) in self.executors.into_iter().enumerate() {
            if let Err(error) = handle.join() {
                failed.push(format!("executor {executor}: {error}"));
            }
        }
        if failed.is_empty() {
            Ok(())
        } else {
            Err(failed.join("; "))
        }
    }
}
