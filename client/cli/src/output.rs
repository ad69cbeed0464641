//! The only place that writes: data to stdout, everything else to stderr.

use crate::args::Format;
use crate::error::CliError;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use std::io::{ErrorKind, IsTerminal, Write};

/// Bytes of stdout that are collected before they are written.
const BUFFER_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct Output;

impl Output {
    /// Shows `value` as JSON, or the table that `table` makes of it.
    pub(crate) fn show<T: Serialize>(
        &self,
        format: Format,
        value: &T,
        table: impl FnOnce(&T) -> String,
    ) -> Result<(), CliError> {
        let mut text = match format {
            Format::Table => table(value),
            Format::Json => {
                serde_json::to_string_pretty(value).map_err(|error| CliError::Local {
                    what: "write JSON".to_string(),
                    source: error.into(),
                })?
            }
        };
        text.push('\n');
        self.data(text.as_bytes())
    }

    /// Writes data.
    pub(crate) fn data(&self, bytes: &[u8]) -> Result<(), CliError> {
        let mut stdout = std::io::stdout().lock();
        let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
        written.map_err(write_failed)
    }

    /// Says something to whoever watches.
    #[allow(clippy::print_stderr, reason = "this is the output module")]
    pub(crate) fn remark(&self, text: &str) {
        eprintln!("{text}");
    }

    /// Says why the command failed, and what to do.
    pub(crate) fn complain(&self, error: &CliError) {
        self.remark(&format!("ringmq: {error}"));
        if let Some(hint) = error.hint() {
            self.remark(&format!("  {hint}"));
        }
    }
}

/// Collects data for stdout in large pieces. What is not flushed is lost when dropped: callers decide when messages
/// count as printed.
#[derive(Debug)]
pub(crate) struct DataBuffer {
    bytes: Vec<u8>,
}

impl DataBuffer {
    pub(crate) fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(BUFFER_BYTES + (64 << 10)),
        }
    }

    pub(crate) fn line(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.bytes.push(b'\n');
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= BUFFER_BYTES
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn flush(&mut self) -> Result<(), CliError> {
        // Through the unlocked handle's own buffer large writes go straight to the descriptor.
        let mut stdout = std::io::stdout().lock();
        let written = stdout.write_all(&self.bytes).and_then(|()| stdout.flush());
        self.bytes.clear();
        written.map_err(write_failed)
    }
}

fn write_failed(source: std::io::Error) -> CliError {
    if source.kind() == ErrorKind::BrokenPipe {
        return CliError::ClosedPipe;
    }
    CliError::Local {
        what: "write to stdout".to_string(),
        source,
    }
}

/// Whether somebody watches stderr.
pub(crate) fn is_watched() -> bool {
    std::io::stderr().is_terminal()
}

/// A table without lines; columns named with a leading `#` hold numbers.
pub(crate) fn table(columns: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_content_arrangement(comfy_table::ContentArrangement::Disabled);
    table.set_header(
        columns
            .iter()
            .map(|column| column.trim_start_matches('#').to_uppercase()),
    );
    let mut empty = true;
    for row in rows {
        empty = false;
        table.add_row(row);
    }
    for (index, name) in columns.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((0, 2));
            if name.starts_with('#') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    let text = table.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    if empty {
        format!("{}\n(none)", lines.join("\n"))
    } else {
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_numbers_right_and_say_when_they_are_empty() {
        let rows = [
            vec!["orders".to_string(), "8".to_string()],
            vec!["a".into(), "128".into()],
        ];
        assert_eq!(
            table(&["name", "#queues"], rows),
            "NAME    QUEUES\norders       8\na          128"
        );
        assert_eq!(table(&["name"], []), "NAME\n(none)");
    }
}
