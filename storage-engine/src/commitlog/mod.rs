//! The CommitLog of one shard: a chain of frames in segments of fixed size.
//!
//! ```text
//! segment 0                      segment 1
//! ┌───────┬─────┬───────┬─────┐  ┌──────┬────────┬─────────
//! │frame 0│  1  │   2   │ free│  │   3  │   4    │ prepared
//! └───────┴─────┴───────┴─────┘  └──────┴────────┴─────────
//!  position = segment number x segment size + byte in the segment
//! ```
//! - [`frame`]: header and checksums of a frame; what makes a frame follow another.
//! - [`record`]: records inside a frame.
//! - [`open_frame`]: the frame that takes records; the one copy of a batch.
//! - [`placement`]: where the next frame goes.
//! - [`group_commit`]: when a frame goes out, and what a finished write releases.
//! - [`segments`]: the files: prepared ahead, retired, recycled.
//! - [`scan`]: reading frames one after the other.
//! - [`recovery`]: torn tail or damage.

pub mod frame;
pub mod group_commit;
pub mod open_frame;
pub mod placement;
pub mod record;
pub mod recovery;
pub mod scan;
pub mod segments;
pub mod tail;
mod unreleased;
