//! An open bundle: its header, and its pages through the shared cache.

use super::format::{BundleHeader, BundleIdentity, SectionKind};
use super::page::{self, PAGE_BYTES, PAGE_HEADER_BYTES, Page, PageCache};
use super::rows::Row;
use super::{BundleError, file_name};
use crate::disk::{Disk, DiskFile};
use std::ops::Range;
use std::rc::Rc;

type ReadOf<D> = <<D as Disk>::File as DiskFile>::Read;

/// The bundle of one sealed segment, open for lookups. Lives on its shard's executor.
pub struct Bundle<D: Disk> {
    pub(super) segment: u64,
    pub(super) header: BundleHeader,
    file: D::File,
    cache: Rc<PageCache>,
}

impl<D: Disk> Bundle<D> {
    /// Opens the bundle and checks that it belongs to this segment of this log and, if told, to its last frame.
    pub async fn open(
        disk: &D,
        segment: u64,
        identity: BundleIdentity,
        last_header_checksum: Option<u32>,
        cache: Rc<PageCache>,
    ) -> Result<Self, BundleError> {
        let file_name = file_name(segment);
        let corrupt = |what| BundleError::Corrupt {
            file: file_name.clone(),
            page: 0,
            what,
        };
        let mismatch = |what| BundleError::Mismatch {
            file: file_name.clone(),
            what,
        };
        let file = disk.open(&file_name).await?;
        if file.len() < PAGE_BYTES as u64 {
            return Err(corrupt("file is shorter than a page"));
        }
        let first = file.read_at(0, PAGE_BYTES).await?;
        let header = BundleHeader::decode(&first, file.len()).map_err(corrupt)?;
        if header.identity.log_id != identity.log_id {
            return Err(mismatch("another log"));
        }
        if header.identity.segment_base != identity.segment_base {
            return Err(mismatch("another segment"));
        }
        if last_header_checksum.is_some_and(|sum| sum != header.last_header_checksum) {
            return Err(mismatch("another version of the segment"));
        }
        Ok(Self {
            segment,
            header,
            file,
            cache,
        })
    }

    /// Page 0.
    pub fn header(&self) -> &BundleHeader {
        &self.header
    }

    /// Reads every page, past the cache, and checks it.
    pub async fn verify(&self) -> Result<(), BundleError> {
        for number in 1..self.header.pages {
            self.read(number).await?;
        }
        Ok(())
    }

    pub(super) fn corrupt(&self, page: u32, what: &'static str) -> BundleError {
        BundleError::Corrupt {
            file: file_name(self.segment),
            page,
            what,
        }
    }

    pub(super) async fn page(&self, number: u32) -> Result<Page, BundleError> {
        if let Some(page) = self.cache.find(self.segment, number) {
            return Ok(page);
        }
        // A copy, because a disk's read buffers may come from a small registered pool.
        let page: Page = Rc::from(&self.read(number).await?[..]);
        self.cache.insert(self.segment, number, Rc::clone(&page));
        Ok(page)
    }

    async fn read(&self, number: u32) -> Result<ReadOf<D>, BundleError> {
        let offset = u64::from(number) * PAGE_BYTES as u64;
        let read = self.file.read_at(offset, PAGE_BYTES).await?;
        page::check(&read, number, Some(&self.header.identity))
            .map_err(|what| self.corrupt(number, what))?;
        Ok(read)
    }

    /// The page that holds a row, and the row's index on it.
    pub(super) async fn page_of<R: Row>(
        &self,
        kind: SectionKind,
        row: u64,
    ) -> Result<(Page, usize), BundleError> {
        let section = self.header.section(kind);
        if row >= section.rows {
            return Err(self.corrupt(
                section.first_page,
                "a row refers behind the end of a section",
            ));
        }
        // A section has at most as many pages as the file, which are counted in 32 bits.
        let page = section.first_page + (row / R::PER_PAGE as u64) as u32;
        Ok((self.page(page).await?, (row % R::PER_PAGE as u64) as usize))
    }

    /// The first row in `range` for which `before` does not hold, where it holds for none behind that; the end of the
    /// range if it holds for all. Rows that are not in order give some row, never an endless search.
    pub(super) async fn partition_point<R: Row>(
        &self,
        kind: SectionKind,
        range: Range<u64>,
        before: impl Fn(&R) -> bool,
    ) -> Result<u64, BundleError> {
        let per_page = R::PER_PAGE as u64;
        let (mut low, mut high) = (range.start, range.end);
        while low < high {
            let middle = low + (high - low) / 2;
            let (page, _) = self.page_of::<R>(kind, middle).await?;
            let page_start = middle - middle % per_page;
            let from = low.max(page_start);
            let to = high.min(page_start + per_page);
            let rows = (from - page_start) as usize..(to - page_start) as usize;
            let inside = partition(&page, rows.clone(), &before);
            let found = page_start + inside as u64;
            if inside == rows.start && from > low {
                high = from;
            } else if inside == rows.end && to < high {
                low = to;
            } else {
                return Ok(found);
            }
        }
        Ok(low)
    }
}

/// Row number `row` of a page; the caller has bounded it.
pub(super) fn row<R: Row>(page: &[u8], row: usize) -> R {
    let at = PAGE_HEADER_BYTES + row * R::BYTES;
    R::decode(&page[at..at + R::BYTES])
}

fn partition<R: Row>(page: &[u8], rows: Range<usize>, before: impl Fn(&R) -> bool) -> usize {
    let (mut low, mut high) = (rows.start, rows.end);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(&row(page, middle)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}
