//! Torn tail or damage: what a miss behind the last valid frame means.
//!
//! Let P be the end of the last valid frame and D the highest durable frontier that anything claims: `shard.meta`, or
//! any frame of this log within reach of P. Acknowledgements are released in log order and never above the durable
//! frontier, so:
//!
//! | | meaning | what happens |
//! |---|---|---|
//! | D <= P | a torn tail: nothing above P was acknowledged | everything above P is void, valid or not |
//! | D > P | damage: acknowledged bytes are not what was written | reported; no append; what lies below P is served |
//!
//! A claim of epoch e counts only up to the lowest cut of a later epoch: what it says beyond was dropped for good.

use super::placement::Geometry;
use super::scan::{FrameScan, Miss};
use crate::disk::{BLOCK_BYTES, Disk, DiskError};
use crate::position::Position;
use crate::shard_meta::ShardMeta;

/// A durable frontier, and the epoch that claims it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    pub epoch: u64,
    pub durable: Position,
}

/// What was found above the last valid frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claims {
    /// Highest frontier that counts.
    pub durable: Position,
    /// Highest epoch seen.
    pub epoch: u64,
    /// Frames that stand, in their places, behind the one that is missing: writes that were in flight reach the medium
    /// in any order. All of them are dropped.
    pub frames_behind: u64,
}

/// What a miss means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on behind the last valid frame.
    TornTail,
    /// Acknowledged bytes are gone.
    Damage { durable: Position },
}

impl Claims {
    /// What `shard.meta` itself claims.
    pub fn of_meta(meta: &ShardMeta) -> Self {
        Self {
            durable: meta.durable,
            epoch: meta.epoch,
            frames_behind: 0,
        }
    }

    /// Takes a frame's claim in.
    pub fn add(&mut self, claim: Claim, meta: &ShardMeta) {
        let counts = claim.durable.min(meta.valid_below(claim.epoch));
        self.durable = self.durable.max(counts);
        self.epoch = self.epoch.max(claim.epoch);
    }
}

/// The table above.
pub fn decide(valid_end: Position, claims: &Claims) -> Verdict {
    if claims.durable > valid_end {
        let durable = claims.durable;
        Verdict::Damage { durable }
    } else {
        Verdict::TornTail
    }
}

/// How far behind the last valid frame a frame may lie that was in flight with a torn one.
pub fn reach_bytes(in_flight_bytes_max: usize, frame_bytes_max: usize) -> u64 {
    2 * in_flight_bytes_max as u64 + frame_bytes_max as u64
}

/// Collects the claims of all headers of this log within `reach_bytes` behind `valid_end`. Fails if a segment there
/// cannot be opened: its claims may be what tells damage from a torn tail.
pub async fn collect_claims<D: Disk>(
    scan: &mut FrameScan<D>,
    geometry: &Geometry,
    valid_end: Position,
    reach_bytes: u64,
    meta: &ShardMeta,
) -> Result<Claims, DiskError> {
    let mut claims = Claims::of_meta(meta);
    let mut at = valid_end;
    // A frame rolled into the next segment lies behind a gap that is not in flight.
    let gap_bytes = geometry.next_base(valid_end).0 - valid_end.0;
    let end = Position(
        valid_end
            .0
            .saturating_add(reach_bytes)
            .saturating_add(gap_bytes),
    );
    while at < end {
        match scan.header_at(at).await {
            Ok((header, _)) if header.log_id == meta.log_id => {
                mark!("recovery: a frame stands behind the end");
                let (epoch, durable) = (header.epoch, header.durable);
                claims.add(Claim { epoch, durable }, meta);
                let stands = header.position == at && at < meta.valid_below(epoch);
                claims.frames_behind += u64::from(stands && at > valid_end);
                at.0 += BLOCK_BYTES as u64;
            }
            Err(Miss::NoSegment(_)) => match scan.next_segment(at) {
                Some(base) => at = base,
                None => break,
            },
            Err(Miss::NotOpened(error)) => {
                mark!("recovery: a segment that may hold claims is not opened");
                return Err(error);
            }
            _ => at.0 += BLOCK_BYTES as u64,
        }
    }
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(block: u64) -> Position {
        Position(block * 4096)
    }

    /// Every combination of: what meta claims, what a frame above claims, in which epoch, and where a cut lies.
    #[test]
    fn the_table_over_all_combinations() {
        let valid_end = at(4);
        let mut damaged = 0;
        for meta_durable in [2, 4, 6] {
            for frame in [
                None,
                Some((1, 3)),
                Some((1, 4)),
                Some((1, 6)),
                Some((2, 6)),
                Some((3, 6)),
            ] {
                for cut in [None, Some((2, 3)), Some((2, 4)), Some((2, 5)), Some((3, 4))] {
                    let mut meta = ShardMeta::new(1);
                    meta.cut(1, at(0));
                    if let Some((epoch, position)) = cut {
                        meta.cut(epoch, at(position));
                    }
                    meta.durable = at(meta_durable);
                    let mut claims = Claims::of_meta(&meta);
                    if let Some((epoch, durable)) = frame {
                        let durable = at(durable);
                        claims.add(Claim { epoch, durable }, &meta);
                    }
                    // Said again, in other words than the code's.
                    let void = |epoch| cut.is_some_and(|(later, p)| later > epoch && p <= 4);
                    let frame_proves =
                        frame.is_some_and(|(epoch, durable)| durable > 4 && !void(epoch));
                    let expected = meta_durable > 4 || frame_proves;
                    let found = decide(valid_end, &claims) != Verdict::TornTail;
                    assert_eq!(found, expected, "{meta_durable} {frame:?} {cut:?}");
                    damaged += usize::from(found);
                    let epochs = [meta.epoch, frame.map_or(0, |(epoch, _)| epoch)];
                    assert_eq!(Some(&claims.epoch), epochs.iter().max());
                }
            }
        }
        assert!(damaged > 30, "both verdicts occur");
    }
}
