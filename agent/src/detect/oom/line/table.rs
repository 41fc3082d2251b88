//! The task table. Owns the columns of its generations: values are found by the names in the head, never by position.
use crate::detect::oom::report::TaskRow;

/// Columns read at most; the widest kernel prints ten.
const MAX_COLUMNS: usize = 16;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Uid,
    TotalVm,
    Rss,
    PageTablePages,
    PageTableBytes,
    Swap,
    ScoreAdj,
    Other,
}

/// Columns between the pid and the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header(Vec<Column>);

impl Header {
    /// Reads `[ pid ]   uid  tgid total_vm … name`; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (pid, rest) = text.strip_prefix('[')?.split_once(']')?;
        if pid.trim() != "pid" || !rest.contains("total_vm") {
            return None;
        }
        let columns = rest
            .split_whitespace()
            .filter(|name| *name != "name")
            .take(MAX_COLUMNS)
            .map(|name| match name {
                "uid" => Column::Uid,
                "total_vm" => Column::TotalVm,
                "rss" => Column::Rss,
                "nr_ptes" | "nr_pmds" => Column::PageTablePages,
                "pgtables_bytes" => Column::PageTableBytes,
                "swapents" => Column::Swap,
                "oom_score_adj" => Column::ScoreAdj,
                _ => Column::Other,
            });
        Some(Self(columns.collect()))
    }
}

/// A row whose columns are not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row<'a> {
    pid: u32,
    rest: &'a str,
}

impl<'a> Row<'a> {
    /// Reads `[ 1234]  1000  1234 …`; `None` for anything else.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let (pid, rest) = text.strip_prefix('[')?.split_once(']')?;
        Some(Self {
            pid: pid.trim().parse().ok()?,
            rest,
        })
    }

    /// Reads the row with its head; `None` when it has fewer columns.
    #[must_use]
    pub fn read(&self, header: &Header, page_kb: u64) -> Option<TaskRow> {
        let mut row = TaskRow {
            pid: self.pid,
            ..TaskRow::default()
        };
        let mut rest = self.rest;
        for column in &header.0 {
            let trimmed = rest.trim_start_matches(' ');
            let (value, after) = trimmed.split_once(' ').unwrap_or((trimmed, ""));
            set(&mut row, *column, value.parse().ok()?, page_kb);
            rest = after;
        }
        // one blank ends the score, so the name may begin with blanks of its own
        row.comm = super::bounded(rest);
        Some(row)
    }
}

fn set(row: &mut TaskRow, column: Column, value: i64, page_kb: u64) {
    let size = u64::try_from(value).unwrap_or_default();
    let pages = size.saturating_mul(page_kb);
    match column {
        Column::Uid => row.uid = u32::try_from(value).unwrap_or(u32::MAX),
        Column::TotalVm => row.total_vm_kb = pages,
        Column::Rss => row.rss_kb = pages,
        Column::PageTablePages => row.pgtables_kb = row.pgtables_kb.saturating_add(pages),
        Column::PageTableBytes => row.pgtables_kb = size / 1024,
        Column::Swap => row.swap_kb = pages,
        Column::ScoreAdj => row.oom_score_adj = i32::try_from(value).ok(),
        Column::Other => {}
    }
}
