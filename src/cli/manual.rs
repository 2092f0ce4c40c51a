//! `tidegate manual`: prints a chapter of the manual.

use std::fmt::Write as _;

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::exit::Failure;
use crate::manual::{CHAPTERS, chapter};

#[derive(Debug, Args)]
#[command(after_help = "The daemon shows the same chapters at /docs.")]
pub(super) struct Arguments {
    /// The chapter to print; without it the chapters are listed
    #[arg(value_name = "CHAPTER", value_parser = PossibleValuesParser::new(CHAPTERS.iter().map(|chapter| chapter.name)))]
    chapter: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    match arguments.chapter.as_deref().and_then(chapter) {
        Some(chapter) => super::print(chapter.text),
        None => super::print(&contents()),
    }
}

/// One line for each chapter: its name and its title.
fn contents() -> String {
    let width = CHAPTERS.iter().map(|chapter| chapter.name.len()).max().unwrap_or_default();
    CHAPTERS.iter().fold(String::new(), |mut text, chapter| {
        // A string takes all that is written to it.
        writeln!(text, "{:width$}  {}", chapter.name, chapter.title()).unwrap_or_default();
        text
    })
}
