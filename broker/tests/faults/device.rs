//! A [`VolatileDisk`] as a block device, with a file system on it.
//!
//! ```text
//!  broker ─ ext4 or xfs ─ loop device ─ one file of a FUSE file system ─ threads of this test ─ VolatileDisk
//! ```
//! The loop device uses direct IO, and FUSE caches nothing, so between the file system and the disk nothing is kept.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, InitFlags, KernelConfig, LockOwner, MountOption, OpenFlags, ReplyAttr,
    ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, WriteFlags,
};
use tempfile::TempDir;

use super::disk::VolatileDisk;
use crate::harness::{PATIENCE, scratch, until};

/// Requests served at a time.
const THREADS: usize = 16;
const FILE: &str = "disk";
const FILE_NUMBER: INodeNo = INodeNo(2);

/// A file system to put on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Ext4,
    Xfs,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }
}

/// Why no such device can be made here, if so.
pub fn missing(kind: Kind) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root, to mount".to_owned());
    }
    for path in ["/dev/fuse", "/dev/loop-control"] {
        if let Err(error) = std::fs::File::options().read(true).write(true).open(path) {
            return Some(format!("needs {path}: {error}"));
        }
    }
    let make = format!("mkfs.{}", kind.name());
    let tools = ["losetup", "mount", "umount", &make];
    let absent = tools.into_iter().find(|tool| !is_installed(tool));
    absent.map(|tool| format!("needs {tool}, which is not installed"))
}

/// Whether a program can be found.
pub fn is_installed(program: &str) -> bool {
    let places = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&places)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|place| place.join(program).exists())
}

/// The device; everything is taken down when dropped.
pub struct Device {
    pub disk: Arc<VolatileDisk>,
    kind: Kind,
    session: Option<BackgroundSession>,
    loop_device: String,
    mounted: bool,
    home: TempDir,
}

impl Device {
    /// A device of that size with a fresh file system, mounted.
    pub fn new(kind: Kind, bytes: usize) -> Self {
        let home = scratch();
        for place in ["fuse", "mount"] {
            std::fs::create_dir(home.path().join(place)).expect("made");
        }
        let disk = Arc::new(VolatileDisk::new(bytes));
        let served = OneFile(Arc::clone(&disk));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("ringmq-volatile".to_owned())];
        config.n_threads = Some(THREADS);
        config.clone_fd = true;
        let fuse = home.path().join("fuse");
        let session = fuser::spawn_mount(served, &fuse, &config).expect("FUSE can be mounted");
        let mut device = Self {
            disk,
            kind,
            session: Some(session),
            loop_device: String::new(),
            mounted: false,
            home,
        };
        let file = fuse.join(FILE);
        let arguments = ["--find", "--show", "--direct-io=on", &text(&file)];
        device.loop_device = run("losetup", &arguments).trim().to_owned();
        device.check_queue();
        device.make_file_system();
        device.mount();
        device
    }

    /// Where the file system is mounted.
    pub fn mount_point(&self) -> PathBuf {
        self.home.path().join("mount")
    }

    /// A place beside the device, which no power cut touches.
    pub fn outside(&self) -> &Path {
        self.home.path()
    }

    /// Mounts; the file system repairs itself from its journal.
    pub fn mount(&mut self) {
        let at = text(&self.mount_point());
        // Two images of one xfs may be mounted by tests at the same time.
        let options = match self.kind {
            Kind::Ext4 => "rw",
            Kind::Xfs => "rw,nouuid",
        };
        let kind = self.kind.name();
        run(
            "mount",
            &["-t", kind, "-o", options, &self.loop_device, &at],
        );
        self.mounted = true;
    }

    /// Unmounts; nobody may use it any more.
    pub fn unmount(&mut self) {
        if !std::mem::take(&mut self.mounted) {
            return;
        }
        let at = text(&self.mount_point());
        // The kernel closes the files of a ring a little after the death of the process that had it.
        until("the file system is let go of", || {
            let unmounted = command("umount", &[&at]).output().expect("can be run");
            unmounted.status.success()
        });
    }

    /// The kernel must see a disk with a cache and without FUA, or it would not flush.
    fn check_queue(&self) {
        let name = self.loop_device.trim_start_matches("/dev/");
        let property = |key: &str| {
            let path = format!("/sys/block/{name}/{key}");
            let value = std::fs::read_to_string(&path);
            value.expect("a property").trim().to_owned()
        };
        assert_eq!(property("queue/write_cache"), "write back");
        assert_eq!(property("queue/fua"), "0");
        assert_eq!(property("loop/dio"), "1");
    }

    fn make_file_system(&self) {
        let device = self.loop_device.as_str();
        match self.kind {
            Kind::Ext4 => {
                let now = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
                run("mkfs.ext4", &["-q", "-F", "-E", now, device]);
            }
            Kind::Xfs => {
                run("mkfs.xfs", &["-q", "-f", "-K", device]);
            }
        };
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // Best effort, in a test that may be failing: nothing may hang, and nothing stay behind.
        self.disk.power_on();
        let at = text(&self.mount_point());
        let unmounted = || {
            command("umount", &[&at])
                .status()
                .is_ok_and(|s| s.success())
        };
        let deadline = Instant::now() + PATIENCE;
        while self.mounted && !unmounted() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = command("losetup", &["--detach", &self.loop_device]).output();
        if let Some(session) = self.session.take() {
            let _ = session.umount_and_join();
        }
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("a plain path").to_owned()
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stderr(Stdio::null());
    command
}

/// Runs a program to its end, which must be good; returns what it wrote.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = command(program, arguments).stderr(Stdio::piped()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {complaint}"
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A file system with one file, which is the disk.
struct OneFile(Arc<VolatileDisk>);

impl OneFile {
    fn attributes(&self, ino: INodeNo) -> FileAttr {
        let is_file = ino == FILE_NUMBER;
        let bytes = if is_file { self.0.bytes() as u64 } else { 0 };
        let never = SystemTime::UNIX_EPOCH;
        FileAttr {
            ino,
            size: bytes,
            blocks: bytes / 512,
            atime: never,
            mtime: never,
            ctime: never,
            crtime: never,
            kind: if is_file {
                FileType::RegularFile
            } else {
                FileType::Directory
            },
            perm: 0o700,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

/// Attributes never change.
const FOR_EVER: Duration = Duration::from_secs(3600);

impl Filesystem for OneFile {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        // Without it direct IO would wait for each request, and one write be under way at a time.
        config
            .add_capabilities(InitFlags::FUSE_ASYNC_DIO)
            .map_err(|_| std::io::Error::other("FUSE without asynchronous direct IO"))?;
        let _ = config.set_max_background(64);
        Ok(())
    }

    fn lookup(&self, _request: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name == FILE {
            reply.entry(&FOR_EVER, &self.attributes(FILE_NUMBER), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _request: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&FOR_EVER, &self.attributes(ino));
    }

    fn open(&self, _request: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let flags = FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES;
        reply.opened(FileHandle(0), flags);
    }

    fn read(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.0.read(offset as usize, size as usize) {
            Ok(bytes) => reply.data(&bytes),
            Err(_) => reply.error(Errno::EIO),
        }
    }

    fn write(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.0.write(offset as usize, data) {
            Ok(()) => reply.written(data.len() as u32),
            Err(_) => reply.error(Errno::EIO),
        }
    }

    fn fsync(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        _data_only: bool,
        reply: ReplyEmpty,
    ) {
        match self.0.flush() {
            Ok(()) => reply.ok(),
            Err(_) => reply.error(Errno::EIO),
        }
    }
}
