//! Takes a cluster down when this process ends, in whatever way: values of a test process that live as long as it are never
//! dropped, and a killed one drops nothing at all.

use std::{
    io::{Read as _, Write as _},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

/// Waits for a line or for the end of its input, which the kernel closes with this process; takes the cluster down, and removes
/// the folder around it when nothing else is in there. After the end of its input it leaves a cluster that is to be kept.
const SCRIPT: &str = r#"
trap '' PIPE  # nobody may be there to read complaints
if ! read -r _ && [[ ${INQUEST_TEST_KEEP:-} == 1 ]]; then exit 0; fi
"$0" "$1" && { rmdir -- "${1%/*}" 2>/dev/null || true; }"#;

/// A process of its own that waits for the end of this one.
#[derive(Debug)]
pub(super) struct Guardian(Child);

impl Guardian {
    /// One for the cluster in this folder, which need not exist yet.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn of(home: &Path) -> Result<Self> {
        let mut command = Command::new("bash");
        command
            .args(["-c", SCRIPT])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("cluster/down"))
            .arg(home);
        // in a group of its own: what is typed to end the tests must not end it
        command.process_group(0);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        Ok(Self(command.spawn().context("cannot start a guardian")?))
    }

    /// Takes the cluster down now.
    ///
    /// # Errors
    /// When something is left.
    pub(super) fn end(mut self) -> Result<()> {
        if let Some(input) = &mut self.0.stdin {
            input.write_all(b"down\n")?;
        }
        self.finish()
    }

    fn finish(&mut self) -> Result<()> {
        let Some(input) = self.0.stdin.take() else {
            return Ok(());
        };
        drop(input);
        let mut words = String::new();
        if let Some(mut stderr) = self.0.stderr.take() {
            stderr.read_to_string(&mut words)?;
        }
        let status = self.0.wait().context("cannot wait for the guardian")?;
        ensure!(status.success(), "{status}: {words}");
        Ok(())
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        // What is left after a failure is swept by the runner.
        self.finish().unwrap_or_default();
    }
}
