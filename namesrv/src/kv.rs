//! Pairs of strings by namespace, kept in one small file that is replaced as a whole, so that it is old or new but
//! never half of each. The form is that of RocketMQ's own file, which may be taken over.

use ringmq_wire::remoting::body::{decode, encode};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// All pairs together, keys and namespaces included.
const BYTES_MAX: usize = 4 << 20;

type Namespace = BTreeMap<String, String>;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Pairs {
    #[serde(rename = "configTable")]
    namespaces: BTreeMap<String, Namespace>,
}

/// Why a pair was not kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KvError {
    #[error("all pairs together are over {BYTES_MAX} bytes")]
    TooLarge,
    #[error("the file of pairs cannot be written: {0}")]
    Io(#[from] io::Error),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct KvStore {
    pairs: Pairs,
    file: Option<PathBuf>,
}

impl KvStore {
    /// Reads the file, if there is one. Without a path pairs are kept in memory only.
    pub(crate) fn open(file: Option<PathBuf>) -> io::Result<Self> {
        let pairs = match &file {
            None => Pairs::default(),
            Some(path) => read(path)?,
        };
        Ok(Self { pairs, file })
    }

    pub(crate) fn get(&self, namespace: &str, key: &str) -> Option<&String> {
        self.pairs.namespaces.get(namespace)?.get(key)
    }

    /// All pairs of a namespace, if it has any.
    pub(crate) fn namespace(&self, namespace: &str) -> Option<&Namespace> {
        self.pairs.namespaces.get(namespace)
    }

    /// Sets a pair; when this returns, the file has it.
    pub(crate) fn put(
        &mut self,
        namespace: String,
        key: String,
        value: String,
    ) -> Result<(), KvError> {
        self.change(|pairs| {
            let namespace = pairs.namespaces.entry(namespace).or_default();
            namespace.insert(key, value);
        })
    }

    /// Removes a pair, if it is there.
    pub(crate) fn delete(&mut self, namespace: &str, key: &str) -> Result<(), KvError> {
        if self.get(namespace, key).is_none() {
            return Ok(());
        }
        self.change(|pairs| {
            if let Some(pairs) = pairs.namespaces.get_mut(namespace) {
                pairs.remove(key);
            }
            pairs.namespaces.retain(|_, pairs| !pairs.is_empty());
        })
    }

    /// The file first: what could not be written does not count.
    fn change(&mut self, change: impl FnOnce(&mut Pairs)) -> Result<(), KvError> {
        let mut next = self.pairs.clone();
        change(&mut next);
        let bytes = encode(&next);
        if bytes.len() > BYTES_MAX {
            return Err(KvError::TooLarge);
        }
        if let Some(file) = &self.file {
            replace(file, &bytes)?;
        }
        self.pairs = next;
        Ok(())
    }
}

fn read(path: &Path) -> io::Result<Pairs> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Pairs::default()),
        Err(error) => return Err(error),
    };
    decode(&bytes).map_err(|error| {
        let message = format!("{} is no file of pairs: {error}", path.display());
        io::Error::new(io::ErrorKind::InvalidData, message)
    })
}

/// New content in a file beside it, synced, then renamed over it, and the directory synced.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut file = std::fs::File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    #[cfg(unix)]
    if let Some(parent) = path.parent() {
        let parent = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        std::fs::File::open(parent)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_outlive_the_process_and_a_broken_file_is_not_taken_for_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kv.json");
        let mut store = KvStore::open(Some(path.clone())).unwrap();
        store.put("n".into(), "k".into(), "v".into()).unwrap();
        store.put("n".into(), "l".into(), "w".into()).unwrap();
        store.delete("n", "k").unwrap();
        store.delete("n", "k").unwrap();
        let mut store = KvStore::open(Some(path.clone())).unwrap();
        assert_eq!(store.get("n", "k"), None);
        assert_eq!(store.get("n", "l").unwrap(), "w");
        store.delete("n", "l").unwrap();
        assert_eq!(store.namespace("n"), None);
        std::fs::write(&path, "{\"configTable\":{\"n\"").unwrap();
        assert!(KvStore::open(Some(path)).is_err());
    }

    #[test]
    fn what_cannot_be_written_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gone").join("kv.json");
        let mut store = KvStore::open(Some(path)).unwrap();
        let put = store.put("n".into(), "k".into(), "v".into());
        assert!(matches!(put, Err(KvError::Io(_))));
        assert_eq!(store.get("n", "k"), None);
        let mut store = KvStore::open(None).unwrap();
        let put = store.put("n".into(), "k".into(), "v".repeat(BYTES_MAX));
        assert!(matches!(put, Err(KvError::TooLarge)));
        assert_eq!(store.get("n", "k"), None);
    }

    /// The form of RocketMQ's file.
    #[test]
    fn a_file_of_rocketmq_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kvConfig.json");
        let text = r#"{"configTable":{"ORDER_TOPIC_CONFIG":{"T":"broker-a:4"}}}"#;
        std::fs::write(&path, text).unwrap();
        let store = KvStore::open(Some(path)).unwrap();
        assert_eq!(store.get("ORDER_TOPIC_CONFIG", "T").unwrap(), "broker-a:4");
    }
}
