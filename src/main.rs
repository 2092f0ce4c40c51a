//! The program: parse, run, one error line, exit code.

fn main() {}
