//! `tidegate serve`: the daemon.

use clap::Args;
use tracing::{error, info};

use crate::app::{self, App, AppError, Report, Running};
use crate::cli::ConfigArguments;
use crate::cli::exit::Failure;
use crate::cli::signals::Signals;
use crate::config::Config;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) config: ConfigArguments,
    /// Take events from standard input too, one JSON object per line; answers go to standard output
    #[arg(long)]
    stdin: bool,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let config = arguments.config.load()?.config;
    app::init_logging(&config)?;
    let mut signals = Signals::new()?;
    let running = App::build(&config).await?.spawn();
    info!(address = %running.addr(), data_dir = %config.store.data_dir.display(), "serving");
    let mut ended = feeding_ended(&running, arguments.stdin);
    tokio::select! {
        failure = running.failed() => {
            error!(detail = %failure, "stopping after a failure");
            return Err(failure.into());
        }
        () = signals.next() => info!("asked to stop: finishing the calls under way"),
        never = &mut ended => match never {},
    }
    drop(ended);
    let report = stop(running, &config, &mut signals).await?;
    info!(%report, "stopped");
    Ok(())
}

/// Drains; a second signal ends it at once.
pub(super) async fn stop(
    running: Running,
    config: &Config,
    signals: &mut Signals,
) -> Result<Report, Failure> {
    tokio::select! {
        report = running.drain(config.dispatch.shutdown_grace) => Ok(report?),
        () = signals.next() => Err(Failure::new("stopped at once by a second signal; nothing accepted is lost")),
    }
}

/// Feeds standard input, if asked to, and never returns: the end of the input does not end the daemon.
fn feeding_ended(
    running: &Running,
    stdin: bool,
) -> std::pin::Pin<Box<dyn Future<Output = std::convert::Infallible> + '_>> {
    Box::pin(async move {
        if stdin {
            match running.feed(tokio::io::stdin(), tokio::io::stdout()).await {
                Ok(fed) => info!(accepted = fed.accepted, refused = fed.refused, "standard input ended"),
                Err(AppError { detail, .. }) => error!(%detail, "standard input is no longer read"),
            }
        }
        std::future::pending().await
    })
}
