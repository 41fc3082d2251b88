//! The program behind `tests/bench`.

use std::process::ExitCode;

fn main() -> ExitCode {
    inquest_tests::bench::main()
}
