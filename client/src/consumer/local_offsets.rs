//! Offsets of a broadcast group in a local file: one line a queue, `offset incarnation queue topic`, replaced atomically.

use super::Queue;
use crate::error::{Error, ErrorKind};
use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
};

const HEADER: &str = "ringmq offsets 1";

/// The file's contents.
#[derive(Debug)]
pub(super) struct LocalOffsets {
    path: PathBuf,
    /// Offset and the low half of the topic's incarnation: a topic made anew starts anew.
    offsets: BTreeMap<Queue, (u64, u64)>,
}

impl LocalOffsets {
    /// Reads the file; a missing one is empty, a damaged one an error.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed("read offsets", path, &error)),
        };
        let offsets = parse(&text).ok_or_else(|| {
            failed(
                "read offsets",
                path,
                &"not a file of offsets; move it away to start anew",
            )
        })?;
        Ok(Self {
            path: path.to_owned(),
            offsets,
        })
    }

    pub(super) fn offset(&self, queue: &Queue, incarnation: u64) -> Option<u64> {
        let (offset, of) = self.offsets.get(queue)?;
        (*of == incarnation).then_some(*offset)
    }

    pub(super) fn set(&mut self, queue: &Queue, incarnation: u64, offset: u64) {
        self.offsets.insert(queue.clone(), (offset, incarnation));
    }

    /// Writes a new file beside the old one, then renames it.
    pub(super) fn save(&self) -> Result<(), Error> {
        let mut text = format!("{HEADER}\n");
        for (queue, (offset, incarnation)) in &self.offsets {
            text.push_str(&format!(
                "{offset} {incarnation} {} {}\n",
                queue.queue, queue.topic
            ));
        }
        let temporary = self.path.with_extension("tmp");
        let write = || {
            let mut file = std::fs::File::create(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&temporary, &self.path)
        };
        write().map_err(|error| failed("write offsets", &self.path, &error))
    }
}

fn parse(text: &str) -> Option<BTreeMap<Queue, (u64, u64)>> {
    let mut lines = text.lines();
    if lines.next().is_some_and(|header| header != HEADER) {
        return None;
    }
    let entry = |line: &str| {
        let mut fields = line.splitn(4, ' ');
        let offset = fields.next()?.parse().ok()?;
        let incarnation = fields.next()?.parse().ok()?;
        let queue = fields.next()?.parse().ok()?;
        Some((Queue::new(fields.next()?, queue), (offset, incarnation)))
    };
    lines.map(entry).collect()
}

fn failed(operation: &'static str, path: &Path, cause: &dyn std::fmt::Display) -> Error {
    Error::new(
        operation,
        path.display().to_string(),
        ErrorKind::Local(cause.to_string()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_survive_and_damage_is_told() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("offsets");
        let mut offsets = LocalOffsets::open(&path).expect("missing is empty");
        let queue = Queue::new("%RETRY%a", 3);
        offsets.set(&queue, 7, 42);
        offsets.save().expect("writable");
        let again = LocalOffsets::open(&path).expect("written a moment ago");
        assert_eq!(again.offset(&queue, 7), Some(42));
        assert_eq!(again.offset(&queue, 8), None, "another topic of that name");
        std::fs::write(&path, "something else\n").expect("writable");
        assert!(LocalOffsets::open(&path).is_err());
    }
}
