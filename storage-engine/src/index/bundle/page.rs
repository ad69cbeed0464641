//! Pages: seal, check, keep the recently used.

use super::format::BundleIdentity;
use crate::disk::BLOCK_BYTES;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// Unit of reading and of checksums.
pub const PAGE_BYTES: usize = 4096;
/// Checksum and page number.
pub(super) const PAGE_HEADER_BYTES: usize = 8;
/// What is left for rows.
pub(super) const PAGE_ROOM_BYTES: usize = PAGE_BYTES - PAGE_HEADER_BYTES;

const _: () = assert!(PAGE_BYTES == BLOCK_BYTES);

/// A checked page.
pub(super) type Page = Rc<[u8]>;

/// Writes number and checksum into a full page.
pub(super) fn seal(page: &mut [u8], number: u32, identity: Option<&BundleIdentity>) {
    page[4..8].copy_from_slice(&number.to_le_bytes());
    let sum = checksum(page, identity);
    page[..4].copy_from_slice(&sum.to_le_bytes());
}

/// Checks a page; says what is wrong.
pub(super) fn check(
    page: &[u8],
    number: u32,
    identity: Option<&BundleIdentity>,
) -> Result<(), &'static str> {
    if page.len() != PAGE_BYTES {
        return Err("page is cut short");
    }
    if page[..4] != checksum(page, identity).to_le_bytes() {
        return Err("checksum does not match");
    }
    if page[4..8] != number.to_le_bytes() {
        return Err("page is out of place");
    }
    Ok(())
}

fn checksum(page: &[u8], identity: Option<&BundleIdentity>) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    let (log_id, base) = identity.map_or((0, 0), |id| (id.log_id, id.segment_base.0));
    hasher.update(&log_id.to_le_bytes());
    hasher.update(&base.to_le_bytes());
    hasher.update(&page[4..]);
    hasher.finalize()
}

/// Recently used pages of all bundles of a shard, bounded; second chance before eviction.
#[derive(Debug)]
pub struct PageCache {
    inner: RefCell<Inner>,
    pages_max: usize,
}

#[derive(Debug, Default)]
struct Inner {
    pages: BTreeMap<(u64, u32), Cached>,
    order: VecDeque<(u64, u32)>,
}

#[derive(Debug)]
struct Cached {
    page: Page,
    used: bool,
}

impl PageCache {
    /// Keeps at most `bytes_max`, but at least one page.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            inner: RefCell::default(),
            pages_max: (bytes_max / PAGE_BYTES).max(1),
        }
    }

    /// Bytes of pages held.
    pub fn bytes(&self) -> usize {
        self.inner.borrow().pages.len() * PAGE_BYTES
    }

    /// Forgets the pages of one bundle.
    pub fn forget(&self, segment: u64) {
        let mut inner = self.inner.borrow_mut();
        inner.pages.retain(|key, _| key.0 != segment);
        inner.order.retain(|key| key.0 != segment);
    }

    pub(super) fn find(&self, segment: u64, number: u32) -> Option<Page> {
        let mut inner = self.inner.borrow_mut();
        let cached = inner.pages.get_mut(&(segment, number))?;
        cached.used = true;
        Some(Rc::clone(&cached.page))
    }

    pub(super) fn insert(&self, segment: u64, number: u32, page: Page) {
        let mut inner = self.inner.borrow_mut();
        let key = (segment, number);
        if inner.pages.contains_key(&key) {
            return;
        }
        while inner.pages.len() >= self.pages_max {
            inner.evict_one();
        }
        inner.pages.insert(key, Cached { page, used: false });
        inner.order.push_back(key);
    }
}

impl Inner {
    fn evict_one(&mut self) {
        while let Some(key) = self.order.pop_front() {
            match self.pages.get_mut(&key) {
                Some(cached) if cached.used => {
                    cached.used = false;
                    self.order.push_back(key);
                }
                _ => {
                    self.pages.remove(&key);
                    return;
                }
            }
        }
    }
}
