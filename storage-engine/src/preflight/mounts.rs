//! Which file system a path is on, from `/proc/self/mountinfo`. Pure.

use std::path::{Path, PathBuf};

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Its type, for example "ext4".
    pub(super) file_system: String,
    /// Where it is mounted.
    pub(super) point: PathBuf,
}

/// The mount with the longest mount point above `path`; of equals, the last one, which hides the others.
pub(super) fn mount_of(mountinfo: &str, path: &Path) -> Option<Mount> {
    mountinfo
        .lines()
        .filter_map(parse)
        .filter(|mount| path.starts_with(&mount.point))
        .max_by_key(|mount| mount.point.components().count())
}

/// `36 35 98:0 /root /point options optional... - type source options`
fn parse(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    Some(Mount {
        file_system: right.split(' ').next()?.to_owned(),
        point: PathBuf::from(unescape(left.split(' ').nth(4)?)),
    })
}

/// Blanks and the like are written as a backslash and three octal digits.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|_| *first == b'\\');
        let code = octal
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                bytes.push(code);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &str = "\
22 1 254:0 / / rw,relatime - ext4 /dev/root rw
23 22 0:20 / /dev/shm rw,nosuid shared:4 - tmpfs tmpfs rw
24 22 0:44 / /mnt/my\\040disk rw master:7 - xfs /dev/sdb rw
25 24 0:45 / /mnt/my\\040disk rw - btrfs /dev/sdc rw
malformed line";

    #[test]
    fn the_closest_mount_counts() {
        let file_system = |path: &str| {
            let mount = mount_of(MOUNTINFO, Path::new(path)).unwrap();
            mount.file_system
        };
        assert_eq!(file_system("/"), "ext4");
        assert_eq!(file_system("/dev/shmoo"), "ext4");
        assert_eq!(file_system("/dev/shm/x"), "tmpfs");
        assert_eq!(file_system("/mnt/my disk/data"), "btrfs");
        assert_eq!(mount_of("", Path::new("/")), None);
        assert_eq!(unescape("a\\040b\\9\\"), "a b\\9\\");
    }
}
