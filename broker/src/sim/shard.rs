//! One simulated shard of a node: opened, served and stopped as `runtime::executor` and `runtime::listener` do with a
//! real disk and real sockets.

use super::connection::{SimShard, Wire, serve};
use super::net::{Listener, Net};
use crate::delay;
use crate::handler::automatic;
use crate::node::{NodeHandle, ShardCommand};
use crate::runtime::mailbox;
use crate::shard::counters::count;
use crate::shard::{Shard, ShardSettings, routes, trim};
use crate::state::ShardState;
use ringmq_storage_engine::disk::sim::SimDisk;
use ringmq_storage_engine::runtime::Runtime;
use ringmq_storage_engine::runtime::sim::SimRuntime;
use ringmq_storage_engine::store::{Store, StoreOptions};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// How often connections are looked at.
const SUPERVISION: Duration = Duration::from_secs(1);

/// What a shard needs to open.
pub struct Seat {
    pub disk: SimDisk,
    pub settings: ShardSettings,
    pub options: StoreOptions,
    pub address: String,
    pub commands: flume::Receiver<ShardCommand>,
}

/// Opens the shard and starts to serve it.
pub async fn open(
    seat: Seat,
    runtime: SimRuntime,
    node: NodeHandle,
    net: Net,
) -> Result<SimShard, String> {
    let opening = Store::open(
        seat.disk,
        runtime.clone(),
        seat.options,
        ShardState::default(),
    );
    let store = opening.await.map_err(|error| error.to_string())?;
    let defect = store.with_state(|state| state.defect().map(ToString::to_string));
    assert_eq!(defect, None, "the log cannot be replayed");
    let index = seat.settings.index;
    let shard = Shard::new(seat.settings, store, runtime.clone(), node.clone());
    // What is there is served, as in production.
    let _ = automatic::ensure_system_topics(&shard).await;
    let topics: Vec<_> = shard.with_state(|state| {
        let topics = state.topics();
        topics.map(|(name, topic)| topic.to_wire(name)).collect()
    });
    for topic in topics {
        node.share_put(index, topic);
    }
    let door = Rc::new(Door {
        shard: shard.clone(),
        wires: RefCell::default(),
        next_number: Cell::new(1),
    });
    runtime.spawn(accept(Rc::clone(&door), net.listen(&seat.address)));
    runtime.spawn(supervise(Rc::clone(&door)));
    runtime.spawn(trim::run(shard.clone()));
    runtime.spawn(delay::run(shard.clone()));
    runtime.spawn(routes::run(shard.clone()));
    node.shares_loaded(index);
    let stopping = shard.clone();
    runtime.spawn(mailbox::run(
        stopping,
        async move |patience| door.close(patience).await,
        seat.commands,
    ));
    Ok(shard)
}

/// The connections of a shard.
struct Door {
    shard: SimShard,
    wires: RefCell<BTreeMap<u64, Rc<Wire>>>,
    next_number: Cell<u64>,
}

impl Door {
    fn open_wires(&self) -> Vec<Rc<Wire>> {
        self.wires.borrow().values().cloned().collect()
    }

    async fn close(&self, patience: Duration) {
        self.open_wires()
            .iter()
            .for_each(|wire| wire.stop_reading());
        let deadline = self.shard.now() + patience;
        while !self.wires.borrow().is_empty() && self.shard.now() < deadline {
            self.shard.runtime().sleep(Duration::from_millis(5)).await;
        }
        self.open_wires().iter().for_each(|wire| wire.kill());
    }
}

async fn accept(door: Rc<Door>, listener: Listener) {
    loop {
        let stream = listener.accept().await;
        let shard = door.shard.clone();
        if shard.is_stopping() {
            return;
        }
        let counters = shard.counters();
        let admitted = counters.connections.get() < shard.limits().connections_max;
        if admitted {
            counters.connections.set(counters.connections.get() + 1);
        } else {
            count(&counters.connections_refused, 1);
        }
        let number = door.next_number.get();
        door.next_number.set(number + 1);
        let wire = Wire::new(&shard, stream);
        door.wires.borrow_mut().insert(number, Rc::clone(&wire));
        let door = Rc::clone(&door);
        shard.runtime().clone().spawn(async move {
            serve(shard.clone(), wire, number, admitted).await;
            door.wires.borrow_mut().remove(&number);
            if admitted {
                let connections = &shard.counters().connections;
                connections.set(connections.get() - 1);
            }
        });
    }
}

async fn supervise(door: Rc<Door>) {
    while !door.shard.is_stopping() {
        door.shard.runtime().sleep(SUPERVISION).await;
        for wire in door.open_wires() {
            wire.supervise(&door.shard);
        }
    }
}
