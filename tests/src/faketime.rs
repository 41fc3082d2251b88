//! A clock for one program: the library of `faketime` moves it, while the kernel's clock belongs to the whole machine.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};

/// The library.
///
/// # Errors
/// When the package `faketime` is not installed.
pub fn library() -> Result<PathBuf> {
    let folders = fs::read_dir("/usr/lib")?.filter_map(|entry| Some(entry.ok()?.path()));
    let paths = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    paths
        .into_iter()
        .find(|path| path.exists())
        .context("libfaketimeMT.so.1 of the package faketime")
}

/// Variables of the environment that move the clock of a program that finds the library at this path. Timers inside it run
/// on the monotonic clock, which stays as it is.
#[must_use]
pub fn variables(library: &str, seconds: i64) -> [(&'static str, String); 4] {
    [
        ("LD_PRELOAD", library.to_owned()),
        ("FAKETIME", format!("{seconds:+}s")),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("NO_FAKE_STAT", "1".to_owned()),
    ]
}
