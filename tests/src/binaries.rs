//! Where the programs under test are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};

/// Set to `1` by the test runner after it built every program, so that tests do not build again.
pub const BUILT: &str = "INQUEST_TEST_BUILT";

/// Path of a program of this workspace, built on first use unless [`BUILT`] is set.
///
/// # Errors
/// For an unknown name, a failed build, or a program that is not where it should be. Retrying does not help.
pub fn bin(name: &str) -> Result<PathBuf> {
    static KNOWN: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = known.get(name) {
        return Ok(path.clone());
    }
    let package = package(name)?;
    let folder = profile_folder(&std::env::current_exe()?)?;
    if std::env::var_os(BUILT).is_none_or(|value| value != "1") {
        build(package, name, &folder)?;
    }
    let path = folder.join(name);
    ensure!(
        path.is_file(),
        "{} does not exist; cargo build -p {package} --bin {name}",
        path.display()
    );
    known.insert(name.to_owned(), path.clone());
    Ok(path)
}

fn package(name: &str) -> Result<&'static str> {
    match name {
        "inquest-agent" => Ok("inquest-agent"),
        "inquest-aggregator" => Ok("inquest-aggregator"),
        "inquest" => Ok("inquest-cli"),
        other => bail!("this workspace has no program {other}"),
    }
}

/// The folder of programs beside a test program, which lies in `<target>/<profile>/deps/`.
fn profile_folder(test: &Path) -> Result<PathBuf> {
    let folder = test
        .ancestors()
        .find(|folder| folder.ends_with("deps"))
        .and_then(Path::parent);
    Ok(folder
        .with_context(|| format!("{} is not in a deps folder", test.display()))?
        .to_owned())
}

fn build(package: &str, name: &str, folder: &Path) -> Result<()> {
    // cargo tells its children which cargo it is, so that a pinned toolchain stays pinned
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--quiet", "--package", package, "--bin", name]);
    let target = folder.parent().context("no target folder")?;
    command.arg("--target-dir").arg(target);
    command
        .arg("--manifest-path")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
    let profile = folder
        .file_name()
        .and_then(|name| name.to_str())
        .context("no profile folder")?;
    command.args(["--profile", if profile == "debug" { "dev" } else { profile }]);
    let output = command.output().context("cannot run cargo")?;
    ensure!(
        output.status.success(),
        "building {name} failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_for_beside_the_test() {
        let folder = profile_folder(Path::new("/w/target/debug/deps/it-0123")).unwrap();
        assert_eq!(folder, Path::new("/w/target/debug"));
        assert!(profile_folder(Path::new("/usr/bin/it")).is_err());
    }

    #[test]
    fn a_misspelt_program_is_an_error_before_anything_is_built() {
        assert!(bin("inquestt").unwrap_err().to_string().contains("no program inquestt"));
    }
}
