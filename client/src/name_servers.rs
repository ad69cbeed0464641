//! The list of name servers and which of them is asked at the moment.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Any one of them will do; after a failure the next one is asked.
#[derive(Debug)]
pub(crate) struct NameServers {
    addresses: Vec<String>,
    current: AtomicUsize,
}

impl NameServers {
    /// `addresses` is not empty; `start` spreads clients over the servers.
    pub(crate) fn new(addresses: Vec<String>, start: usize) -> Self {
        assert!(!addresses.is_empty(), "the builder refuses an empty list");
        Self {
            addresses,
            current: AtomicUsize::new(start),
        }
    }

    pub(crate) fn current(&self) -> &str {
        &self.addresses[self.current.load(Ordering::Relaxed) % self.addresses.len()]
    }

    pub(crate) fn skip_current(&self) {
        self.current.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn contains(&self, address: &str) -> bool {
        self.addresses.iter().any(|known| known == address)
    }

    pub(crate) fn count(&self) -> usize {
        self.addresses.len()
    }

    pub(crate) fn all(&self) -> String {
        self.addresses.join(", ")
    }
}
