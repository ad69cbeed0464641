//! A disk with a volatile cache, in memory: what a real one may do when it loses its power, and what a broken one does.
//!
//! ```text
//!  write ─▶ pending, under way ─▶ pending, completed ─▶ image
//!           │ answered            │ a flush that began  │ survives
//!           ▼                     ▼ later has ended     ▼
//!        may be lost, kept or torn by sectors        never lost
//! ```
//! - A write is lost, kept or torn by a power cut until a flush has ended that began after the write was answered.
//!   Writes that a flush does not cover stay as volatile as they were.
//! - Requests are served in parallel, each with a delay of its own, so they end in another order than they came.
//! - FUA is not offered: neither FUSE nor the loop driver can carry it, so the kernel writes and flushes instead.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use ringmq_storage_engine::commitlog::frame::FrameHeader;
use ringmq_storage_engine::disk::BLOCK_BYTES;

use crate::harness::Random;

/// What a device writes whole or not at all.
pub const SECTOR_BYTES: usize = 512;

/// What becomes of writes that no flush covers when the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// None of them reached the medium.
    All,
    /// Some did, some did not, and of some only random sectors.
    Torn,
}

/// When the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Now.
    Any,
    /// When two or more frames of a log are unflushed.
    SeveralFrames,
    /// When a frame is permanent and one before it is not.
    Hole,
}

/// What a power cut met.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cut {
    /// Writes that no flush covered.
    pub writes: usize,
    /// Frames of a log that began in them.
    pub frames: usize,
    pub kept: usize,
    pub torn: usize,
}

/// What the disk does wrong, and how fast it is. The default is a good and fast one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Behaviour {
    pub writes_fail: bool,
    pub reads_fail: bool,
    pub flushes_fail: bool,
    /// Every request waits until this ends.
    pub hangs: bool,
    /// A write takes a random time below this; so does a flush.
    pub write_us_max: u64,
    pub flush_us_max: u64,
    /// One write in this many takes ten times as long; 0: none.
    pub one_straggler_in: u64,
}

/// Why a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

struct Write {
    number: u64,
    offset: usize,
    bytes: Vec<u8>,
    completed: bool,
    /// Positions of the frames of a log that begin in it.
    frames: Vec<u64>,
    /// Sectors that no newer write, flushed meanwhile, has replaced.
    live: Vec<bool>,
}

struct State {
    image: Vec<u8>,
    /// In the order of arrival.
    pending: Vec<Write>,
    next: u64,
    /// Position of the last frame of a log that a flush covered.
    last_permanent: u64,
    powered: bool,
    behaviour: Behaviour,
    random: Random,
}

/// The disk; shared by the threads that serve it and the test that breaks it.
pub struct VolatileDisk {
    state: Mutex<State>,
    changed: Condvar,
}

impl VolatileDisk {
    /// All zeros; memory is taken only for what is written.
    pub fn new(bytes: usize) -> Self {
        assert!(bytes.is_multiple_of(BLOCK_BYTES));
        Self {
            state: Mutex::new(State {
                image: vec![0; bytes],
                pending: Vec::new(),
                next: 0,
                last_permanent: 0,
                powered: true,
                behaviour: Behaviour::default(),
                random: Random::new(),
            }),
            changed: Condvar::new(),
        }
    }

    pub fn bytes(&self) -> usize {
        self.state().image.len()
    }

    /// Behaves like this from now on; what hung goes on.
    pub fn behave(&self, behaviour: Behaviour) {
        self.state().behaviour = behaviour;
        self.changed.notify_all();
    }

    /// Reads; pending writes are seen, as in any cache.
    pub fn read(&self, offset: usize, len: usize) -> Result<Vec<u8>, Refused> {
        let state = self.wait(self.state(), Duration::ZERO)?;
        if state.behaviour.reads_fail {
            return Err(Refused);
        }
        let end = (offset + len).min(state.image.len());
        let mut found = state.image[offset.min(end)..end].to_vec();
        for write in &state.pending {
            write.for_live_sectors(|at, sector| {
                let (from, to) = (at.max(offset), (at + sector.len()).min(end));
                if from < to {
                    found[from - offset..to - offset].copy_from_slice(&sector[from - at..to - at]);
                }
            });
        }
        Ok(found)
    }

    /// Takes a write; it is volatile when this returns.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), Refused> {
        let mut state = self.wait(self.state(), Duration::ZERO)?;
        assert!(offset.is_multiple_of(SECTOR_BYTES) && bytes.len().is_multiple_of(SECTOR_BYTES));
        if state.behaviour.writes_fail || offset + bytes.len() > state.image.len() {
            return Err(Refused);
        }
        let number = state.next;
        state.next += 1;
        state.pending.push(Write {
            number,
            offset,
            bytes: bytes.to_vec(),
            completed: false,
            frames: frames(bytes),
            live: vec![true; bytes.len() / SECTOR_BYTES],
        });
        let Behaviour {
            write_us_max,
            one_straggler_in,
            ..
        } = state.behaviour;
        let straggles = one_straggler_in > 0 && state.random.below(one_straggler_in) == 0;
        let most = write_us_max * if straggles { 10 } else { 1 };
        let delay = state.delay(most);
        let mut state = self.wait(state, delay)?;
        let write = state.pending.iter_mut().find(|w| w.number == number);
        write.expect("only completed writes are flushed").completed = true;
        self.changed.notify_all();
        Ok(())
    }

    /// Makes the writes permanent that were answered before this was called, and no others.
    pub fn flush(&self) -> Result<(), Refused> {
        let mut state = self.wait(self.state(), Duration::ZERO)?;
        if state.behaviour.flushes_fail {
            return Err(Refused);
        }
        let completed = state.pending.iter().filter(|write| write.completed);
        let covered: Vec<u64> = completed.map(|write| write.number).collect();
        let most = state.behaviour.flush_us_max;
        let delay = state.delay(most);
        let mut state = self.wait(state, delay)?;
        state.make_permanent(&covered);
        self.changed.notify_all();
        Ok(())
    }

    /// Cuts the power: nothing is answered any more, and what no flush covered meets its fate.
    pub fn cut(&self, loss: Loss, random: &mut Random) -> Cut {
        self.cut_at(Moment::Any, Duration::ZERO, loss, random)
    }

    /// The same at a moment of some sort, if that comes `within` a time, and at its end otherwise.
    pub fn cut_at(&self, moment: Moment, within: Duration, loss: Loss, random: &mut Random) -> Cut {
        let waited = self
            .changed
            .wait_timeout_while(self.state(), within, |state| !state.is_at(moment));
        let mut state = waited.expect("no request panics").0;
        state.powered = false;
        let pending = std::mem::take(&mut state.pending);
        let mut cut = Cut {
            writes: pending.len(),
            frames: pending.iter().map(|write| write.frames.len()).sum(),
            ..Cut::default()
        };
        for write in pending.iter().filter(|_| loss == Loss::Torn) {
            match random.below(10) {
                0..4 => {
                    cut.kept += 1;
                    write.for_live_sectors(|at, sector| state.put(at, sector));
                }
                4..7 => {
                    cut.torn += 1;
                    write.for_live_sectors(|at, sector| {
                        if random.below(2) == 0 {
                            state.put(at, sector);
                        }
                    });
                }
                _ => {}
            }
        }
        drop(state);
        self.changed.notify_all();
        cut
    }

    /// The power is back; the cache is empty.
    pub fn power_on(&self) {
        let mut state = self.state();
        state.powered = true;
        state.last_permanent = 0;
        state.behaviour = Behaviour::default();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no request panics")
    }

    /// Lets `delay` pass, and whatever hangs; fails when the power goes.
    fn wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        delay: Duration,
    ) -> Result<MutexGuard<'a, State>, Refused> {
        let until = Instant::now() + delay;
        loop {
            if !state.powered {
                return Err(Refused);
            }
            let left = until.saturating_duration_since(Instant::now());
            state = match (state.behaviour.hangs, left.is_zero()) {
                (false, true) => return Ok(state),
                (true, _) => self.changed.wait(state).expect("no request panics"),
                (false, false) => {
                    let waited = self.changed.wait_timeout(state, left);
                    waited.expect("no request panics").0
                }
            };
        }
    }
}

impl State {
    fn is_at(&self, moment: Moment) -> bool {
        let mut unflushed = self.pending.iter().flat_map(|write| &write.frames);
        match moment {
            Moment::Any => true,
            Moment::SeveralFrames => unflushed.nth(1).is_some(),
            Moment::Hole => unflushed.any(|position| *position < self.last_permanent),
        }
    }

    fn delay(&mut self, us_max: u64) -> Duration {
        Duration::from_micros(match us_max {
            0 => 0,
            most => self.random.below(most),
        })
    }

    fn put(&mut self, at: usize, sector: &[u8]) {
        self.image[at..at + sector.len()].copy_from_slice(sector);
    }

    fn make_permanent(&mut self, covered: &[u64]) {
        let (done, left) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|write| covered.contains(&write.number));
        self.pending = left;
        let done: Vec<Write> = done;
        for write in &done {
            let last = write.frames.iter().max().copied();
            self.last_permanent = self.last_permanent.max(last.unwrap_or(0));
            write.for_live_sectors(|at, sector| {
                self.put(at, sector);
                for older in self.pending.iter_mut().filter(|w| w.number < write.number) {
                    older.kill(at);
                }
            });
        }
    }
}

impl Write {
    fn for_live_sectors(&self, mut take: impl FnMut(usize, &[u8])) {
        for (index, sector) in self.bytes.chunks(SECTOR_BYTES).enumerate() {
            if self.live[index] {
                take(self.offset + index * SECTOR_BYTES, sector);
            }
        }
    }

    fn kill(&mut self, at: usize) {
        let index = at.checked_sub(self.offset).map(|from| from / SECTOR_BYTES);
        if let Some(live) = index.and_then(|index| self.live.get_mut(index)) {
            *live = false;
        }
    }
}

/// Positions of the frames of a log that begin in these bytes.
fn frames(bytes: &[u8]) -> Vec<u64> {
    let headers = bytes.chunks(BLOCK_BYTES).map(FrameHeader::parse);
    headers
        .flatten()
        .map(|(header, _)| header.position.0)
        .collect()
}

/// Longer than any test.
const HOUR_US: u64 = 3_600_000_000;

/// What the model above promises; run like every other test of this file's users.
pub fn keeps_its_own_rules() {
    let sector = |byte: u8| vec![byte; SECTOR_BYTES];
    let after = |disk: &VolatileDisk, loss| {
        disk.cut(loss, &mut Random::new());
        disk.power_on();
        disk.read(0, 3 * SECTOR_BYTES).expect("reads")
    };
    let disk = VolatileDisk::new(BLOCK_BYTES);
    disk.write(0, &sector(1)).expect("written");
    assert_eq!(disk.read(0, 1), Ok(vec![1]), "the cache is read");
    assert_eq!(after(&disk, Loss::All)[0], 0, "nothing was flushed");

    disk.write(0, &sector(2)).expect("written");
    disk.flush().expect("flushed");
    disk.write(SECTOR_BYTES, &sector(3)).expect("written");
    let found = after(&disk, Loss::All);
    assert_eq!((found[0], found[SECTOR_BYTES]), (2, 0));
    a_flush_covers_only_what_was_answered_before_it();
    sectors_of_a_torn_write_are_whole();
}

fn a_flush_covers_only_what_was_answered_before_it() {
    let disk = VolatileDisk::new(BLOCK_BYTES);
    let write = |offset: usize, byte| disk.write(offset, &[byte; SECTOR_BYTES]);
    let hang = |hangs| {
        disk.behave(Behaviour {
            hangs,
            ..Behaviour::default()
        });
    };
    write(0, 1).expect("written");
    std::thread::scope(|scope| {
        let slow = Behaviour {
            flush_us_max: HOUR_US,
            ..Behaviour::default()
        };
        disk.behave(slow);
        let flushing = scope.spawn(|| disk.flush());
        // It waits for a time without end; what comes now is not covered.
        std::thread::sleep(Duration::from_millis(50));
        write(SECTOR_BYTES, 2).expect("served beside the flush");
        let cut = disk.cut(Loss::All, &mut Random::new());
        assert_eq!(cut.writes, 2, "a flush that has not ended covers nothing");
        assert_eq!(flushing.join().expect("ran"), Err(Refused));
    });
    disk.power_on();
    // Two writes to one place: the older is still under way when a flush covers the newer.
    std::thread::scope(|scope| {
        let endless = Behaviour {
            write_us_max: HOUR_US,
            ..Behaviour::default()
        };
        disk.behave(endless);
        let older = scope.spawn(|| write(0, 3));
        while disk.state().pending.is_empty() {
            std::thread::yield_now();
        }
        hang(false);
        write(0, 4).expect("written");
        disk.flush().expect("flushed");
        let cut = disk.cut(Loss::Torn, &mut Random::new());
        assert_eq!(cut.writes, 1, "the older was not answered");
        assert_eq!(older.join().expect("ran"), Err(Refused));
    });
    disk.power_on();
    assert_eq!(disk.read(0, 1), Ok(vec![4]), "and cannot come back");
}

fn sectors_of_a_torn_write_are_whole() {
    let mut random = Random::new();
    let mut mixed = 0;
    for _ in 0..64 {
        let disk = VolatileDisk::new(BLOCK_BYTES);
        disk.write(0, &[7; BLOCK_BYTES]).expect("written");
        disk.cut(Loss::Torn, &mut random);
        disk.power_on();
        let found = disk.read(0, BLOCK_BYTES).expect("reads");
        let mut kept = 0;
        for sector in found.chunks(SECTOR_BYTES) {
            assert!(sector.iter().all(|byte| *byte == sector[0]));
            kept += usize::from(sector[0] == 7);
        }
        mixed += usize::from((1..BLOCK_BYTES / SECTOR_BYTES).contains(&kept));
    }
    assert!(mixed > 5, "some were torn");
}
