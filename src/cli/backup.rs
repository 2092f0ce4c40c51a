//! `tidegate backup` and `tidegate restore`: a copy of the data directory, and the way back.

use std::path::PathBuf;

use clap::Args;

use crate::app;
use crate::cli::exit::Failure;
use crate::cli::{ConfigArguments, print};

#[derive(Debug, Args)]
pub(super) struct BackupArguments {
    /// The directory to make; it must not be there
    #[arg(value_name = "BACKUP")]
    to: PathBuf,
    #[command(flatten)]
    config: ConfigArguments,
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
}

pub(super) fn back_up(arguments: &BackupArguments) -> Result<(), Failure> {
    app::keep_private();
    let findings = app::back_up(&arguments.config.load()?.config, &arguments.to)?;
    print(&format!("{}\n", findings.text))
}

pub(super) fn restore(arguments: &RestoreArguments) -> Result<(), Failure> {
    app::keep_private();
    let config = arguments.config.load()?.config;
    let findings = app::restore(&config, &arguments.from, arguments.accept_rollback)?;
    print(&format!("{}\n", findings.text))
}
