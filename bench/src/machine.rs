//! What the figures were taken on: a figure without its machine says nothing.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;

/// The machine, as far as it tells. Linux only; elsewhere most fields are "unknown".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_bytes: u64,
    /// Where the data lies.
    pub(crate) device: String,
    pub(crate) file_system: String,
    pub(crate) mount_options: String,
    pub(crate) rig: String,
}

impl Machine {
    /// Looks at this machine and at the disk that `directory` lies on.
    pub(crate) fn look(directory: &Path) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let unknown = || "unknown".to_owned();
        let (device, file_system, mount_options) = mount(&read("/proc/self/mounts"), directory)
            .unwrap_or_else(|| (unknown(), unknown(), unknown()));
        Self {
            kernel: kernel(&read("/proc/sys/kernel/osrelease")).unwrap_or_else(unknown),
            cpu: value(&read("/proc/cpuinfo"), "model name").unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: memory(&read("/proc/meminfo")).unwrap_or(0),
            device,
            file_system,
            mount_options,
            rig: concat!("ringmq-bench ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cores of {}, {} MiB, kernel {}, {} on {} ({}), {}",
            self.cores,
            self.cpu,
            self.memory_bytes >> 20,
            self.kernel,
            self.file_system,
            self.device,
            self.mount_options,
            self.rig
        )
    }
}

fn kernel(text: &str) -> Option<String> {
    let release = text.trim();
    (!release.is_empty()).then(|| release.to_owned())
}

fn value(text: &str, key: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn memory(text: &str) -> Option<u64> {
    let kib = value(text, "MemTotal")?;
    Some(kib.split(' ').next()?.parse::<u64>().ok()? * 1024)
}

/// Device, type and options of the mount with the longest path above `directory`.
fn mount(table: &str, directory: &Path) -> Option<(String, String, String)> {
    let directory = directory.canonicalize().ok()?;
    let mounts = table.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (device, at) = (fields.next()?, fields.next()?);
        let (kind, options) = (fields.next()?, fields.next()?);
        directory
            .starts_with(at)
            .then_some((at.len(), (device, kind, options)))
    });
    // The later of two mounts at one place is the one that is seen.
    let (_, (device, kind, options)) = mounts.max_by_key(|(length, _)| *length)?;
    Some((device.to_owned(), kind.to_owned(), options.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mount_above_a_directory_is_its_own() {
        let table = "/dev/vda / ext4 rw,relatime 0 0\ntmpfs /dev tmpfs rw 0 0\n";
        let found = mount(table, Path::new("/dev")).expect("mounted");
        assert_eq!((found.0.as_str(), found.1.as_str()), ("tmpfs", "tmpfs"));
        let found = mount(table, Path::new("/")).expect("mounted");
        assert_eq!(found.1, "ext4");
    }

    #[test]
    fn fields_are_found_by_their_names() {
        assert_eq!(memory("MemTotal:       1024 kB\n"), Some(1 << 20));
        let cpu = "processor\t: 0\nmodel name\t: Some CPU\n";
        assert_eq!(value(cpu, "model name").as_deref(), Some("Some CPU"));
        assert_eq!(value(cpu, "flags"), None);
    }
}
