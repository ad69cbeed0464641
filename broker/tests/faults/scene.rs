//! A broker with some messages, on a device that is about to be broken.

use std::net::SocketAddr;
use std::sync::Arc;

use ringmq_wire::codes::ErrorCode;
use ringmq_wire::remoting::response_code;

use super::device::{Device, Kind};
use super::disk::Behaviour;
use super::load::{Bodies, Consumer, Producer, TOPIC};
use crate::harness::{Broker, Random, program, until};
use crate::remoting::{Client, is_written, route, send};
use crate::wire::Wire;

pub const QUEUES: u32 = 2;
/// Messages of each queue before anything breaks.
pub const ENOUGH: usize = 60;
/// What producers of RocketMQ write to.
const FOREIGN_TOPIC: &str = "foreign";
const FOREIGN_BYTES: usize = 64 << 10;
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
        scene.answers_remoting(response_code::SUCCESS);
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

    /// What a producer of RocketMQ is answered, as a [`response_code`].
    pub fn remoting_answer(&self) -> i32 {
        let mut producer = Client::connect(self.address());
        let (answer, _) = producer.ask(send(FOREIGN_TOPIC, 0), &[b'x'; FOREIGN_BYTES]);
        answer.code
    }

    /// Producers of RocketMQ are answered this, and the routes say whether it is worth a try.
    pub fn answers_remoting(&self, code: i32) {
        assert_eq!(self.remoting_answer(), code);
        let name_server = self.broker().namesrv.parse().expect("an address");
        let mut names = Client::connect(name_server);
        until("the routes say so", || {
            let written = route(&mut names, FOREIGN_TOPIC).as_ref().map(is_written);
            written == Some(code == response_code::SUCCESS)
        });
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
