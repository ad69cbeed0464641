//! What a number of power cuts amounted to.

use std::fmt;

use super::disk::Cut;

/// With fewer cuts of a sort, nothing was shown about that sort.
pub const ENOUGH: usize = 20;

/// Counts over cuts, each of which was survived.
#[derive(Debug, Clone, Copy, Default)]
pub struct Report {
    pub cuts: usize,
    /// Cuts that left two or more frames of the log unflushed.
    pub several_frames: usize,
    /// Recoveries that found frames standing behind a missing one.
    pub holes: usize,
    pub writes_lost: usize,
    pub writes_torn: usize,
    /// Most messages that one life had acknowledged at a cut.
    pub acknowledged: usize,
}

impl Report {
    pub fn add(&mut self, cut: &Cut, frames_behind: u64) {
        self.cuts += 1;
        self.several_frames += usize::from(cut.frames >= 2);
        self.holes += usize::from(frames_behind > 0);
        self.writes_lost += cut.writes - cut.kept - cut.torn;
        self.writes_torn += cut.torn;
    }

    /// Whether the cuts were hard enough to show anything.
    pub fn verdict(&self) -> Result<(), String> {
        if self.several_frames >= ENOUGH && self.holes >= ENOUGH {
            return Ok(());
        }
        Err(format!(
            "inconclusive, not passed: {self}; of either sort at least {ENOUGH} are needed"
        ))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} power cuts survived, {} with two or more unflushed log frames, {} recoveries met a hole, \
             {} writes lost, {} torn, up to {} acknowledged messages in a life",
            self.cuts,
            self.several_frames,
            self.holes,
            self.writes_lost,
            self.writes_torn,
            self.acknowledged
        )
    }
}
