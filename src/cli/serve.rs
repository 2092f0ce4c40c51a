//! `tidegate serve`: the daemon.

use std::convert::Infallible;
use std::pin::Pin;

use clap::Args;
use tracing::{error, info, warn};

use crate::app::{self, App, AppError, EventReport, FeedSummary, Running, ServiceManager};
use crate::cli::ConfigArguments;
use crate::cli::exit::Failure;
use crate::cli::signals::{Hangups, Signals};
use crate::config::{Config, ConfigError, LoadedConfig};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) config: ConfigArguments,
    /// Take events from standard input too, one JSON object per line; answers go to standard output
    #[arg(long)]
    stdin: bool,
    /// Go on with a data directory that was found to be an older copy: see store.epoch_file
    #[arg(long)]
    accept_rollback: bool,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    // Before the configuration is read: what changes meanwhile is announced by a signal that is not lost.
    let mut hangups = Hangups::new()?;
    let mut loaded = arguments.config.read_to_run()?;
    app::init_logging(&loaded.config)?;
    app::warn_of(&loaded);
    app::keep_private();
    let mut signals = Signals::new()?;
    if arguments.accept_rollback {
        let epoch = app::accept_rollback(&loaded.config)?;
        warn!(epoch, "the data directory is taken as it is, though it may be an older copy");
    }
    let manager = ServiceManager::from_environment();
    let running = App::build(&loaded.config).await?.spawn();
    // The book has them now, and a reload reads the file again.
    loaded.config.policies = Vec::new();
    let config = &loaded.config;
    info!(address = %running.addr(), data_dir = %config.store.data_dir.display(), "serving");
    manager.ready(format!("serving on {}", running.addr()));
    let mut ended = feeding_ended(&running, arguments.stdin);
    let mut beating = Box::pin(running.beat(&manager));
    let mut reloading = reloading(&running, &manager, &arguments.config, &loaded, &mut hangups);
    tokio::select! {
        failure = running.failed() => {
            error!(detail = %failure, "stopping after a failure");
            return Err(failure.into());
        }
        () = signals.next() => info!("asked to stop: finishing the calls under way"),
        never = &mut ended => match never {},
        never = &mut reloading => match never {},
        never = &mut beating => match never {},
    }
    // They borrow what is drained below.
    drop((ended, reloading, beating));
    manager.stopping("finishing the calls under way".to_owned());
    let report = stop(running, config, &mut signals).await?;
    info!(%report, "stopped");
    Ok(())
}

/// Drains; a second signal ends it at once.
pub(super) async fn stop(
    running: Running,
    config: &Config,
    signals: &mut Signals,
) -> Result<EventReport, Failure> {
    tokio::select! {
        report = running.drain(config.dispatch.shutdown_grace) => Ok(report?),
        () = signals.next() => Err(Failure::new("stopped at once by a second signal; nothing accepted is lost")),
    }
}

/// Goes on until it is dropped.
type Forever<'a> = Pin<Box<dyn Future<Output = Infallible> + 'a>>;

/// Reads the configuration again at every SIGHUP.
fn reloading<'a>(
    running: &'a Running,
    manager: &'a ServiceManager,
    arguments: &'a ConfigArguments,
    start: &'a LoadedConfig,
    hangups: &'a mut Hangups,
) -> Forever<'a> {
    Box::pin(async move {
        loop {
            hangups.next().await;
            info!("asked to read the configuration again");
            manager.reloading();
            let is_applied = match read_again(arguments.clone()).await {
                Some(read) => running.reload(start, read).await,
                None => {
                    error!("the configuration was not read: the thread for it ended");
                    false
                }
            };
            let note = if is_applied { "" } else { "; the last reload was refused, see the log" };
            manager.ready(format!("serving on {}{note}", running.addr()));
        }
    })
}

/// Reads on a thread of its own: a file on a slow disk must not delay anything else.
async fn read_again(arguments: ConfigArguments) -> Option<Result<LoadedConfig, ConfigError>> {
    tokio::task::spawn_blocking(move || arguments.read_to_run()).await.ok()
}

/// Feeds standard input, if asked to, and never returns: the end of the input does not end the daemon.
fn feeding_ended(running: &Running, stdin: bool) -> Forever<'_> {
    Box::pin(async move {
        if stdin {
            match running.feed(tokio::io::stdin(), tokio::io::stdout()).await {
                Ok(FeedSummary { accepted, refused, unanswered }) => {
                    info!(accepted, refused, unanswered, "standard input ended");
                }
                Err(AppError { detail, .. }) => error!(%detail, "standard input is no longer read"),
            }
        }
        std::future::pending().await
    })
}
