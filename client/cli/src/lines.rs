//! Lines of a file or of stdin, read by a thread of its own, handed over in blocks.
//!
//! A line is what is between newlines, without them; a last line need not end with one. Bodies are slices of the blocks
//! they were read in: nothing is copied but a line that spans blocks. Blocks waiting are bounded.

use crate::error::CliError;
use bytes::{Bytes, BytesMut};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use tokio::sync::mpsc;

const BLOCK_BYTES: usize = 1 << 20;
const BLOCKS_WAITING_MAX: usize = 4;
/// Beyond what any broker takes: the file is not lines.
const LINE_BYTES_MAX: usize = 16 << 20;

/// Lines that were read together.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) lines: Vec<Bytes>,
    /// Bytes of input, newlines included.
    pub(crate) bytes: u64,
}

/// Input being read.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) blocks: mpsc::Receiver<Result<Block, CliError>>,
    /// Known for files.
    pub(crate) size_bytes: Option<u64>,
}

/// Reads from `path`; "-" is stdin.
pub(crate) fn open(path: &Path) -> Result<Input, CliError> {
    let shown = path.display().to_string();
    let (sender, blocks) = mpsc::channel(BLOCKS_WAITING_MAX);
    let mut size_bytes = None;
    let input: Box<dyn Read + Send> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        let failed = |source| CliError::Local {
            what: format!("open {shown}"),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        size_bytes = metadata.is_file().then_some(metadata.len());
        Box::new(file)
    };
    std::thread::spawn(move || read_all(input, &shown, &sender));
    Ok(Input { blocks, size_bytes })
}

fn read_all(
    mut input: Box<dyn Read + Send>,
    shown: &str,
    sender: &mpsc::Sender<Result<Block, CliError>>,
) {
    let mut splitter = Splitter::default();
    loop {
        let block = splitter.read(&mut input);
        let block = block.map_err(|source| CliError::Local {
            what: format!("read {shown}"),
            source,
        });
        let last = !matches!(block, Ok(Some(_)));
        // A closed channel: the command has ended.
        if let Some(block) = block.transpose()
            && sender.blocking_send(block).is_err()
        {
            return;
        }
        if last {
            return;
        }
    }
}

/// Cuts input into lines.
#[derive(Debug, Default)]
struct Splitter {
    /// The begin of a line whose end was not read yet.
    partial: BytesMut,
    ended: bool,
}

impl Splitter {
    /// The lines that end within what is read next; none after the last line.
    fn read(&mut self, input: &mut impl Read) -> std::io::Result<Option<Block>> {
        if self.ended {
            return Ok(None);
        }
        let before = self.partial.len();
        self.partial.resize(before + BLOCK_BYTES, 0);
        let read = retry_read(input, &mut self.partial[before..])?;
        self.partial.truncate(before + read);
        if read == 0 {
            self.ended = true;
            let rest = std::mem::take(&mut self.partial).freeze();
            let lines = if rest.is_empty() {
                Vec::new()
            } else {
                vec![rest]
            };
            return Ok(Some(Block { lines, bytes: 0 }));
        }
        let fresh = &self.partial[before..];
        let lines = match fresh.iter().rposition(|byte| *byte == b'\n') {
            None if self.partial.len() > LINE_BYTES_MAX => {
                return Err(std::io::Error::other(format!(
                    "a line is longer than {LINE_BYTES_MAX} bytes"
                )));
            }
            None => Vec::new(),
            Some(last) => split(self.partial.split_to(before + last + 1).freeze()),
        };
        // What is left is moved to a block of its own, so that it does not keep this one.
        self.partial = BytesMut::from(&self.partial[..]);
        Ok(Some(Block {
            lines,
            bytes: read as u64,
        }))
    }
}

fn retry_read(input: &mut impl Read, into: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match input.read(into) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// Lines of a block that ends with a newline.
fn split(block: Bytes) -> Vec<Bytes> {
    let mut lines = Vec::new();
    let mut start = 0;
    for piece in block.split_inclusive(|byte| *byte == b'\n') {
        lines.push(block.slice(start..start + piece.len() - 1));
        start += piece.len();
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            let count = self.1.min(self.0.len()).min(into.len());
            into[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn lines(input: &[u8], step: usize) -> (Vec<Bytes>, u64) {
        let mut trickle = Trickle(input, step);
        let mut splitter = Splitter::default();
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while let Some(block) = splitter.read(&mut trickle).expect("readable") {
            lines.extend(block.lines);
            bytes += block.bytes;
        }
        (lines, bytes)
    }

    #[test]
    fn lines_are_the_same_however_they_arrive() {
        let input = b"one\n\ntwo\r\nthree\xff\n\nlast";
        for step in 1..30 {
            let (lines, bytes) = lines(input, step);
            let expected: [&[u8]; 6] = [b"one", b"", b"two\r", b"three\xff", b"", b"last"];
            assert_eq!(lines, expected, "{step}");
            assert_eq!(bytes, input.len() as u64);
        }
        assert_eq!(lines(b"", 5).0, [] as [Bytes; 0]);
        assert_eq!(lines(b"\n", 5).0, [Bytes::new()]);
    }

    #[test]
    fn what_has_no_lines_is_refused() {
        let mut splitter = Splitter::default();
        let mut endless = std::io::repeat(b'x');
        let mut read = || splitter.read(&mut endless);
        let error = (0..100).find_map(|_| read().err()).expect("bounded");
        assert!(error.to_string().contains("longer than"), "{error}");
    }
}
