//! Key hashes of a segment in memory: runs, each sorted once when it is full, and an unsorted tail.

const RUN_ENTRIES: usize = 4096;

/// A message has a key. The order of the fields is the order of the sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::index) struct KeyEntry {
    pub(super) hash: u32,
    pub(super) queue: u32,
    /// Number of the batch in log order.
    pub(super) entry: u32,
    /// Index of the record in the batch.
    pub(super) record: u32,
}

impl KeyEntry {
    pub(super) fn new(hash: u32, queue: u32, entry: u32, record: u32) -> Self {
        Self {
            hash,
            queue,
            entry,
            record,
        }
    }
}

/// All keys of a segment.
#[derive(Debug, Clone, Default)]
pub(super) struct KeyRuns {
    full: Vec<Box<[KeyEntry]>>,
    tail: Vec<KeyEntry>,
    len: usize,
}

impl KeyRuns {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn insert(&mut self, key: KeyEntry) {
        self.tail.push(key);
        self.len += 1;
        if self.tail.len() == RUN_ENTRIES {
            self.tail.sort_unstable();
            let run = std::mem::replace(&mut self.tail, Vec::with_capacity(RUN_ENTRIES));
            self.full.push(run.into_boxed_slice());
        }
    }

    /// Keys with this hash and queue, in no order.
    pub(super) fn find(&self, hash: u32, queue: u32) -> Vec<KeyEntry> {
        let wanted = |key: &&KeyEntry| (key.hash, key.queue) == (hash, queue);
        let mut found: Vec<KeyEntry> = self.tail.iter().filter(wanted).copied().collect();
        for run in &self.full {
            let from = run.partition_point(|key| (key.hash, key.queue) < (hash, queue));
            found.extend(run[from..].iter().take_while(wanted));
        }
        found
    }

    /// The sorted runs, and a copy of the unsorted tail.
    pub(super) fn runs_and_tail(&self) -> (Vec<&[KeyEntry]>, Vec<KeyEntry>) {
        (
            self.full.iter().map(|run| &**run).collect(),
            self.tail.clone(),
        )
    }

    /// Forgets the keys of batches from number `entries` on.
    pub(super) fn retain_below(&mut self, entries: u32) {
        for run in &mut self.full {
            if run.iter().any(|key| key.entry >= entries) {
                *run = run
                    .iter()
                    .filter(|key| key.entry < entries)
                    .copied()
                    .collect();
            }
        }
        self.full.retain(|run| !run.is_empty());
        self.tail.retain(|key| key.entry < entries);
        self.len = self.full.iter().map(|run| run.len()).sum::<usize>() + self.tail.len();
    }
}
