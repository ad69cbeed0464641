//! Inputs of a fuzz target as they are kept: hexadecimal, one a line, with comments behind `#`.

use std::fs;
use std::path::Path;

/// The inputs in a file.
pub fn read(file: &Path) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(file).expect("seeds of this target");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(bytes).collect()
}

fn bytes(line: &str) -> Vec<u8> {
    assert!(line.len().is_multiple_of(2), "whole bytes: {line}");
    let pairs = line.as_bytes().chunks_exact(2);
    pairs
        .map(|pair| std::str::from_utf8(pair).expect("hex"))
        .map(|pair| u8::from_str_radix(pair, 16).expect("hex"))
        .collect()
}
