//! Records of compressed batches, decompressed once for all RocketMQ clients that read them: those get messages, and a
//! batch has many more than one answer takes. Bounded; the one that was read longest ago goes first.

use ringmq_storage_engine::position::Position;
use ringmq_wire::batch::{BatchError, BatchView};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::rc::Rc;

/// What is kept, in bytes. One section may have almost as much.
const BYTES_MAX: usize = 16 << 20;

/// The records section of a batch, uncompressed.
pub enum Section<'a> {
    /// It lies in the batch so.
    Stored(&'a [u8]),
    Kept(Rc<[u8]>),
}

impl Deref for Section<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Stored(bytes) => bytes,
            Self::Kept(bytes) => bytes,
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Sections {
    kept: BTreeMap<Position, (u64, Rc<[u8]>)>,
    /// By time of the last use.
    by_use: BTreeMap<u64, Position>,
    uses: u64,
    bytes: usize,
}

impl Sections {
    /// The records of the batch that is stored there.
    pub fn of<'a>(
        &mut self,
        position: Position,
        batch: &BatchView<'a>,
    ) -> Result<Section<'a>, BatchError> {
        if let Some(kept) = self.find(position) {
            return Ok(Section::Kept(kept));
        }
        Ok(match batch.section()? {
            Cow::Borrowed(stored) => Section::Stored(stored),
            Cow::Owned(plain) => {
                let plain: Rc<[u8]> = plain.into();
                self.keep(position, Rc::clone(&plain));
                Section::Kept(plain)
            }
        })
    }

    fn find(&mut self, position: Position) -> Option<Rc<[u8]>> {
        let (used, section) = self.kept.get_mut(&position)?;
        self.by_use.remove(used);
        self.uses += 1;
        *used = self.uses;
        self.by_use.insert(self.uses, position);
        Some(Rc::clone(section))
    }

    fn keep(&mut self, position: Position, section: Rc<[u8]>) {
        self.uses += 1;
        self.bytes += section.len();
        self.by_use.insert(self.uses, position);
        self.kept.insert(position, (self.uses, section));
        while self.bytes > BYTES_MAX {
            let Some((_, oldest)) = self.by_use.pop_first() else {
                return;
            };
            let gone = self.kept.remove(&oldest);
            self.bytes -= gone.map_or(0, |(_, section)| section.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmq_wire::batch::{BatchBuilder, BatchOptions, Compression, Record};

    fn batch(compression: Compression, body_bytes: usize) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        let record = Record {
            born_time_ms: 0,
            keys: &[],
            tag: "",
            properties: &[],
            envelope: None,
            body: &vec![7; body_bytes],
        };
        builder.push(&record).expect("carryable");
        let options = BatchOptions {
            compression,
            ..BatchOptions::default()
        };
        builder.finish(&options).expect("small")
    }

    fn of(sections: &mut Sections, position: u64, bytes: &[u8]) -> (bool, usize) {
        let view = BatchView::parse(bytes).expect("whole");
        let section = sections.of(Position(position), &view).expect("readable");
        let records = view.records(&section).map(|record| record.expect("whole"));
        let bytes = records.map(|record| record.body.len()).sum();
        (matches!(section, Section::Kept(_)), bytes)
    }

    #[test]
    fn a_compressed_batch_is_decompressed_once_and_what_was_used_last_stays() {
        let mut sections = Sections::default();
        let plain = batch(Compression::None, 100);
        assert_eq!(of(&mut sections, 1, &plain), (false, 100));
        assert_eq!(sections.bytes, 0, "nothing is kept of what needs no work");
        let large = batch(Compression::Lz4, 5 << 20);
        for position in [10, 20, 30] {
            assert_eq!(of(&mut sections, position, &large), (true, 5 << 20));
        }
        let kept = sections.kept[&Position(10)].1.as_ptr();
        of(&mut sections, 10, &large);
        assert_eq!(
            sections.kept[&Position(10)].1.as_ptr(),
            kept,
            "the same one"
        );
        of(&mut sections, 40, &large);
        let there: Vec<u64> = sections.kept.keys().map(|position| position.0).collect();
        assert_eq!(there, [10, 30, 40]);
        assert!(sections.bytes <= BYTES_MAX && sections.by_use.len() == 3);
    }
}
