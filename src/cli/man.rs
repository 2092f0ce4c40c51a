//! `tidegate man`: the manual pages of the command line.

use std::path::PathBuf;

use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;

use crate::cli::exit::Failure;
use crate::cli::{Cli, print};

const EXAMPLES: &str = "\
Examples:
  tidegate man | man -l -
  tidegate man enqueue | man -l -
  tidegate man --dir /usr/local/share/man/man1";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The page of this subcommand, such as `store verify`, instead of the one of the program
    #[arg(value_name = "SUBCOMMAND", conflicts_with = "dir")]
    subcommand: Vec<String>,
    /// Write the pages of the program and of all subcommands to this directory, as tidegate.1, tidegate-enqueue.1 …
    #[arg(long, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if let Some(dir) = &arguments.dir {
        let failed = |error: std::io::Error| Failure::from(error).about(&dir.display().to_string());
        std::fs::create_dir_all(dir).map_err(failed)?;
        return clap_mangen::generate_to(Cli::command(), dir).map_err(failed);
    }
    print(&page(named(&arguments.subcommand)?)?)
}

/// The command that these words name below the program.
fn named(words: &[String]) -> Result<Command, Failure> {
    let mut whole = Cli::command();
    // Names and usages of subcommands are put together from those above.
    whole.build();
    let mut command = &whole;
    for word in words {
        let found = command.get_subcommands().find(|subcommand| subcommand.get_name() == word);
        command = found
            .ok_or_else(|| Failure::usage(format!("{} has no subcommand {word:?}", command.get_name())))?;
    }
    Ok(command.clone())
}

fn page(command: Command) -> Result<String, Failure> {
    let mut page = Vec::new();
    Man::new(command).render(&mut page)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn every_page_has_its_name_and_its_examples() {
        for (subcommand, name, text) in [
            ("", "tidegate", "Exit codes"),
            ("enqueue", "tidegate-enqueue", "events.ndjson"),
            ("store verify", "tidegate-store-verify", "Read everything"),
        ] {
            let page = page(named(&words(subcommand)).expect("a command")).expect("a page");
            let page = page.replace("\\-", "-");
            assert!(page.contains(&format!(".TH {name} 1")) && page.contains(text), "{page}");
        }
        assert!(named(&words("store colour")).is_err());
    }

    #[test]
    fn a_directory_gets_a_page_for_each_subcommand() {
        let dir = tempfile::tempdir().expect("a directory");
        let pages = dir.path().join("man1");
        run(&Arguments { subcommand: Vec::new(), dir: Some(pages.clone()) }).expect("written");
        assert!(pages.join("tidegate.1").exists());
        for subcommand in Cli::command().get_subcommands() {
            assert!(pages.join(format!("tidegate-{}.1", subcommand.get_name())).exists(), "{subcommand}");
        }
    }
}
