//! `tidegate store`: look after a data directory that is not in use.

use clap::{Args, Subcommand};

use crate::app::{self, BookSource};
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
    /// Accept the policy book as it is, or another one: what waits stays, under its policies
    AdoptBook(AdoptArguments),
}

#[derive(Debug, Args)]
struct AdoptArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// The version before the present one
    #[arg(long, conflicts_with = "empty")]
    previous: bool,
    /// A book without policies: those of the configuration file become active at the next start
    #[arg(long)]
    empty: bool,
}

impl AdoptArguments {
    const fn source(&self) -> BookSource {
        match (self.previous, self.empty) {
            (true, _) => BookSource::Previous,
            (false, true) => BookSource::Empty,
            (false, false) => BookSource::Present,
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let findings = match &arguments.verb {
        Verb::Verify(config) => app::verify_store(&config.load()?.config)?,
        Verb::Rebuild(config) => app::rebuild_store(&config.load()?.config)?,
        Verb::AdoptBook(adopt) => app::adopt_book(&adopt.config.load()?.config, adopt.source())?,
    };
    print(&format!("{}\n", findings.text.trim_end()))?;
    if findings.sound { Ok(()) } else { Err(Failure::new("the data directory does not add up, see above")) }
}
