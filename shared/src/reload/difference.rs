//! What two configurations differ in, by path.
//!
//! Owns which of the changed keys take effect at once. Values are compared by marks, so that no secret is kept here. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::Effective;

/// Most paths in one log line.
const MAX_LISTED: usize = 20;

/// Each path with the mark of its value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Marks(BTreeMap<String, u64>);

/// The keys that changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    live: Vec<String>,
    restart: Vec<String>,
    new: Marks,
    asked: bool,
}

impl Marks {
    pub(super) fn of(effective: &Effective) -> Self {
        Self(effective.marks().map(|(path, mark)| (path.to_owned(), mark)).collect())
    }

    /// Compares with what is in force. `live` are the paths, or beginnings of paths, that may change.
    pub(super) fn changes(&self, effective: &Effective, live: &[&str], asked: bool) -> Changes {
        let new = Self::of(effective);
        let paths: BTreeSet<&String> = self.0.keys().chain(new.0.keys()).collect();
        let changed = paths.into_iter().filter(|path| self.0.get(*path) != new.0.get(*path));
        let (live, restart) = changed
            .cloned()
            .partition(|path| live.iter().any(|start| is_below(path, start)));
        Changes {
            live,
            restart,
            new,
            asked,
        }
    }

    /// Notes the live part as being in force; the rest keeps the values of the start.
    pub(super) fn take_over(&mut self, changes: &Changes) {
        for path in &changes.live {
            match changes.new.0.get(path) {
                Some(mark) => self.0.insert(path.clone(), *mark),
                None => self.0.remove(path),
            };
        }
    }
}

impl Changes {
    /// Whether a key at or below `start` changed and takes effect now.
    #[must_use]
    pub fn touch(&self, start: &str) -> bool {
        self.live.iter().any(|path| is_below(path, start))
    }

    /// Whether an operator asked for this reading, so that files that the configuration names are to be read again.
    #[must_use]
    pub const fn asked(&self) -> bool {
        self.asked
    }

    pub(super) fn live(&self) -> &[String] {
        &self.live
    }

    pub(super) fn restart(&self) -> &[String] {
        &self.restart
    }

    /// The paths in one line of bounded length.
    pub(super) fn list(&self, paths: &[String]) -> String {
        let shown: Vec<&str> = paths.iter().take(MAX_LISTED).map(String::as_str).collect();
        match paths.len().saturating_sub(MAX_LISTED) {
            0 => shown.join(", "),
            more => format!("{} and {more} more", shown.join(", ")),
        }
    }
}

fn is_below(path: &str, start: &str) -> bool {
    path.strip_prefix(start)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}
