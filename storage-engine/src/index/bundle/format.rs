//! Page 0.

use super::page::{self, PAGE_BYTES};
use super::rows::DirectoryEntry;
use super::rows::{BatchRow, ExtentRow, KeyRow, QueueRow, Row};
use crate::format::{i64_at, put, u32_at, u64_at, u128_at};
use crate::index::limits::SEGMENT_BYTES_MAX;
use crate::position::Position;

const MAGIC: &[u8; 8] = b"RNGQIDX1";
const VERSION: u32 = 1;
const SECTIONS_AT: usize = 80;
const SECTION_BYTES: usize = 16;
const PAGES_AT: usize = SECTIONS_AT + SECTIONS * SECTION_BYTES;
const ZERO_FROM: usize = PAGES_AT + 4;

/// Number of sections.
pub(super) const SECTIONS: usize = 6;

/// Sections, in file order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum SectionKind {
    Queues = 0,
    Batches = 1,
    Extents = 2,
    Keys = 3,
    Filter = 4,
    Directory = 5,
}

/// What a bundle belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BundleIdentity {
    pub log_id: u128,
    /// First byte of the segment.
    pub segment_base: Position,
}

/// Where a section's pages are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Section {
    pub(super) first_page: u32,
    pub(super) pages: u32,
    pub(super) rows: u64,
}

/// Page 0, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BundleHeader {
    pub identity: BundleIdentity,
    /// Position behind the segment's last frame.
    pub segment_end: Position,
    /// Header checksum of the segment's last frame.
    pub last_header_checksum: u32,
    /// Store times of the first and the last batch.
    pub time_range_ms: Option<(i64, i64)>,
    pub(super) sections: [Section; SECTIONS],
    pub(super) pages: u32,
}

impl BundleHeader {
    pub(super) fn section(&self, kind: SectionKind) -> Section {
        self.sections[kind as usize]
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; PAGE_BYTES];
        put(&mut out, 8, MAGIC);
        put(&mut out, 16, &VERSION.to_le_bytes());
        put(&mut out, 24, &self.identity.log_id.to_le_bytes());
        put(&mut out, 40, &self.identity.segment_base.0.to_le_bytes());
        put(&mut out, 48, &self.segment_end.0.to_le_bytes());
        put(&mut out, 56, &self.last_header_checksum.to_le_bytes());
        let (first_ms, last_ms) = self.time_range_ms.unwrap_or((0, 0));
        put(&mut out, 64, &first_ms.to_le_bytes());
        put(&mut out, 72, &last_ms.to_le_bytes());
        for (index, section) in self.sections.iter().enumerate() {
            let at = SECTIONS_AT + index * SECTION_BYTES;
            put(&mut out, at, &section.first_page.to_le_bytes());
            put(&mut out, at + 4, &section.pages.to_le_bytes());
            put(&mut out, at + 8, &section.rows.to_le_bytes());
        }
        put(&mut out, PAGES_AT, &self.pages.to_le_bytes());
        page::seal(&mut out, 0, None);
        out
    }

    /// Decodes and bounds page 0 of a file of `file_bytes`.
    pub(super) fn decode(bytes: &[u8], file_bytes: u64) -> Result<Self, &'static str> {
        page::check(bytes, 0, None)?;
        if &bytes[8..16] != MAGIC {
            return Err("magic does not match");
        }
        if u32_at(bytes, 16) != VERSION {
            return Err("version is unknown");
        }
        let zeros = [&bytes[20..24], &bytes[60..64], &bytes[ZERO_FROM..]];
        if zeros.concat().iter().any(|byte| *byte != 0) {
            return Err("reserved bytes are not zero");
        }
        let mut header = Self {
            identity: BundleIdentity {
                log_id: u128_at(bytes, 24),
                segment_base: Position(u64_at(bytes, 40)),
            },
            segment_end: Position(u64_at(bytes, 48)),
            last_header_checksum: u32_at(bytes, 56),
            time_range_ms: None,
            sections: [Section::default(); SECTIONS],
            pages: u32_at(bytes, PAGES_AT),
        };
        for (index, section) in header.sections.iter_mut().enumerate() {
            let at = SECTIONS_AT + index * SECTION_BYTES;
            section.first_page = u32_at(bytes, at);
            section.pages = u32_at(bytes, at + 4);
            section.rows = u64_at(bytes, at + 8);
        }
        if header.section(SectionKind::Batches).rows > 0 {
            header.time_range_ms = Some((i64_at(bytes, 64), i64_at(bytes, 72)));
        }
        header.check(file_bytes)?;
        Ok(header)
    }

    fn check(&self, file_bytes: u64) -> Result<(), &'static str> {
        let per_page = [
            QueueRow::PER_PAGE,
            BatchRow::PER_PAGE,
            ExtentRow::PER_PAGE,
            KeyRow::PER_PAGE,
            1,
            DirectoryEntry::PER_PAGE,
        ];
        let mut next_page = 1u64;
        for (section, per_page) in self.sections.iter().zip(per_page) {
            if u64::from(section.first_page) != next_page
                || section.rows.div_ceil(per_page as u64) != u64::from(section.pages)
            {
                return Err("sections do not fit together");
            }
            next_page += u64::from(section.pages);
        }
        if next_page != u64::from(self.pages) || file_bytes != next_page * PAGE_BYTES as u64 {
            return Err("length does not match");
        }
        let batches = self.section(SectionKind::Batches).rows;
        if batches != self.section(SectionKind::Extents).rows || batches > u64::from(u32::MAX) {
            return Err("batches are miscounted");
        }
        let segment_bytes = self.segment_end.0.checked_sub(self.identity.segment_base.0);
        if segment_bytes.is_none_or(|bytes| bytes > SEGMENT_BYTES_MAX) {
            return Err("segment has no such end");
        }
        Ok(())
    }
}
