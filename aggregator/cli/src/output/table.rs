//! Tables without lines, as kubectl prints them.

use comfy_table::{Cell, Color, Table, presets};
use inquest_shared::{
    model::{Severity, Untrusted},
    text::Paint,
};

/// Shown bytes of one cell.
const MAX_CELL: usize = 300;
/// Shown where nothing is known.
const NOTHING: &str = "-";
/// Blanks between columns.
const GAP: u16 = 3;

/// A table that grows row by row.
pub(super) struct Rows {
    table: Table,
}

impl Rows {
    pub(super) fn new(header: &[&str], paint: Paint) -> Self {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_header(header.iter().map(Cell::new));
        match paint {
            Paint::Plain => table.force_no_tty(),
            Paint::Ansi => table.enforce_styling(),
        };
        Self { table }
    }

    pub(super) fn add(&mut self, cells: Vec<Cell>) {
        self.table.add_row(cells);
    }

    /// The table without blanks at the ends of lines.
    pub(super) fn finish(mut self) -> String {
        for column in self.table.column_iter_mut() {
            column.set_padding((0, GAP));
        }
        self.table.trim_fmt()
    }
}

/// Text from outside, on one line.
pub(super) fn cell(text: &str) -> Cell {
    match text {
        "" => Cell::new(NOTHING),
        text => Cell::new(one_line(text, MAX_CELL)),
    }
}

/// A severity in its colour.
pub(super) fn severity_cell(severity: Severity, word: &str) -> Cell {
    let cell = Cell::new(word);
    match severity {
        Severity::Critical | Severity::High => cell.fg(Color::Red),
        Severity::Medium => cell.fg(Color::Yellow),
        Severity::Low | Severity::Info => cell,
    }
}

/// Text from outside: bounded and escaped.
pub(super) fn one_line(text: &str, max_bytes: usize) -> String {
    Untrusted::bounded(text, max_bytes).escaped()
}

/// Several names as one text, with a remark when there are more.
pub(super) fn names<'a>(names: impl IntoIterator<Item = &'a String>, total: u32) -> String {
    let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
    let hidden = usize::try_from(total).unwrap_or(usize::MAX).saturating_sub(names.len());
    match hidden {
        0 => names.join(", "),
        _ => format!("{} and {hidden} more", names.join(", ")),
    }
}
