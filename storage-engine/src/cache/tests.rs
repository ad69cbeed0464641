use super::TailCache;
use crate::disk::Disk;
use crate::disk::sim::SimDisk;
use crate::fixture::on_disk;
use crate::position::Position;
use std::rc::Rc;

type Frame = Rc<<SimDisk as Disk>::Buf>;

fn frame(disk: &SimDisk, blocks: usize, fill: u8) -> Frame {
    let mut buffer = disk.alloc(blocks * 4096);
    buffer.fill(fill);
    Rc::new(buffer)
}

#[test]
fn the_newest_frames_are_found_and_the_oldest_go() {
    on_disk(1, |disk, _| async move {
        let mut cache = TailCache::<SimDisk>::new(4 * 4096);
        let mut evicted = Vec::new();
        let mut at = Position(1 << 20);
        for fill in 0..6u8 {
            let blocks = 1 + usize::from(fill) % 2;
            cache.push(at, frame(&disk, blocks, fill), |frame| {
                evicted.push(frame[0])
            });
            assert!(cache.bytes() <= 4 * 4096);
            at.0 += blocks as u64 * 4096;
            if fill == 2 {
                // A segment is left early.
                at.0 += 3 * 4096;
            }
        }
        assert_eq!(evicted, [0, 1, 2, 3]);
        assert_eq!(cache.bytes(), 3 * 4096);
        let last = Position(at.0 - 2 * 4096);
        let found = cache
            .find(Position(last.0 + 5), 100)
            .expect("it is the newest");
        assert_eq!(&found[..], [5; 100]);
        assert_eq!(found.pinned_bytes(), 2 * 4096);
        assert_eq!(&found.slice(10..12)[..], [5, 5]);
        assert!(cache.find(last, 2 * 4096).is_some());
        assert!(cache.find(last, 2 * 4096 + 1).is_none(), "beyond its frame");
        assert!(cache.find(at, 1).is_none());
        assert!(cache.find(Position(0), 1).is_none());
        assert!(
            cache.find(Position((1 << 20) + 4096), 1).is_none(),
            "evicted"
        );
    });
}

#[test]
fn a_slice_outlives_its_frame_and_a_cut_takes_frames_back() {
    on_disk(1, |disk, _| async move {
        let mut cache = TailCache::<SimDisk>::new(4096);
        cache.push(Position(0), frame(&disk, 1, 7), |_| ());
        let held = cache.find(Position(10), 20).expect("it was just put");
        let mut evicted = None;
        cache.push(Position(4096), frame(&disk, 1, 8), |frame| {
            evicted = Some(frame)
        });
        assert!(
            Rc::into_inner(evicted.expect("one had to go")).is_none(),
            "a slice holds it"
        );
        assert_eq!(&held[..], [7; 20]);
        // One frame that is larger than the cache stays alone.
        cache.push(Position(8192), frame(&disk, 3, 9), |_| ());
        assert_eq!(
            (cache.start(), cache.bytes()),
            (Some(Position(8192)), 3 * 4096)
        );
        cache.truncate(Position(8192 + 3 * 4096));
        assert!(cache.start().is_some());
        cache.truncate(Position(8192 + 4096));
        assert_eq!((cache.start(), cache.bytes()), (None, 0));
        cache.push(Position(8192), frame(&disk, 1, 1), |_| ());
    });
}
