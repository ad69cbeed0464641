//! The broker's allocator, and how long it keeps what was freed.

use std::ffi::c_long;

/// Frame buffers come and go thousands of times a second. The C library gives their pages back to the kernel each time
/// and takes a page fault for every one of them at the next use; this allocator keeps them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of `mimalloc.h`, version 2, which the Rust binding has no name for.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// Freed pages stay this long, in milliseconds. With the allocator's own 10 ms most of a busy shard's buffers are given back
/// between two uses; a second spans the gaps of a load and is over soon after it.
const KEPT_MS: c_long = 1000;

/// To be called first. `MIMALLOC_PURGE_DELAY` in the environment has precedence.
#[allow(unsafe_code, reason = "the allocator's settings are a C interface")]
pub fn keep_pages() {
    // SAFETY: it stores a number; no other thread runs yet that could read it.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, KEPT_MS) };
}
