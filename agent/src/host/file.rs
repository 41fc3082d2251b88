//! Bounded reading of small kernel files. Owns the limit and the error; knows no format.
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Most bytes taken from one kernel file; the longest that we read, `/proc/self/mountinfo` of a node with many pods, is far below.
pub const LIMIT: u64 = 4 * 1024 * 1024;
/// Most kernel files fit, so that one read takes them.
const USUAL: usize = 8 * 1024;

/// Why a kernel file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file is not there: the cgroup or process is gone, or the kernel lacks the feature. Retrying does not help.
    #[error("{path} does not exist")]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// Opening or reading failed. Retrying helps only for a passing fault such as too many open files.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The content is not what this kernel file should hold. Retrying does not help.
    #[error("{path} holds no {expected}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        expected: &'static str,
    },
}

impl FileError {
    /// The error for a file that lacks what was looked for.
    #[must_use]
    pub fn format(path: &Path, expected: &'static str) -> Self {
        Self::Format {
            path: path.to_owned(),
            expected,
        }
    }

    /// Whether the file is simply not there (any more).
    #[must_use]
    pub const fn is_gone(&self) -> bool {
        matches!(self, Self::Gone { .. })
    }
}

/// Reads a kernel file as text; bytes that are not UTF-8 become U+FFFD.
///
/// # Errors
/// [`FileError::Gone`] when there is no such file or process, [`FileError::Read`] otherwise.
pub fn read_text(path: &Path) -> Result<String, FileError> {
    read_bytes(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Reads a kernel file, at most [`LIMIT`] bytes of it.
///
/// # Errors
/// As [`read_text`].
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::with_capacity(USUAL);
    let read = File::open(path).and_then(|file| file.take(LIMIT).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(bytes),
        Err(source) if is_gone(&source) => Err(FileError::Gone { path: path.to_owned() }),
        Err(source) => Err(FileError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

/// A removed cgroup answers ENODEV and an ended process ESRCH on files that were opened before.
fn is_gone(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::NOENT, Errno::NODEV, Errno::SRCH]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_gone_and_a_folder_is_a_fault() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read_text(&folder.path().join("memory.events")).unwrap_err().is_gone());
        assert!(matches!(read_text(folder.path()), Err(FileError::Read { .. })));
    }
}
