//! Which core serves and which sends.

use glommio::Placement;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The first core that this process may use serves, the second sends; with one core nothing is pinned.
fn pair() -> Option<(usize, usize)> {
    let set = sched_getaffinity(None).ok()?;
    let mut allowed = (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core));
    Some((allowed.next()?, allowed.next()?))
}

/// Where the serving executor runs.
pub(super) fn serving() -> Placement {
    pair().map_or(Placement::Unbound, |(first, _)| Placement::Fixed(first))
}

/// Moves the calling thread to the sending core.
pub(super) fn pin_sender() {
    pin(pair().map(|(_, second)| second));
}

/// Moves the calling thread to the serving core.
pub(super) fn pin_server() {
    pin(pair().map(|(first, _)| first));
}

fn pin(core: Option<usize>) {
    if let Some(core) = core {
        let mut set = CpuSet::new();
        set.set(core);
        // Refused: the thread runs where it may, which is slower at worst.
        let _ = sched_setaffinity(None, &set);
    }
}
