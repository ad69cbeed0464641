//! What follows from the facts: passed or not, why, and the way out. Pure.

use std::io;
use std::path::Path;

use super::mounts::Mount;
use rustix::io::Errno;

/// The first kernel with everything the ring needs.
const KERNEL_MIN: (u32, u32) = (5, 8);
/// Below this much lockable memory glommio starts no executor.
const MEMLOCK_BYTES_MIN: u64 = 512 << 10;
/// Each executor registers this many times its `io_memory`.
const RINGS: u64 = 3;

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// Whether the engine can run.
    pub ok: bool,
    /// What was found.
    pub found: String,
    /// Why it matters; empty when all is well. With `ok`, a warning.
    pub cause: String,
    /// What to do; empty when all is well.
    pub cure: String,
}

impl Check {
    /// Runs, but not as well as it could.
    #[must_use]
    pub fn is_warning(&self) -> bool {
        self.ok && !self.cause.is_empty()
    }

    fn passed(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            ok: true,
            found: found.into(),
            cause: String::new(),
            cure: String::new(),
        }
    }

    fn because(mut self, cause: impl Into<String>, cure: impl Into<String>) -> Self {
        self.cause = cause.into();
        self.cure = cure.into();
        self
    }

    fn failed(mut self) -> Self {
        self.ok = false;
        self
    }
}

pub(super) fn kernel(release: &str) -> Check {
    let check = Check::passed("kernel", release);
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|number| number.parse::<u32>().ok());
    let version = numbers.next().zip(numbers.next());
    match version {
        Some(version) if version >= KERNEL_MIN => check,
        Some(_) => check
            .because(
                "this kernel is too old for the io_uring operations that are used",
                format!("run Linux {}.{} or newer", KERNEL_MIN.0, KERNEL_MIN.1),
            )
            .failed(),
        None => check.because(
            "the version of this kernel cannot be told",
            format!("make sure it is {}.{} or newer", KERNEL_MIN.0, KERNEL_MIN.1),
        ),
    }
}

/// `setting`: the content of `kernel.io_uring_disabled`; kernels before 6.6 have none.
pub(super) fn sysctl(setting: Option<&str>) -> Check {
    let found = setting.map_or("not set".to_owned(), |value| {
        format!("kernel.io_uring_disabled = {value}")
    });
    let check = Check::passed("io_uring sysctl", found);
    let cure = "as root: sysctl -w kernel.io_uring_disabled=0, and for the next boot \
                echo 'kernel.io_uring_disabled = 0' > /etc/sysctl.d/90-ringmq.conf \
                (RHEL and its relatives ship with it switched off)";
    match setting {
        None | Some("0") => check,
        Some("1") => check.because(
            "io_uring is reserved for root and the group of kernel.io_uring_group",
            format!(
                "{cure}; or put the user into the group whose number is in kernel.io_uring_group"
            ),
        ),
        Some(_) => check
            .because("io_uring is switched off on this machine", cure)
            .failed(),
    }
}

pub(super) fn memlock(limit_bytes: Option<u64>, executors: u64, io_memory_bytes: u64) -> Check {
    let found = limit_bytes.map_or("unlimited".to_owned(), |bytes| {
        format!("{} KiB", bytes >> 10)
    });
    let check = Check::passed("memlock", found);
    let needed = executors * RINGS * io_memory_bytes + MEMLOCK_BYTES_MIN;
    let cure = format!(
        "allow at least {} KiB: shell: ulimit -l unlimited; systemd: LimitMEMLOCK=infinity; Docker: \
         --ulimit memlock=-1:-1; Kubernetes: LimitMEMLOCK=infinity in the unit of the container runtime, \
         or the IPC_LOCK capability",
        needed.div_ceil(1 << 10)
    );
    match limit_bytes {
        Some(limit) if limit < MEMLOCK_BYTES_MIN => check
            .because(
                format!(
                    "less than {} KiB of memory may be locked, so no io_uring executor starts",
                    MEMLOCK_BYTES_MIN >> 10
                ),
                cure,
            )
            .failed(),
        Some(limit) if limit < needed => check.because(
            format!(
                "{executors} executors cannot register all of their buffers, so they run slower"
            ),
            cure,
        ),
        _ => check,
    }
}

/// Why no executor could be started.
#[derive(Debug)]
pub(super) struct RingFailure {
    pub(super) errno: Option<i32>,
    pub(super) message: String,
}

pub(super) fn ring(probe: Result<(), RingFailure>, seccomp: bool) -> Check {
    let Err(failure) = probe else {
        return Check::passed("io_uring", "a ring starts");
    };
    let check = Check::passed("io_uring", &*failure.message).failed();
    let forbidden = [Errno::PERM, Errno::ACCESS, Errno::NOSYS].map(Errno::raw_os_error);
    let allow = "allow io_uring_setup, io_uring_enter and io_uring_register: Docker: --security-opt \
                 seccomp=PROFILE.json (or seccomp=unconfined); Kubernetes: securityContext.seccompProfile: \
                 {type: Localhost, localhostProfile: PROFILE.json}";
    match failure.errno {
        Some(errno) if seccomp && forbidden.contains(&errno) => check.because(
            "a seccomp filter forbids io_uring, as the default profiles of Docker and Kubernetes do",
            allow,
        ),
        Some(errno) if errno == Errno::NOSYS.raw_os_error() => check.because(
            "this kernel is built without io_uring",
            "run a kernel with CONFIG_IO_URING=y",
        ),
        Some(errno) if forbidden.contains(&errno) => check.because(
            "the kernel or a security module forbids io_uring to this user",
            format!("see the sysctl check and the rules of SELinux or AppArmor; in a container, {allow}"),
        ),
        Some(errno) if errno == Errno::NOMEM.raw_os_error() => check.because(
            "no memory may be locked for a ring",
            "raise memlock: Docker: --ulimit memlock=-1:-1; systemd: LimitMEMLOCK=infinity",
        ),
        Some(errno) if errno == Errno::MFILE.raw_os_error() => {
            check.because("no descriptor is left for a ring", "raise ulimit -n")
        }
        _ => check.because(
            "an io_uring executor does not start",
            "the message above is the kernel's; see also the kernel log (dmesg)",
        ),
    }
}

pub(super) fn direct_io(directory: &Path, mount: Option<&Mount>, probe: io::Result<()>) -> Check {
    let place = mount.map_or("an unknown file system".to_owned(), |mount| {
        format!("{} on {}", mount.file_system, mount.point.display())
    });
    let file_system = mount.map_or("", |mount| mount.file_system.as_str());
    let check = Check::passed("direct IO", place.clone());
    let elsewhere = "use a data directory on a local ext4 or xfs file system (--data-dir; in a container a \
                     volume: docker run -v /srv/ringmq:/data, Kubernetes: a local or block volume)";
    if ["tmpfs", "ramfs"].contains(&file_system) {
        let cause = format!("{place} is memory: it has no direct IO and forgets everything");
        return check.because(cause, elsewhere).failed();
    }
    let shown = directory.display();
    match probe {
        Ok(()) if ["nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs"].contains(&file_system)
            || file_system.starts_with("fuse") =>
        {
            check.because(
                format!("what {place} promises about durability is decided elsewhere"),
                elsewhere,
            )
        }
        Ok(()) if file_system == "overlay" => check.because(
            "this directory is part of a container's own file system and goes away with the container",
            elsewhere,
        ),
        Ok(()) => check,
        Err(e) if e.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => check
            .because(format!("{place} has no direct IO (O_DIRECT)"), elsewhere)
            .failed(),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => check
            .because(
                format!("{shown} cannot be written: {e}"),
                "give the directory to the user of the broker (chown), or start as its owner",
            )
            .failed(),
        Err(e) if e.kind() == io::ErrorKind::StorageFull => check
            .because(format!("{place} is full"), "make room, or choose another --data-dir")
            .failed(),
        Err(e) => check
            .because(format!("direct IO in {shown} ({place}) failed: {e}"), elsewhere)
            .failed(),
    }
}

/// `limit`: the hard limit; the broker raises its soft limit to it.
pub(super) fn descriptors(limit: Option<u64>, needed: u64) -> Check {
    let found = limit.map_or("unlimited".to_owned(), |limit| limit.to_string());
    let check = Check::passed("descriptors", found);
    match limit {
        Some(limit) if limit < needed => check
            .because(
                format!("{needed} files and connections are configured"),
                format!(
                    "allow {needed} or lower the limits: shell: ulimit -Hn {needed}; systemd: \
                     LimitNOFILE={needed}; Docker: --ulimit nofile={needed}:{needed}"
                ),
            )
            .failed(),
        _ => check,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// Failing checks and warnings say why, and their way out names these.
    fn expect(check: &Check, ok: bool, cause: &str, cures: &[&str]) {
        assert_eq!(check.ok, ok, "{check:?}");
        assert!(check.cause.contains(cause), "{check:?}");
        for cure in cures {
            assert!(check.cure.contains(cure), "no {cure} in {check:?}");
        }
        assert_eq!(check.cause.is_empty(), check.cure.is_empty());
    }

    #[test]
    fn old_kernels_fail() {
        for fine in ["5.8.0", "6.18.44-fc-v595", "5.14.0-427.el9.x86_64", "10.0"] {
            expect(&kernel(fine), true, "", &[]);
            assert!(!kernel(fine).is_warning());
        }
        for old in ["5.7.19", "4.18.0-553.el8"] {
            expect(&kernel(old), false, "too old", &["5.8"]);
        }
        assert!(kernel("mystery").is_warning());
    }

    #[test]
    fn the_sysctl_names_rhel() {
        assert!(!sysctl(None).is_warning() && !sysctl(Some("0")).is_warning());
        expect(
            &sysctl(Some("1")),
            true,
            "reserved",
            &["io_uring_group", "group"],
        );
        expect(
            &sysctl(Some("2")),
            false,
            "switched off",
            &["RHEL", "sysctl -w"],
        );
    }

    #[test]
    fn memlock_fails_or_warns() {
        assert!(!memlock(None, 8, 64 << 20).is_warning());
        assert!(!memlock(Some(8 << 20), 2, 1 << 20).is_warning());
        let cures = [
            "Docker: --ulimit memlock=-1:-1",
            "LimitMEMLOCK",
            "Kubernetes",
        ];
        expect(
            &memlock(Some(64 << 10), 1, 1 << 20),
            false,
            "512 KiB",
            &cures,
        );
        let slower = memlock(Some(8 << 20), 8, 10 << 20);
        expect(&slower, true, "slower", &["246272 KiB"]);
        assert!(slower.is_warning());
    }

    #[test]
    fn a_forbidden_ring_names_its_gatekeeper() {
        let failure = |errno: Errno| {
            Err(RingFailure {
                errno: Some(errno.raw_os_error()),
                message: "refused".to_owned(),
            })
        };
        expect(&ring(Ok(()), true), true, "", &[]);
        let cures = ["Docker: --security-opt seccomp=", "Kubernetes", "Localhost"];
        for errno in [Errno::PERM, Errno::NOSYS] {
            expect(&ring(failure(errno), true), false, "seccomp", &cures);
        }
        expect(
            &ring(failure(Errno::PERM), false),
            false,
            "security module",
            &["SELinux"],
        );
        expect(
            &ring(failure(Errno::NOSYS), false),
            false,
            "built without",
            &["CONFIG_IO_URING"],
        );
        expect(
            &ring(failure(Errno::NOMEM), false),
            false,
            "locked",
            &["memlock"],
        );
        expect(
            &ring(failure(Errno::MFILE), false),
            false,
            "descriptor",
            &["ulimit -n"],
        );
        expect(
            &ring(failure(Errno::IO), false),
            false,
            "does not start",
            &["dmesg"],
        );
    }

    #[test]
    fn a_file_system_without_direct_io_is_named() {
        let at = |file_system: &str, probe: io::Result<()>| {
            let mount = Mount {
                file_system: file_system.to_owned(),
                point: PathBuf::from("/mnt"),
            };
            direct_io(Path::new("/mnt/data"), Some(&mount), probe)
        };
        let refused = |errno: Errno| Err(errno.into());
        assert!(!at("ext4", Ok(())).is_warning() && !at("xfs", Ok(())).is_warning());
        expect(
            &at("tmpfs", Ok(())),
            false,
            "tmpfs on /mnt",
            &["ext4 or xfs", "--data-dir"],
        );
        expect(
            &at("ecryptfs", refused(Errno::INVAL)),
            false,
            "ecryptfs on /mnt has no",
            &["volume"],
        );
        expect(
            &at("xfs", refused(Errno::ACCESS)),
            false,
            "cannot be written",
            &["chown"],
        );
        expect(&at("xfs", refused(Errno::NOSPC)), false, "full", &["room"]);
        expect(&at("xfs", refused(Errno::IO)), false, "failed", &["ext4"]);
        for remote in ["nfs4", "fuse.sshfs", "9p"] {
            expect(&at(remote, Ok(())), true, remote, &["local"]);
        }
        expect(
            &at("overlay", Ok(())),
            true,
            "container",
            &["docker run -v"],
        );
        let unknown = direct_io(Path::new("/x"), None, refused(Errno::INVAL));
        expect(&unknown, false, "unknown file system", &[]);
    }

    #[test]
    fn too_few_descriptors_fail() {
        assert!(descriptors(None, 1000).ok && descriptors(Some(1000), 1000).ok);
        expect(
            &descriptors(Some(256), 1000),
            false,
            "1000",
            &["ulimit -Hn 1000", "Docker", "systemd"],
        );
    }
}
