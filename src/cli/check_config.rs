//! `tidegate check-config`: is the configuration valid?

use clap::Args;

use crate::cli::exit::Failure;
use crate::cli::{ConfigArguments, note, print};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigArguments,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    // With the files of secrets, as the daemon reads it.
    let loaded = arguments.config.read_to_run()?;
    crate::app::check(&loaded.config)?;
    for warning in loaded.warnings() {
        note(&format!("warning: {warning}"));
    }
    print("the configuration is valid\n")
}
