//! Which cores this process may use, and how much memory its rings may lock.

use rustix::process::{Resource, getrlimit};
use std::thread::available_parallelism;

/// Most shards of a node that sizes itself.
const SHARDS_MAX: usize = 8;
/// An executor registers this many times its `io_memory`.
const RINGS: u64 = 3;
/// Lockable memory that the rings themselves need.
const RING_BYTES: u64 = 512 << 10;
/// Registered memory of an executor when memlock does not say less; more than this no longer helps throughput,
/// and all of it is resident from the start.
const IO_MEMORY_BYTES_MAX: u64 = 8 << 20;
/// glommio takes no less.
const IO_MEMORY_BYTES_MIN: u64 = 64 << 10;

/// Cores worth of time that the process may use: affinity and cgroup quota are respected.
pub fn parallelism() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// Shards of a node that was not told how many.
pub fn default_shards() -> usize {
    parallelism().min(SHARDS_MAX)
}

/// The cores for `executors` threads. `None`: leave them to the scheduler, because the process may use less time
/// than it has cores (a quota: pinning would put it next to its neighbours) or more threads than cores.
pub fn cores(executors: usize) -> Option<Vec<usize>> {
    let set = rustix::thread::sched_getaffinity(None).ok()?;
    let allowed = (0..rustix::thread::CpuSet::MAX_CPU).filter(|core| set.is_set(*core));
    choose(allowed.collect(), parallelism(), executors)
}

fn choose(allowed: Vec<usize>, parallelism: usize, executors: usize) -> Option<Vec<usize>> {
    let fits = executors <= allowed.len() && parallelism >= allowed.len();
    fits.then(|| allowed[..executors].to_vec())
}

/// `io_memory` for each of `executors`, so that all of it can be registered.
pub fn io_memory_bytes(executors: usize) -> usize {
    share(getrlimit(Resource::Memlock).current, executors as u64) as usize
}

fn share(memlock_bytes: Option<u64>, executors: u64) -> u64 {
    let Some(limit) = memlock_bytes else {
        return IO_MEMORY_BYTES_MAX;
    };
    let all = limit.saturating_sub(executors * RING_BYTES);
    let each = all / (executors.max(1) * RINGS);
    // Whole pages.
    (each & !4095).clamp(IO_MEMORY_BYTES_MIN, IO_MEMORY_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_only_where_every_thread_has_a_core_of_its_own() {
        assert_eq!(choose(vec![2, 3, 5], 3, 2), Some(vec![2, 3]));
        assert_eq!(choose(vec![2, 3, 5], 3, 4), None);
        assert_eq!(choose((0..64).collect(), 2, 2), None, "a quota");
    }

    #[test]
    fn registered_memory_fits_the_limit() {
        assert_eq!(share(None, 4), IO_MEMORY_BYTES_MAX);
        for limit in [8 << 20, 64 << 20, 1 << 30] {
            for executors in 1..=8 {
                let each = share(Some(limit), executors);
                let fits = executors * (RINGS * each + RING_BYTES) <= limit;
                assert!(fits || each == IO_MEMORY_BYTES_MIN, "{limit} / {executors}");
            }
        }
        assert!(share(Some(8 << 20), 1) >= 2 << 20);
    }

    #[test]
    fn this_machine_has_a_core() {
        assert!(parallelism() >= 1 && default_shards() <= SHARDS_MAX);
        assert!(io_memory_bytes(1) >= IO_MEMORY_BYTES_MIN as usize);
    }
}
