use super::TailCache;
use crate::disk::sim::SimDisk;
use crate::disk::{Disk, DiskBuffer};
use crate::fixture::on_disk;
use crate::position::Position;
use std::rc::Rc;

type Frame = Rc<<SimDisk as Disk>::Buf>;

fn frame(disk: &SimDisk, blocks: usize, fill: u8) -> Frame {
    let mut buffer = disk.alloc(blocks * 4096);
    buffer.fill(fill);
    Rc::new(buffer)
}

/// A frame whose buffer was made for more.
fn half_filled(disk: &SimDisk, blocks: usize, fill: u8) -> Frame {
    let mut buffer = disk.alloc(2 * blocks * 4096);
    buffer.fill(fill);
    buffer.truncate(blocks * 4096);
    Rc::new(buffer)
}

#[test]
fn the_newest_frames_are_found_and_the_oldest_go() {
    on_disk(1, |disk, _| async move {
        let mut cache = TailCache::<SimDisk>::new(4 * 4096);
        let mut at = Position(1 << 20);
        let mut starts = Vec::new();
        for fill in 0..6u8 {
            let blocks = 1 + usize::from(fill) % 2;
            cache.push(at, frame(&disk, blocks, fill));
            assert!(cache.bytes() <= 4 * 4096);
            starts.push(at);
            at.0 += blocks as u64 * 4096;
            if fill == 2 {
                // A segment is left early.
                at.0 += 3 * 4096;
            }
        }
        assert_eq!(cache.start(), Some(starts[4]), "four had to go");
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
        for gone in &starts[..4] {
            assert!(cache.find(*gone, 1).is_none(), "evicted");
        }
    });
}

#[test]
fn a_slice_outlives_its_frame_and_a_cut_takes_frames_back() {
    on_disk(1, |disk, _| async move {
        for blocks in [1, 16] {
            let bytes = blocks as u64 * 4096;
            let mut cache = TailCache::<SimDisk>::new(bytes as usize);
            cache.push(Position(0), frame(&disk, blocks, 7));
            let held = cache.find(Position(10), 20).expect("it was just put");
            cache.push(Position(bytes), frame(&disk, blocks, 8));
            assert_eq!(cache.start(), Some(Position(bytes)), "one had to go");
            assert_eq!(&held[..], [7; 20]);
            // One frame that is larger than the cache stays alone.
            let next = Position(2 * bytes);
            cache.push(next, frame(&disk, 3 * blocks, 9));
            let held = (cache.start(), cache.bytes());
            assert_eq!(held, (Some(next), 3 * bytes as usize));
            cache.truncate(Position(next.0 + 3 * bytes));
            assert!(cache.start().is_some());
            cache.truncate(Position(next.0 + bytes));
            assert_eq!((cache.start(), cache.bytes()), (None, 0));
            cache.push(next, frame(&disk, 1, 1));
        }
    });
}

#[test]
fn what_buffers_take_is_counted_and_small_frames_give_theirs_back() {
    on_disk(1, |disk, _| async move {
        let mut cache = TailCache::<SimDisk>::new(1 << 20);
        let small = half_filled(&disk, 2, 1);
        cache.push(Position(0), Rc::clone(&small));
        assert_eq!(cache.bytes(), 2 * 4096);
        let buffer = Rc::into_inner(small).expect("the cache keeps a copy");
        assert_eq!(buffer.allocated_bytes(), 4 * 4096);

        let large = half_filled(&disk, 16, 2);
        cache.push(Position(2 * 4096), large);
        assert_eq!(cache.bytes(), (2 + 32) * 4096);
        for number in 0..100 {
            cache.push(
                Position((18 + 16 * number) * 4096),
                half_filled(&disk, 16, 3),
            );
            assert!(cache.bytes() <= 1 << 20);
        }
        // 1 MiB holds 8 buffers of 128 KiB, though only half of each is used.
        let newest = (18 + 16 * 99) * 4096;
        assert_eq!(cache.start(), Some(Position(newest - 7 * 16 * 4096)));
    });
}
