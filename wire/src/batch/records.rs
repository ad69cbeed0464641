//! Reading the records of an uncompressed records section.

use super::{BatchError, BatchHeader, Envelope, FLAG_SPARSE, varint};

/// Iterator over a section; ends after the first error.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    rest: &'a [u8],
    index: usize,
    count: usize,
    born_time_ms: i64,
    last_offset_delta: u32,
    sparse: bool,
    least_delta: u64,
}

/// One record; everything borrows from the section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordView<'a> {
    /// Queue offset minus the batch's base offset.
    pub offset_delta: u32,
    pub born_time_ms: i64,
    /// Space-separated; empty: none.
    pub keys: &'a str,
    /// Empty: none.
    pub tag: &'a str,
    pub properties: Properties<'a>,
    /// What only RocketMQ clients need.
    pub envelope: Option<Envelope<'a>>,
    pub body: &'a [u8],
}

/// Name and value pairs, checked when the record was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Properties<'a> {
    encoded: &'a [u8],
}

impl<'a> Properties<'a> {
    fn check(encoded: &'a [u8]) -> Option<Self> {
        let mut rest = encoded;
        while !rest.is_empty() {
            std::str::from_utf8(varint::take_bytes(&mut rest)?).ok()?;
            std::str::from_utf8(varint::take_bytes(&mut rest)?).ok()?;
        }
        Some(Self { encoded })
    }

    /// The pairs in the order in which they were written.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let mut rest = self.encoded;
        std::iter::from_fn(move || {
            let name = std::str::from_utf8(varint::take_bytes(&mut rest)?).ok()?;
            let value = std::str::from_utf8(varint::take_bytes(&mut rest)?).ok()?;
            Some((name, value))
        })
    }

    /// The value of the last pair with this name.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.iter()
            .filter(|(n, _)| *n == name)
            .last()
            .map(|(_, value)| value)
    }

    pub fn is_empty(&self) -> bool {
        self.encoded.is_empty()
    }
}

impl<'a> Records<'a> {
    pub(super) fn new(section: &'a [u8], header: &BatchHeader) -> Self {
        Self {
            rest: section,
            index: 0,
            count: header.record_count as usize,
            born_time_ms: header.born_time_ms,
            last_offset_delta: header.last_offset_delta,
            sparse: header.flags & FLAG_SPARSE != 0,
            least_delta: 0,
        }
    }

    fn read(&mut self) -> Result<RecordView<'a>, &'static str> {
        let mut record = varint::take_bytes(&mut self.rest).ok_or("length is cut short")?;
        let (&attributes, rest) = record.split_first().ok_or("attributes are missing")?;
        record = rest;
        if attributes & !1 != 0 {
            return Err("unknown attribute bits");
        }
        let delta = varint::take(&mut record).ok_or("offset delta is cut short")?;
        let last = self.index + 1 == self.count;
        if delta < self.least_delta
            || delta > u64::from(self.last_offset_delta)
            || (!self.sparse && delta != self.index as u64)
            || (last && delta != u64::from(self.last_offset_delta))
        {
            return Err("offset delta does not fit the batch");
        }
        self.least_delta = delta + 1;
        let born = varint::take(&mut record).ok_or("born time is cut short")?;
        let keys = take_text(&mut record).ok_or("keys are not text")?;
        let tag = take_text(&mut record).ok_or("tag is not text")?;
        let properties = varint::take_bytes(&mut record)
            .and_then(Properties::check)
            .ok_or("properties cannot be read")?;
        let envelope = if attributes & 1 == 0 {
            None
        } else {
            let encoded = varint::take_bytes(&mut record).ok_or("envelope is cut short")?;
            Some(Envelope::decode(encoded).ok_or("envelope cannot be read")?)
        };
        Ok(RecordView {
            offset_delta: delta as u32,
            born_time_ms: self.born_time_ms.wrapping_add(varint::unzigzag(born)),
            keys,
            tag,
            properties,
            envelope,
            body: record,
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RecordView<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.count {
            return None;
        }
        let record = self.index;
        let result = self.read().and_then(|view| {
            let last = record + 1 == self.count;
            if last && !self.rest.is_empty() {
                Err("bytes behind the last record")
            } else {
                Ok(view)
            }
        });
        self.index = if result.is_ok() {
            record + 1
        } else {
            self.count
        };
        Some(result.map_err(|what| BatchError::Record { record, what }))
    }
}

fn take_text<'a>(input: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(varint::take_bytes(input)?).ok()
}
