//! The `inquest` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    inquest_cli::main()
}
