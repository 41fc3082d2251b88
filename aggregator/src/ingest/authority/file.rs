//! Files of the authority: keys readable by their owner only, and all replaced whole or not at all.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use super::AuthorityError;

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> AuthorityError + 'a {
    move |source| AuthorityError::File {
        action,
        path: path.to_owned(),
        source,
    }
}

/// Makes the folder for its owner only; an existing one stays as it is.
pub(super) fn make_folder(folder: &Path) -> Result<(), AuthorityError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(failed("make", folder))
}

/// Content of a file, `None` when there is none.
pub(super) fn read(path: &Path) -> Result<Option<String>, AuthorityError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed("read", path)(source)),
    }
}

/// Writes what only the owner may read.
pub(super) fn write(path: &Path, text: &str) -> Result<(), AuthorityError> {
    write_as(path, text, 0o600)
}

/// Writes what everybody may read: a certificate, which agents of another user need.
pub(super) fn write_public(path: &Path, text: &str) -> Result<(), AuthorityError> {
    write_as(path, text, 0o644)
}

/// Writes beside the file, syncs, and renames, so that a crash leaves the old or the new content.
fn write_as(path: &Path, text: &str, mode: u32) -> Result<(), AuthorityError> {
    let beside = path.with_added_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&beside)
        .map_err(failed("write", &beside))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed("write", &beside))?;
    fs::rename(&beside, path).map_err(failed("replace", path))?;
    let folder = path.parent().unwrap_or(path);
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed("sync", folder))
}
