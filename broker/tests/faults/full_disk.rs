//! A file system that fills up below a real broker.

use std::path::Path;
use std::time::{Duration, Instant};

use ringmq_wire::codes::ErrorCode;
use ringmq_wire::remoting::response_code;

use super::device::Kind;
use super::scene::{ENOUGH, Scene};
use crate::harness::until;

/// What is missing first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// The broker's own reserve is touched.
    Watermark,
    /// There is no room for the next segment.
    Segment,
}

impl Shortage {
    fn reason(self) -> &'static str {
        match self {
            Self::Watermark => "the disk is more than 90 % full",
            Self::Segment => "there is no space or no descriptor for another segment",
        }
    }
}

/// Longest until a disk that is full is found to be full, or to have room again: it is looked at every ten seconds.
const NOTICED_WITHIN: Duration = Duration::from_secs(60);

/// Appends are refused with an error that says "again", reads go on, and room is all it takes to go on.
pub fn refuses_and_goes_on(kind: Kind, shortage: Shortage) {
    let mut scene = Scene::new(kind);
    let filler = scene.device.mount_point().join("filler");
    let step = match shortage {
        Shortage::Watermark => {
            fill(&filler, 24 << 20);
            2
        }
        Shortage::Segment => {
            start_with_one_segment(&mut scene, &filler);
            200
        }
    };
    let mut enough = ENOUGH;
    let deadline = Instant::now() + NOTICED_WITHIN;
    let refused = loop {
        assert!(Instant::now() < deadline, "it is full some time");
        enough += step;
        match scene.produce(enough) {
            Ok(()) => std::thread::sleep(Duration::from_millis(20)),
            Err(code) => break code,
        }
    };
    assert_eq!(refused, ErrorCode::NoSpace);
    assert!(refused.is_retryable());
    scene.compare();
    until("the probes say it", || {
        let (_, text) = scene.broker().http("/readyz");
        text.contains(shortage.reason())
    });
    // What was refused above may have been larger than what is sent here.
    until("nothing more fits", || {
        scene.remoting_answer() == response_code::SERVICE_NOT_AVAILABLE
    });
    scene.answers_remoting(response_code::SERVICE_NOT_AVAILABLE);
    std::fs::remove_file(filler).expect("was there");
    until("it goes on by itself", || scene.produce(enough) == Ok(()));
    scene.answers_remoting(response_code::SUCCESS);
    scene.compare();
    scene.broker.take().expect("the same process").stop();
    scene.start();
    scene.compare();
}

/// Starts again where only the segment that is written to fits, and no watermark speaks before the kernel.
fn start_with_one_segment(scene: &mut Scene, filler: &Path) {
    scene.broker.take().expect("it runs").stop();
    let shard = scene.device.mount_point().join("data/shard-00");
    let prepared = shard.join("00000000000000000001.seg");
    std::fs::remove_file(prepared).expect("prepared and unused");
    fill(filler, 16 << 20);
    scene.start_with(&[
        "storage.disk_early_percent=97",
        "storage.disk_forced_percent=98",
        "storage.disk_refuse_percent=99",
    ]);
}

/// Takes all room but so much.
fn fill(filler: &Path, left: u64) {
    let file = std::fs::File::create(filler).expect("made");
    let stat = rustix::fs::fstatvfs(&file).expect("a file system");
    let bytes = stat.f_bavail * stat.f_frsize - left;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes).expect("room");
}
