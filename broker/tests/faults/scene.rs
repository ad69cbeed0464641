//! A broker with some messages, on a device that is about to be broken.

use std::net::SocketAddr;
use std::sync::Arc;

use ringmq_wire::codes::ErrorCode;

use super::device::{Device, Kind};
use super::disk::Behaviour;
use super::load::{Bodies, Consumer, Producer, TOPIC};
use crate::harness::{Broker, Random, program};
use crate::wire::Wire;

pub const QUEUES: u32 = 2;
/// Messages of each queue before anything breaks.
pub const ENOUGH: usize = 60;
const DEVICE_BYTES: usize = 512 << 20;

pub struct Scene {
    // Dropped in this order.
    pub broker: Option<Broker>,
    pub device: Device,
    pub bodies: Arc<Bodies>,
    pub producers: Vec<Producer>,
}

impl Scene {
    /// A broker with some messages on a good disk.
    pub fn new(kind: Kind) -> Self {
        let bodies = Arc::new(Bodies::new(Random::new().below(u64::MAX)));
        let producers = (0..QUEUES).map(|q| Producer::new(&bodies, q)).collect();
        let mut scene = Self {
            broker: None,
            device: Device::new(kind, DEVICE_BYTES),
            bodies,
            producers,
        };
        scene.start();
        let made = Wire::connect(scene.address()).create(TOPIC, QUEUES, false);
        made.expect("made");
        assert_eq!(scene.produce(ENOUGH), Ok(()));
        scene
    }

    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// With settings of its own.
    pub fn start_with(&mut self, settings: &[&str]) {
        let directory = self.device.mount_point().join("data");
        let log = self.device.outside().join("broker.log");
        let mut arguments = vec!["dev", "--namesrv-port", "0"];
        for setting in settings {
            arguments.extend(["--set", setting]);
        }
        let broker = Broker::launch(&mut program(), &directory, &log, &arguments);
        self.broker = Some(broker);
    }

    pub fn broker(&self) -> &Broker {
        self.broker.as_ref().expect("it runs")
    }

    pub fn address(&self) -> SocketAddr {
        self.broker().shards[0]
    }

    /// Until every queue has that many acknowledged messages, or the first refusal.
    pub fn produce(&mut self, enough: usize) -> Result<(), ErrorCode> {
        let address = self.address();
        for producer in &mut self.producers {
            let ran = producer.run(address, enough);
            ran.expect("the connection stays")?;
        }
        Ok(())
    }

    /// Reads everything and compares it with what was acknowledged.
    pub fn compare(&self) {
        let mut consumer =
            Consumer::try_new(self.address(), &self.bodies, QUEUES).expect("connects");
        consumer.read_all().expect("everything can be read");
        for (producer, read) in self.producers.iter().zip(&consumer.read) {
            assert!((producer.acknowledged..=producer.sent).contains(read));
        }
    }

    pub fn behave(&self, behaviour: Behaviour) {
        self.device.disk.behave(behaviour);
    }

    /// The broker's end, a good disk, and a new start.
    pub fn recover(&mut self) {
        self.broker.take().expect("it runs").kill();
        self.behave(Behaviour::default());
        // The file system may have given up, too.
        self.device.unmount();
        self.device.mount();
        self.start();
    }
}
