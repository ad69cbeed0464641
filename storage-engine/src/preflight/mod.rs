//! Can this machine run the engine? Each failing check says why, and what to do about it.
//!
//! The facts are gathered here; what follows from them is decided in `verdict`, which is pure. All calls
//! block and may start a short-lived thread; they run once, before the executors start.

mod mounts;
mod verdict;

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::process::{Resource, getrlimit};

use crate::disk::BLOCK_BYTES;
pub use verdict::Check;
use verdict::RingFailure;

/// What the process is going to ask of the machine.
#[derive(Debug, Clone)]
pub struct Needs {
    /// The data directory; need not exist yet.
    pub directory: PathBuf,
    /// Executors (threads with a ring each).
    pub executors: u64,
    /// `io_memory` of each executor.
    pub io_memory_bytes: u64,
    /// Files and sockets at most.
    pub descriptors: u64,
}

/// Runs every check.
#[must_use]
pub fn check(needs: &Needs) -> Vec<Check> {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let sysctl = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
    let memlock_bytes = getrlimit(Resource::Memlock).current;
    let memlock = verdict::memlock(memlock_bytes, needs.executors, needs.io_memory_bytes);
    // With too little lockable memory no executor starts, which says nothing about io_uring.
    let ring = memlock
        .ok
        .then(|| verdict::ring(probe_ring(), seccomp_filtered()));
    let nofile = getrlimit(Resource::Nofile);
    let mut checks = vec![
        verdict::kernel(&release),
        verdict::sysctl(sysctl.as_deref().map(str::trim)),
        memlock,
    ];
    checks.extend(ring);
    checks.push(direct_io(&needs.directory));
    checks.push(verdict::descriptors(nofile.maximum, needs.descriptors));
    checks
}

fn probe_ring() -> Result<(), RingFailure> {
    crate::runtime::glommio::probe().map_err(|failure| RingFailure {
        errno: failure.raw_os_error(),
        message: failure.to_string(),
    })
}

/// Whether a seccomp filter is active, as in a container.
fn seccomp_filtered() -> bool {
    let Ok(status) = fs::read_to_string("/proc/self/status") else {
        return false;
    };
    status
        .lines()
        .find_map(|line| line.strip_prefix("Seccomp:"))
        .is_some_and(|mode| mode.trim() == "2")
}

fn direct_io(directory: &Path) -> Check {
    let existing = nearest_existing(directory);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let absolute = existing.canonicalize().unwrap_or(existing.clone());
    let mount = mounts::mount_of(&mounts, &absolute);
    verdict::direct_io(directory, mount.as_ref(), probe_direct_io(&existing))
}

/// The directory, or what of its path exists already.
fn nearest_existing(directory: &Path) -> PathBuf {
    directory
        .ancestors()
        .find(|ancestor| ancestor.is_dir())
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Removes its file at the end, whatever happened.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing to do about a failure; the name says what it is.
        let _ = fs::remove_file(&self.0);
    }
}

/// One block, written with O_DIRECT and O_DSYNC and read back.
fn probe_direct_io(directory: &Path) -> io::Result<()> {
    let name = format!(
        ".ringmq-preflight-{}-{:x}",
        std::process::id(),
        rand::random::<u64>()
    );
    let scratch = Scratch(directory.join(name));
    let flags = OFlags::DIRECT | OFlags::DSYNC;
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .custom_flags(flags.bits().cast_signed())
        .open(&scratch.0)?;
    let mut memory = vec![0_u8; 2 * BLOCK_BYTES];
    let start = memory.as_ptr().align_offset(BLOCK_BYTES);
    let block = &mut memory[start..start + BLOCK_BYTES];
    let pattern = |i: usize| (i % 251) as u8 ^ 0x5a;
    block
        .iter_mut()
        .enumerate()
        .for_each(|(i, b)| *b = pattern(i));
    file.write_all(block)?;
    block.fill(0);
    file.seek(SeekFrom::Start(0))?;
    file.read_exact(block)?;
    if block.iter().enumerate().all(|(i, b)| *b == pattern(i)) {
        return Ok(());
    }
    let why = "the block read back is not the block that was written";
    Err(io::Error::new(io::ErrorKind::InvalidData, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(directory: &Path) -> Needs {
        Needs {
            directory: directory.to_path_buf(),
            executors: 1,
            io_memory_bytes: 1 << 20,
            descriptors: 64,
        }
    }

    #[test]
    fn this_machine_passes_and_nothing_is_left_behind() {
        // The target directory: /tmp may be on tmpfs.
        let binary = std::env::current_exe().unwrap();
        let scratch = tempfile::tempdir_in(binary.parent().unwrap()).unwrap();
        let checks = check(&needs(&scratch.path().join("not/there/yet")));
        assert_eq!(checks.len(), 6);
        for check in &checks {
            assert!(check.ok, "{check:?}");
        }
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    }

    #[test]
    fn tmpfs_fails_by_name() {
        if mounts::mount_of(
            &fs::read_to_string("/proc/self/mountinfo").unwrap(),
            Path::new("/dev/shm"),
        )
        .is_none_or(|mount| mount.file_system != "tmpfs")
        {
            return; // No tmpfs on this machine.
        }
        let checks = check(&needs(Path::new("/dev/shm/ringmq-data")));
        let direct_io = checks
            .iter()
            .find(|check| check.name == "direct IO")
            .unwrap();
        assert!(
            !direct_io.ok && direct_io.cause.contains("tmpfs"),
            "{direct_io:?}"
        );
    }
}
