//! Secrets: values that cannot be printed, logged or serialised by accident.
//!
//! Owns the wrapper and the two ways a secret enters the process (a file, an environment
//! variable). Must not know what a secret is used for.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Longest accepted secret. Source: the size limit of one Kubernetes Secret is 1 MiB, and no
/// token, password or key that we take is near 64 KiB.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// A value that is never shown: no `Display`, no `Serialize`, no `Deserialize`, and `Debug` prints
/// `[redacted]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret<T = String>(T);

impl<T> Secret<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// Gives the value. Every call is a place where the secret may leak: keep them few.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<T> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl Secret<String> {
    /// Reads a secret from a file; white space at the end (the newline of an editor) is cut.
    ///
    /// # Errors
    /// Any [`SecretError`]. Reading again helps when the file is mounted later, as in a pod.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, SecretError> {
        let path = path.as_ref();
        let unreadable = |source| SecretError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let file = std::fs::File::open(path).map_err(unreadable)?;
        let mut bytes = Vec::new();
        file.take(MAX_SECRET_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(unreadable)?;
        let origin = || format!("file {}", path.display());
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_SECRET_BYTES {
            return Err(SecretError::TooLong { origin: origin() });
        }
        let text = String::from_utf8(bytes).map_err(|_| SecretError::NotText { origin: origin() })?;
        Self::non_empty(text.trim_end(), origin)
    }

    /// Reads a secret from an environment variable.
    ///
    /// # Errors
    /// [`SecretError::Missing`], [`SecretError::NotText`] or [`SecretError::Empty`]; the
    /// environment of a process does not change, so trying again does not help.
    pub fn from_env(name: &str) -> Result<Self, SecretError> {
        let origin = || format!("environment variable {name}");
        match std::env::var(name) {
            Ok(text) => Self::non_empty(&text, origin),
            Err(std::env::VarError::NotPresent) => Err(SecretError::Missing { name: name.to_owned() }),
            Err(std::env::VarError::NotUnicode(_)) => Err(SecretError::NotText { origin: origin() }),
        }
    }

    fn non_empty(text: &str, origin: impl Fn() -> String) -> Result<Self, SecretError> {
        if text.is_empty() {
            return Err(SecretError::Empty { origin: origin() });
        }
        Ok(Self(text.to_owned()))
    }
}

/// Why a secret could not be read. None of the texts contains any part of the secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file could not be opened or read; trying again helps when it appears later.
    #[error("cannot read secret file {path}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The environment variable is not set; trying again does not help.
    #[error("environment variable {name} is not set")]
    Missing {
        /// Name of the variable.
        name: String,
    },
    /// The secret is empty; trying again helps only after somebody writes it.
    #[error("secret in {origin} is empty")]
    Empty {
        /// Where it was read from.
        origin: String,
    },
    /// The secret is not UTF-8; trying again does not help.
    #[error("secret in {origin} is not valid UTF-8")]
    NotText {
        /// Where it was read from.
        origin: String,
    },
    /// The secret is longer than 64 KiB; trying again does not help.
    #[error("secret in {origin} is longer than 64 KiB")]
    TooLong {
        /// Where it was read from.
        origin: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_with(content: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    #[test]
    fn a_secret_never_appears_in_debug_output() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{:?}", Some(&secret)), "Some([redacted])");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn the_newline_an_editor_adds_is_not_part_of_the_secret() {
        let file = file_with(b"s3cret\r\n");
        assert_eq!(Secret::from_file(file.path()).unwrap().expose(), "s3cret");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Secret::from_file("/nonexistent/token").unwrap_err();
        assert_eq!(error.to_string(), "cannot read secret file /nonexistent/token");
    }

    #[test]
    fn an_empty_secret_is_refused() {
        let error = Secret::from_file(file_with(b"\n").path()).unwrap_err();
        assert!(matches!(error, SecretError::Empty { .. }), "{error}");
    }

    #[test]
    fn an_endless_or_binary_file_is_refused() {
        let long = Secret::from_file("/dev/zero").unwrap_err();
        assert!(matches!(long, SecretError::TooLong { .. }), "{long}");
        let binary = Secret::from_file(file_with(&[0xff, 0xfe]).path()).unwrap_err();
        assert!(matches!(binary, SecretError::NotText { .. }), "{binary}");
    }

    #[test]
    fn an_unset_variable_is_named() {
        let error = Secret::from_env("INQUEST_TEST_NO_SUCH_VARIABLE").unwrap_err();
        assert_eq!(
            error.to_string(),
            "environment variable INQUEST_TEST_NO_SUCH_VARIABLE is not set"
        );
        assert!(Secret::from_env("PATH").is_ok());
    }
}
