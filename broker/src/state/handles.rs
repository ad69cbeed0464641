//! A map from queue handles: near-constant lookup, ordered, and memory only near living handles.
//!
//! Handles are dense and never reused, so entries sit in pages of 256 found by `handle / 256`; a page goes with
//! its last entry.

use ringmq_storage_engine::position::QueueHandle;
use std::collections::BTreeMap;

const PAGE: u32 = 256;

#[derive(Debug)]
struct Page<T> {
    len: usize,
    slots: Vec<Option<T>>,
}

#[derive(Debug)]
pub(super) struct HandleMap<T> {
    pages: BTreeMap<u32, Page<T>>,
    len: usize,
}

fn place(handle: QueueHandle) -> (u32, usize) {
    (handle.0 / PAGE, (handle.0 % PAGE) as usize)
}

impl<T> HandleMap<T> {
    pub fn new() -> Self {
        Self {
            pages: BTreeMap::new(),
            len: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn get(&self, handle: QueueHandle) -> Option<&T> {
        let (page, slot) = place(handle);
        self.pages.get(&page)?.slots[slot].as_ref()
    }

    pub fn get_mut(&mut self, handle: QueueHandle) -> Option<&mut T> {
        let (page, slot) = place(handle);
        self.pages.get_mut(&page)?.slots[slot].as_mut()
    }

    pub fn insert(&mut self, handle: QueueHandle, value: T) {
        let (page, slot) = place(handle);
        let page = self.pages.entry(page).or_insert_with(|| Page {
            len: 0,
            slots: std::iter::repeat_with(|| None)
                .take(PAGE as usize)
                .collect(),
        });
        if page.slots[slot].replace(value).is_none() {
            page.len += 1;
            self.len += 1;
        }
    }

    pub fn remove(&mut self, handle: QueueHandle) {
        let (index, slot) = place(handle);
        let Some(page) = self.pages.get_mut(&index) else {
            return;
        };
        if page.slots[slot].take().is_some() {
            page.len -= 1;
            self.len -= 1;
            if page.len == 0 {
                self.pages.remove(&index);
            }
        }
    }

    /// Entries from `from` on, by handle.
    pub fn iter_from(&self, from: u32) -> impl Iterator<Item = (QueueHandle, &T)> {
        self.pages
            .range(from / PAGE..)
            .flat_map(|(&index, page)| {
                (0u32..).zip(&page.slots).filter_map(move |(slot, value)| {
                    Some((QueueHandle(index * PAGE + slot), value.as_ref()?))
                })
            })
            .skip_while(move |(handle, _)| handle.0 < from)
    }
}
