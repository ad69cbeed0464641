//! Errors and hangs below the file system, met by a real broker.

use ringmq_wire::codes::ErrorCode;
use ringmq_wire::native::schema::*;
use ringmq_wire::remoting::response_code;

use super::device::Kind;
use super::disk::{Behaviour, VolatileDisk};
use super::load::Consumer;
use super::scene::{ENOUGH, QUEUES, Scene};
use crate::ask;
use crate::harness::until;
use crate::wire::Wire;

/// EIO, or EROFS when the file system met the error first; which one is a matter of moments.
const OS_ERROR: &str = "(os error ";

/// A write or a flush fails: the log stops, for good and with its reason; what is stored is read; a restart goes on.
pub fn stops_the_log(kind: Kind, broken: Behaviour) {
    let mut scene = Scene::new(kind);
    scene.behave(broken);
    assert_eq!(
        scene.produce(2 * ENOUGH),
        Err(ErrorCode::LogFailed),
        "the waiter is told"
    );
    // The disk is good again; what was lost is not, so nothing is tried again.
    scene.behave(Behaviour::default());
    assert_eq!(scene.produce(2 * ENOUGH), Err(ErrorCode::LogFailed));
    scene.answers_remoting(response_code::SERVICE_NOT_AVAILABLE);
    scene.compare();
    until("the probes say it", || {
        let (_, text) = scene.broker().http("/readyz");
        text.contains("degraded: the log stopped") && text.contains(OS_ERROR)
    });
    let log = scene.broker().log();
    let mut lines = log.lines();
    assert!(
        lines.any(|line| line.contains("the log stops") && line.contains(OS_ERROR)),
        "{log}"
    );
    scene.recover();
    scene.compare();
    assert_eq!(scene.produce(2 * ENOUGH), Ok(()));
    scene.answers_remoting(response_code::SUCCESS);
    scene.compare();
}

/// Sectors that cannot be read: a typed error where they are asked for; appends go on, and so do reads afterwards.
pub fn reports_what_it_cannot_read(kind: Kind) {
    let mut scene = Scene::new(kind);
    scene.broker.take().expect("it runs").stop();
    // Nothing of the log is in memory now.
    scene.start();
    scene.behave(Behaviour {
        reads_fail: true,
        ..Behaviour::default()
    });
    let mut consumer = Consumer::try_new(scene.address(), &scene.bodies, QUEUES).expect("connects");
    let refused = consumer.fetch_errors(0).expect("answered");
    assert!(
        !refused.is_empty() && refused.iter().all(|code| *code == Some(ErrorCode::Corrupt)),
        "{refused:?}"
    );
    assert_eq!(scene.produce(2 * ENOUGH), Ok(()), "the log can be written");
    scene.behave(Behaviour::default());
    scene.compare();
}

/// A disk that goes on when this is dropped.
struct Hung<'a>(&'a VolatileDisk);

impl Drop for Hung<'_> {
    fn drop(&mut self) {
        self.0.behave(Behaviour::default());
    }
}

/// A disk that stands still: nothing is acknowledged, nothing lost, and the rest of the broker lives.
pub fn outlives_a_hang(kind: Kind) {
    let mut scene = Scene::new(kind);
    let address = scene.address();
    scene.behave(Behaviour {
        hangs: true,
        ..Behaviour::default()
    });
    let before = scene.producers[0].acknowledged;
    std::thread::scope(|scope| {
        // The scope waits for the producer, and the producer for the disk: whatever fails in here must let both go.
        let hung = Hung(&scene.device.disk);
        let producer = &mut scene.producers[0];
        let sending = scope.spawn(move || producer.run(address, before + 40));
        // Newest messages are in memory: they are served while the disk stands still.
        let mut consumer = Consumer::try_new(address, &scene.bodies, QUEUES).expect("connects");
        consumer.read_all().expect("read from memory");
        assert_eq!(consumer.read[0], before, "nothing undurable is shown");
        let broker = scene.broker.as_ref().expect("it runs");
        assert_eq!(broker.http("/healthz").0, 200);
        let mut wire = Wire::connect(address);
        until("the status says what it waits for", || {
            let request = ShardStatusRequestT::default();
            let status = ask!(wire, ShardStatus, ShardStatusResponse, &request);
            let health = status.expect("answered").health.unwrap_or_default();
            health.contains("the log waits for the disk")
        });
        assert!(!sending.is_finished(), "nothing is acknowledged");
        assert!(!consumer.fetch(0).expect("served"), "nothing is visible");
        drop(hung);
        let sent = sending.join().expect("every answer was right");
        assert_eq!(sent.expect("the connection stayed"), Ok(()));
    });
    scene.compare();
}

/// A slow disk: more waits for it, and all of it arrives.
pub fn is_as_slow_as_its_disk(kind: Kind) {
    let mut scene = Scene::new(kind);
    scene.behave(Behaviour {
        write_us_max: 60_000,
        flush_us_max: 60_000,
        ..Behaviour::default()
    });
    assert_eq!(scene.produce(2 * ENOUGH), Ok(()));
    scene.compare();
    let (_, metrics) = scene.broker().http("/metrics");
    assert!(
        metrics.contains("ringmq_append_refused_busy_total{shard=\"s00-dev\"} 0"),
        "five batches in flight fill no buffer"
    );
}
