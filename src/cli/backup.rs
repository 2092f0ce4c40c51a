//! `tidegate backup` and `tidegate restore`: a copy of the data directory, and the way back.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::app::{self, BackedUp, Restored};
use crate::cli::ConfigArguments;
use crate::cli::exit::Failure;
use crate::cli::output::OutputArguments;

#[derive(Debug, Args)]
pub(super) struct BackupArguments {
    /// The directory to make; it must not be there
    #[arg(value_name = "BACKUP")]
    to: PathBuf,
    #[command(flatten)]
    config: ConfigArguments,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Debug, Args)]
pub(super) struct RestoreArguments {
    /// A directory that `tidegate backup` made
    #[arg(value_name = "BACKUP")]
    from: PathBuf,
    #[command(flatten)]
    config: ConfigArguments,
    /// Go back though events may have been acknowledged since the backup: they are lost
    #[arg(long)]
    accept_rollback: bool,
    #[command(flatten)]
    output: OutputArguments,
}

pub(super) fn back_up(arguments: &BackupArguments) -> Result<(), Failure> {
    check_name(&arguments.to)?;
    // Before any file is made: the copy holds the bodies of events.
    app::keep_private();
    let made = app::back_up(&arguments.config.load()?.config, &arguments.to)?;
    arguments.output.print(&made, |_| {
        let BackedUp { backup, was_running, contents, .. } = &made;
        let of = if *was_running { "of a running daemon" } else { "of a directory at rest" };
        format!("{}\nbacked up to {backup}, {of}\n", contents.report)
    })
}

pub(super) fn restore(arguments: &RestoreArguments) -> Result<(), Failure> {
    check_name(&arguments.from)?;
    // As above: the directory holds the bodies of events.
    app::keep_private();
    let config = arguments.config.load()?.config;
    let made = app::restore(&config, &arguments.from, arguments.accept_rollback)?;
    arguments.output.print(&made, |_| {
        let Restored { data_dir, epoch, owner_uid, contents, .. } = &made;
        format!("{}\nrestored to {data_dir}, epoch {epoch}, of user {owner_uid}\n", contents.report)
    })
}

/// What other programs take for standard input or output is most likely meant as that.
fn check_name(backup: &Path) -> Result<(), Failure> {
    if backup == Path::new("-") {
        return Err(Failure::usage(
            "a backup is a directory, no stream: name one, or write ./- for one named so",
        ));
    }
    Ok(())
}
