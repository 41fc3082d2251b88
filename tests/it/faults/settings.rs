//! Receivers that cannot work as they are written down.

use std::{fs, process::Command};

use anyhow::{Result, ensure};
use inquest_tests::{TestDir, bin};

/// S2-19: the mistake is told at the start with its place, not at the first alert at night.
#[test]
fn a_webhook_without_its_address_stops_the_start() -> Result<()> {
    let dir = TestDir::new("address")?;
    let file = dir.join("aggregator.yaml");
    fs::write(&file, "receivers:\n  - name: team\n    webhook: {timeout: 5s}\n")?;
    let output = Command::new(bin("inquest-aggregator")?)
        .arg("--config")
        .arg(&file)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(64), "{:?}: {said}", output.status);
    ensure!(said.contains("receivers[0].webhook") && said.contains("url"), "{said}");
    ensure!(said.contains(&file.display().to_string()), "{said}");
    Ok(())
}
