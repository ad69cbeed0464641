//! The node's control task on simulated time: the directory and the topic maker of a broker, driven as
//! `control::Control` drives them under tokio.

use super::draw::Draw;
use super::registration::Links;
use crate::control::ambient::Ambient;
use crate::control::clients::tell_group;
use crate::control::topics::TopicMaker;
use crate::directory::{Directory, DirectoryLimits, Now};
use crate::node::{ControlCommand, NodeHandle};
use crate::registration::Registration;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::runtime::sim::SimRuntime;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const EXPIRY_PERIOD: Duration = Duration::from_millis(250);
/// As `registration::REGISTERED_WAIT`.
const REGISTERED_WAIT: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Virtual time for code that must be `Send`: a task of the machine does the sleeping.
#[derive(Debug, Clone)]
struct SimAmbient {
    sleeps: flume::Sender<(Duration, flume::Sender<()>)>,
    draw: Arc<Mutex<Draw>>,
}

impl SimAmbient {
    fn start(runtime: &SimRuntime, draw: Draw) -> Self {
        let (sleeps, asked) = flume::unbounded::<(Duration, flume::Sender<()>)>();
        let clock = runtime.clone();
        runtime.spawn(async move {
            while let Ok((duration, done)) = asked.recv_async().await {
                let sleeper = clock.clone();
                clock.spawn(async move {
                    sleeper.sleep(duration).await;
                    // Whoever asked may have gone on.
                    let _ = done.try_send(());
                });
            }
        });
        Self {
            sleeps,
            draw: Arc::new(Mutex::new(draw)),
        }
    }
}

impl Ambient for SimAmbient {
    async fn sleep(&self, duration: Duration) {
        let (done, wait) = flume::bounded(1);
        // A machine that is gone sleeps for ever.
        if self.sleeps.send((duration, done)).is_err() || wait.recv_async().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn random(&self) -> u64 {
        let mut draw = self.draw.lock().unwrap_or_else(PoisonError::into_inner);
        draw.next()
    }
}

/// See the module.
#[derive(Clone)]
struct Control {
    runtime: SimRuntime,
    node: NodeHandle,
    directory: Rc<RefCell<Directory>>,
    topics: TopicMaker<SimAmbient>,
    links: Links,
}

/// Serves the node's control mailbox.
pub fn start(
    runtime: &SimRuntime,
    node: NodeHandle,
    commands: flume::Receiver<ControlCommand>,
    links: Links,
    draw: Draw,
) {
    let now = now(runtime);
    // Without name servers of its own: confirmations are waited for here.
    let watcher = Registration::start(&node, &[]).watcher();
    let control = Control {
        directory: Rc::new(RefCell::new(Directory::new(
            DirectoryLimits::default(),
            now,
        ))),
        topics: TopicMaker::new(node.clone(), watcher, SimAmbient::start(runtime, draw)),
        runtime: runtime.clone(),
        node,
        links,
    };
    let opening = control.topics.clone();
    runtime.spawn(async move { opening.open_node().await });
    runtime.spawn(expire(control.clone()));
    runtime.spawn(tell(control.clone()));
    runtime.spawn(async move {
        while let Ok(command) = commands.recv_async().await {
            control.take(command);
        }
    });
}

async fn expire(control: Control) {
    loop {
        control.runtime.sleep(EXPIRY_PERIOD).await;
        let now = now(&control.runtime);
        let gone = control.directory.borrow_mut().expire(now).len();
        let clients_gone = control.directory.borrow_mut().clients().expire(now);
        if gone + clients_gone > 0 {
            control.publish();
        }
    }
}

/// Tells RocketMQ consumers that the members of their groups changed.
async fn tell(control: Control) {
    loop {
        control.runtime.sleep(LOOK_EVERY).await;
        let now = now(&control.runtime);
        let due = control.directory.borrow_mut().clients().due_notices(now);
        for group in due {
            if !tell_group(&control.node, &group) {
                let mut directory = control.directory.borrow_mut();
                directory.clients().notice_failed(now, &group);
            }
        }
    }
}

impl Control {
    fn publish(&self) {
        let snapshot = self.directory.borrow_mut().snapshot();
        self.node.publish(snapshot);
    }

    fn take(&self, command: ControlCommand) {
        let now = now(&self.runtime);
        match command {
            ControlCommand::Join { join, reply } => {
                let group = join.group.clone();
                let joined = self.directory.borrow_mut().join(now, join);
                if joined == Ok(true) {
                    self.publish();
                }
                let (version, members) = self.directory.borrow().members(&group);
                reply.send(joined.map(|_| {
                    let mut response = ringmq_wire::native::schema::GroupJoinResponseT::default();
                    response.version = version;
                    response.members = Some(members);
                    response
                }));
            }
            ControlCommand::Heartbeat { group, member } => {
                self.directory.borrow_mut().heartbeat(now, &group, &member);
            }
            ControlCommand::Leave {
                group,
                member,
                reply,
            } => {
                if self.directory.borrow_mut().leave(&group, &member) {
                    self.publish();
                }
                reply.send(());
            }
            ControlCommand::Members { group, reply } => {
                reply.send(self.directory.borrow().members(&group));
            }
            ControlCommand::ClientRegister { beat, reply } => {
                let (changed, registered) = self.directory.borrow_mut().register(now, beat);
                if changed {
                    self.publish();
                }
                reply.send(registered);
            }
            ControlCommand::ClientBeat {
                connection,
                consumers,
                producers,
            } => {
                let mut directory = self.directory.borrow_mut();
                let clients = directory.clients();
                clients.beat(now, connection, &consumers, &producers);
            }
            ControlCommand::ClientUnregister {
                connection,
                consumer_group,
                producer_group,
                reply,
            } => {
                let (consumers, producers) = (consumer_group.as_deref(), producer_group.as_deref());
                let left = self
                    .directory
                    .borrow_mut()
                    .clients()
                    .unregister(now, connection, consumers, producers);
                if left {
                    self.publish();
                }
                reply.send(());
            }
            ControlCommand::ClientClosed { connection } => {
                let closed = self
                    .directory
                    .borrow_mut()
                    .clients()
                    .closed(now, connection);
                if closed {
                    self.publish();
                }
            }
            ControlCommand::Producers { reply } => {
                reply.send(self.directory.borrow_mut().clients().producers());
            }
            ControlCommand::CreateTopic { topic, reply } => {
                let control = self.clone();
                self.runtime.spawn(async move {
                    let created = control.topics.create(topic).await;
                    for shard in 0..control.node.shards().len() {
                        let version = control.node.shares(shard, |table| table.version());
                        control.confirmed(shard, version).await;
                    }
                    reply.send(created);
                });
            }
            ControlCommand::Registered {
                shard,
                version,
                reply,
            } => {
                let control = self.clone();
                self.runtime.spawn(async move {
                    control.confirmed(shard, version).await;
                    reply.send(Ok(()));
                });
            }
        }
    }

    async fn confirmed(&self, shard: usize, version: u64) {
        let deadline = self.runtime.now() + REGISTERED_WAIT;
        while !self.links.confirmed(shard, version) && self.runtime.now() < deadline {
            self.runtime.sleep(LOOK_EVERY).await;
        }
    }
}

fn now(runtime: &SimRuntime) -> Now {
    Now {
        ms: runtime.now().as_millis() as u64,
        wall_ms: runtime.wall_ms(),
    }
}
