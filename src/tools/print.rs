//! What tools print on standard output: text, aligned tables, JSON.

use std::fmt;
use std::io::{self, ErrorKind, Write as _};

use serde::Serialize;
use thiserror::Error;

/// Standard output takes nothing more.
#[derive(Debug, Error)]
pub(crate) enum OutputError {
    /// The reader of the pipe has gone, as `head` does when it has enough: the quiet end of a tool.
    #[error("the reader of standard output has gone")]
    Closed,
    /// Anything else.
    #[error("cannot write to standard output: {0}")]
    Failed(io::Error),
    /// A value without a JSON form: a bug.
    #[error("cannot print as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl From<io::Error> for OutputError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed(error),
        }
    }
}

/// Writes bytes as they are, at once.
pub(super) fn bytes(bytes: &[u8]) -> Result<(), OutputError> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    Ok(out.flush()?)
}

/// Prints a line, or several.
pub(super) fn text(text: impl fmt::Display) -> Result<(), OutputError> {
    bytes(format!("{text}\n").as_bytes())
}

/// `1 message`, `2 messages`.
pub(super) fn counted(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

/// Prints a value as one line of JSON.
pub(super) fn json(value: &impl Serialize) -> Result<(), OutputError> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    bytes(&line)
}

/// Prints one of two forms of the same.
pub(super) fn either(
    as_json: bool,
    value: &impl Serialize,
    plain: impl FnOnce() -> String,
) -> Result<(), OutputError> {
    match as_json {
        true => json(value),
        false => bytes(plain().as_bytes()),
    }
}

/// Text from messages and clients as it may be shown on a terminal: control characters are written out.
pub(super) fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter.is_control() {
            true => shown.extend(letter.escape_default()),
            false => shown.push(letter),
        }
    }
    shown
}

/// The same on one line of bounded length, with `…` where it was cut.
pub(super) fn excerpt(text: &str, letters: usize) -> String {
    let harmless = harmless(text);
    match harmless.char_indices().nth(letters) {
        Some((end, _)) => format!("{}…", harmless.get(..end).unwrap_or_default()),
        None => harmless,
    }
}

/// A column's name, and on which side its cells are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    name: &'static str,
    is_right: bool,
}

/// A column of names.
pub(super) const fn left(name: &'static str) -> Column {
    Column {
        name,
        is_right: false,
    }
}

/// A column of numbers.
pub(super) const fn right(name: &'static str) -> Column {
    Column {
        name,
        is_right: true,
    }
}

/// Rows below each other, each column as wide as its widest cell.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self {
            columns: columns.into(),
            rows: Vec::new(),
        }
    }

    /// Adds a row with one cell for each column.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<_> = cells.into_iter().map(|cell| harmless(&cell)).collect();
        debug_assert_eq!(cells.len(), self.columns.len(), "a cell for each column");
        self.rows.push(cells);
    }

    fn widths(&self) -> Vec<usize> {
        let width = |(index, column): (usize, &Column)| {
            let cells = self.rows.iter().filter_map(|row| row.get(index));
            let widest = cells.map(|cell| cell.chars().count()).max();
            widest.unwrap_or(0).max(column.name.chars().count())
        };
        self.columns.iter().enumerate().map(width).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        let mut line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut text = String::new();
            for ((cell, width), column) in cells.zip(&widths).zip(&self.columns) {
                let padding = " ".repeat(width - cell.chars().count());
                match column.is_right {
                    true => text.extend([&padding, cell, "  "]),
                    false => text.extend([cell, &padding, "  "]),
                }
            }
            writeln!(f, "{}", text.trim_end())
        };
        line(&mut self.columns.iter().map(|column| column.name))?;
        for row in &self.rows {
            line(&mut row.iter().map(String::as_str))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_on_the_left_numbers_on_the_right_and_no_line_ends_in_spaces() {
        let mut table = Table::new([left("TOPIC"), right("QUEUES"), left("NOTE")]);
        table.row(["a".into(), "12".into(), String::new()]);
        table.row(["orders-of-all".into(), "4".into(), "x".into()]);
        assert_eq!(
            table.to_string(),
            "TOPIC          QUEUES  NOTE\na                  12\norders-of-all       4  x\n"
        );
    }

    #[test]
    fn what_would_steer_a_terminal_is_written_out() {
        assert_eq!(harmless("a\x1b[31mb\nc"), "a\\u{1b}[31mb\\nc");
        assert_eq!(excerpt("größer", 3), "grö…");
        assert_eq!(excerpt("größer", 6), "größer");
    }

    #[test]
    fn a_reader_that_has_gone_is_told_from_a_full_disk() {
        let gone = OutputError::from(io::Error::from(ErrorKind::BrokenPipe));
        assert!(matches!(gone, OutputError::Closed));
        let full = OutputError::from(io::Error::from(ErrorKind::StorageFull));
        assert!(matches!(full, OutputError::Failed(_)));
    }
}
