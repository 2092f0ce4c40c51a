//! `tidegate print-config`: what applies, and where it comes from.

use clap::Args;

use crate::cli::exit::Failure;
use crate::cli::{ConfigArguments, print};
use crate::config::DEFAULTS;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Print the commented defaults instead: a start for a tidegate.toml of one's own
    #[arg(long)]
    defaults: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.defaults {
        return print(DEFAULTS);
    }
    print(&arguments.config.load()?.to_toml())
}
