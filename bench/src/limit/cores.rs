//! Which core serves and which sends.

use glommio::Placement;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Every core that this process may use.
pub(super) fn all() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap_or_default();
    (0..CpuSet::MAX_CPU)
        .filter(|core| set.is_set(*core))
        .collect()
}

/// The first core serves, the second sends; with one core nothing is pinned.
fn pair() -> Option<(usize, usize)> {
    let mut allowed = all().into_iter();
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

/// Moves the calling thread to `core`.
pub(super) fn pin(core: Option<usize>) {
    if let Some(core) = core {
        let mut set = CpuSet::new();
        set.set(core);
        // Refused: the thread runs where it may, which is slower at worst.
        let _ = sched_setaffinity(None, &set);
    }
}
