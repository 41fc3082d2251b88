//! What was done, written down before it is done.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::world::Program;

/// Something that has to be told exactly once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The kernel was made to kill a process at the memory limit of this cgroup.
    Kill {
        /// Path of the cgroup as the kernel log shows it.
        cgroup: String,
    },
    /// A container was made to end by itself.
    Exit {
        /// The pod, which ran this container once.
        pod: String,
        /// The last line that it wrote.
        line: String,
    },
}

/// Something bad that was done to the installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// A program died at a point, or at any moment when none is named.
    Death {
        /// Which.
        program: Program,
        /// Name of the failpoint; empty for a plain kill.
        point: String,
    },
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// A cause.
    Cause(Cause),
    /// A fault.
    Fault(Fault),
}

/// An append-only file, one entry a line, on disk before the deed.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    entries: Vec<Entry>,
}

impl Journal {
    /// Begins a journal.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn begin(path: &Path) -> Result<Self> {
        let file = File::create_new(path).with_context(|| format!("cannot begin {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            entries: Vec::new(),
        })
    }

    /// Writes an entry down; what it says is done afterwards.
    ///
    /// # Errors
    /// When it cannot be brought to disk.
    pub fn note(&mut self, entry: Entry) -> Result<()> {
        let mut line = serde_json::to_vec(&entry)?;
        line.push(b'\n');
        self.file
            .write_all(&line)
            .and_then(|()| self.file.sync_data())
            .with_context(|| format!("cannot write {}", self.path.display()))?;
        self.entries.push(entry);
        Ok(())
    }

    /// Everything noted so far, in order.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_on_disk_when_it_is_noted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut journal = Journal::begin(&path).unwrap();
        let entry = Entry::Cause(Cause::Kill { cgroup: "/a".into() });
        journal.note(entry.clone()).unwrap();
        let line = std::fs::read_to_string(&path).unwrap();
        assert_eq!(serde_json::from_str::<Entry>(&line).unwrap(), entry);
        assert_eq!(journal.entries(), [entry]);
    }
}
