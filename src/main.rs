//! The program: parse, run, one error line, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidegate::cli::main()
}
