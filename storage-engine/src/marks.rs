//! Coverage marks: which branches of recovery and which verdicts of faults a simulated run has reached.
//!
//! `mark!("name")` costs nothing without the feature `sim`. With it, it counts on its own thread, since a simulated run
//! is one thread.

/// Notes that this place was reached.
#[macro_export]
macro_rules! mark {
    ($name:literal) => {
        $crate::marks::reach($name)
    };
}

#[cfg(feature = "sim")]
mod counts {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    thread_local! {
        static REACHED: RefCell<BTreeMap<&'static str, u64>> = const { RefCell::new(BTreeMap::new()) };
    }

    /// What [`mark!`](crate::mark) calls.
    pub fn reach(name: &'static str) {
        REACHED.with_borrow_mut(|reached| *reached.entry(name).or_default() += 1);
    }

    /// How often each mark was reached on this thread.
    #[must_use]
    pub fn reached() -> BTreeMap<&'static str, u64> {
        REACHED.with_borrow(Clone::clone)
    }

    /// Panics unless each of these marks was reached on this thread.
    pub fn assert_reached(names: &[&str]) {
        let reached = reached();
        for name in names {
            assert!(
                reached.contains_key(name),
                "{name:?} was never reached: {reached:#?}"
            );
        }
    }
}

#[cfg(feature = "sim")]
pub use counts::{assert_reached, reach, reached};

/// What [`mark!`](crate::mark) calls.
#[cfg(not(feature = "sim"))]
#[inline(always)]
pub fn reach(_name: &'static str) {}
