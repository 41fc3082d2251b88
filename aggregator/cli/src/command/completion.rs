//! `inquest completion SHELL`.

use clap_complete::Shell;

use crate::{
    cli,
    error::{CliError, Status},
    output,
};

/// Name that the script completes.
const NAME: &str = "inquest";

/// Writes the script.
pub(super) fn run(shell: Shell) -> Result<Status, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli::grammar(NAME), NAME, &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(Status::Success)
}
