//! Temporary folders of tests.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// Set to `1` to keep the folders of passed tests as well.
pub const KEEP: &str = "INQUEST_TEST_KEEP";

/// A folder that is removed at the end, unless the test failed or [`KEEP`] is set; then its path is printed.
#[derive(Debug)]
pub struct TestDir(TempDir);

impl TestDir {
    /// Makes a folder `inq-<label>-…` in the system's temporary folder. Keep labels short: sockets lie in it, and the
    /// kernel takes paths of at most 107 bytes for them.
    ///
    /// # Errors
    /// When the temporary folder cannot be written.
    pub fn new(label: &str) -> Result<Self> {
        let made = tempfile::Builder::new().prefix(&format!("inq-{label}-")).tempdir();
        Ok(Self(made.context("cannot make a temporary folder")?))
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A path in the folder.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }
}

impl Drop for TestDir {
    #[expect(clippy::print_stderr, reason = "the reader of a failed test needs the path")]
    fn drop(&mut self) {
        let asked = std::env::var_os(KEEP).is_some_and(|value| value == "1");
        if asked || std::thread::panicking() {
            self.0.disable_cleanup(true);
            eprintln!("kept {}", self.path().display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_failed_test_is_kept_and_that_of_a_passed_one_is_not() {
        let passed = TestDir::new("passed").unwrap();
        let path = passed.path().to_owned();
        drop(passed);
        assert!(!path.exists());

        let kept = std::thread::spawn(|| {
            let dir = TestDir::new("failed").unwrap();
            assert_eq!(dir.path(), Path::new("/nowhere"), "fails on purpose");
        });
        let message = *kept.join().unwrap_err().downcast::<String>().unwrap();
        let path = message.split('"').find(|part| part.contains("inq-failed-")).unwrap();
        assert!(Path::new(path).is_dir());
        std::fs::remove_dir(path).unwrap();
    }
}
