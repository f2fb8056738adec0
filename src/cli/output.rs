//! The only place that prints.

use std::io::{self, Write};

use serde::Serialize;

use crate::error::CliError;

/// How a command that could look ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing is wrong: exit code 0.
    Fine,
    /// Something is: exit code 1.
    Problem,
}

/// One line of text.
pub(crate) fn line(text: impl std::fmt::Display) -> Result<(), CliError> {
    writeln!(io::stdout().lock(), "{text}").map_err(CliError::Print)
}

/// A value as indented JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(value).map_err(|e| CliError::Print(e.into()))?;
    line(text)
}

/// Rows below their headers, each column as wide as its widest cell.
pub(crate) fn table(headers: &[&str], rows: &[Vec<String>]) -> Result<(), CliError> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(headers.get(column).map(|header| header.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headers.len()).map(width).collect();
    let print = |cells: Vec<&str>| {
        let padded: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        line(padded.join("  ").trim_end())
    };
    print(headers.to_vec())?;
    rows.iter().try_for_each(|row| print(row.iter().map(String::as_str).collect()))
}

/// An error on stderr.
pub(crate) fn complain(error: &CliError) {
    // Nobody is left to be told if stderr is closed.
    writeln!(io::stderr().lock(), "egretctl: {error}").ok();
}
