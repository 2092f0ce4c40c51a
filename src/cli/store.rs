//! `tidegate store`: look after a data directory that is not in use.

use clap::{Args, Subcommand};

use crate::app;
use crate::cli::exit::Failure;
use crate::cli::{ConfigArguments, print};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Read everything and say whether it adds up; changes nothing
    Verify(ConfigArguments),
    /// Make the index anew from the journal
    Rebuild(ConfigArguments),
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let findings = match &arguments.verb {
        Verb::Verify(config) => app::verify_store(&config.load()?.config)?,
        Verb::Rebuild(config) => app::rebuild_store(&config.load()?.config)?,
    };
    print(&format!("{}\n", findings.text.trim_end()))?;
    if findings.sound { Ok(()) } else { Err(Failure::new("the data directory does not add up, see above")) }
}
