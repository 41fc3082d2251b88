//! What the agent remembers between runs beside its spools: when it first came to this node, and how far it has read the
//! kernel log.

use std::{
    fs::{File, rename},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use inquest_shared::{
    clock::UnixNanos,
    failpoint::{self, Point},
};
use serde::{Deserialize, Serialize};

/// The state as written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// When the agent first started on this node; what is older is look-back.
    pub since: UnixNanos,
    /// Boot that the cursor belongs to (/proc/sys/kernel/random/boot_id).
    pub boot_id: String,
    /// Last kernel record that was dealt with in that boot.
    pub kmsg_seq: Option<u64>,
}

/// The state could not be kept. Retrying may help (disk full, read-only).
#[derive(Debug, thiserror::Error)]
#[error("cannot write the state {path}")]
pub struct StateError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// The file that holds the state.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    state: State,
    written: Option<State>,
}

impl StateFile {
    /// Reads the state of an earlier run; without one, or with an unreadable one, the record begins `now`. A cursor of an
    /// earlier boot is dropped.
    #[must_use]
    pub fn open(dir: &Path, boot_id: &str, now: UnixNanos) -> Self {
        let path = dir.join("state.json");
        let read = std::fs::read(&path)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<State>(&bytes).ok());
        if read.is_none() {
            tracing::info!(path = %path.display(), "no earlier state: what is older than this start is look-back");
        }
        let mut state = read.clone().unwrap_or(State {
            since: now,
            boot_id: boot_id.to_owned(),
            kmsg_seq: None,
        });
        if state.boot_id != boot_id {
            state = State {
                since: state.since,
                boot_id: boot_id.to_owned(),
                kmsg_seq: None,
            };
        }
        Self {
            path,
            state,
            written: read,
        }
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Notes that kernel records up to `seq` are dealt with; a cursor never goes back.
    pub fn note_kmsg(&mut self, seq: u64) {
        self.state.kmsg_seq = self.state.kmsg_seq.max(Some(seq));
    }

    /// Writes the state if it changed: to a new file, then by rename, so that a crash leaves the old or the new one.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn save(&mut self) -> Result<(), StateError> {
        if self.written.as_ref() == Some(&self.state) {
            return Ok(());
        }
        self.write().map_err(|source| StateError {
            path: self.path.clone(),
            source,
        })?;
        self.written = Some(self.state.clone());
        Ok(())
    }

    fn write(&self) -> io::Result<()> {
        let fresh = self.path.with_extension("new");
        let mut file = File::create(&fresh)?;
        file.write_all(&serde_json::to_vec(&self.state)?)?;
        failpoint::reach(Point::CursorBeforeSync);
        file.sync_data()?;
        failpoint::reach(Point::CursorBeforeRename);
        rename(&fresh, &self.path)?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()?;
        failpoint::reach(Point::CursorSaved);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_start_goes_on_where_the_first_ended() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = StateFile::open(dir.path(), "boot-1", UnixNanos(5));
        file.note_kmsg(9);
        file.note_kmsg(7);
        file.save().unwrap();
        let second = StateFile::open(dir.path(), "boot-1", UnixNanos(99));
        assert_eq!((second.state().since, second.state().kmsg_seq), (UnixNanos(5), Some(9)));
    }

    #[test]
    fn a_reboot_drops_the_cursor_and_keeps_the_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = StateFile::open(dir.path(), "boot-1", UnixNanos(5));
        file.note_kmsg(9);
        file.save().unwrap();
        let second = StateFile::open(dir.path(), "boot-2", UnixNanos(99));
        assert_eq!((second.state().since, second.state().kmsg_seq), (UnixNanos(5), None));
    }

    #[test]
    fn a_damaged_state_starts_anew_instead_of_failing() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("state.json"), b"{\"since\": ").unwrap();
        assert_eq!(
            StateFile::open(dir.path(), "b", UnixNanos(4)).state().since,
            UnixNanos(4)
        );
    }
}
