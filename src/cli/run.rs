//! `tidegate run`: standard input to the queue, the queue to its endpoints, a report, the end.

use std::time::Duration;

use clap::Args;

use crate::app::{self, App, AppError, AppErrorKind, EventReport, FeedSummary, Running};
use crate::cli::exit::Failure;
use crate::cli::progress::Progress;
use crate::cli::signals::Signals;
use crate::cli::{ConfigArguments, note, serve};

/// How often the progress is drawn anew.
const REDRAW: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigArguments,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let loaded = arguments.config.read_to_run()?;
    app::init_logging(&loaded.config)?;
    app::warn_of(&loaded);
    let config = loaded.config;
    app::keep_private();
    let mut signals = Signals::new()?;
    let app = App::build(&config).await?;
    if let Some(reason) = app.held() {
        // Nothing would ever end.
        let detail = format!("the store is held: {reason}");
        return Err(AppError { kind: AppErrorKind::Damaged, detail }.into());
    }
    let running = app.spawn();
    let outcome = tokio::select! {
        fed = Box::pin(feed_and_deliver(&running)) => Some(fed),
        failure = running.failed() => return Err(failure.into()),
        () = signals.next() => None,
    };
    let report = serve::stop(running, &config, &mut signals).await?;
    note(&format!("tidegate: {report}"));
    verdict(outcome, report)
}

/// Everything accepted has reached its end when this returns.
async fn feed_and_deliver(running: &Running) -> Result<FeedSummary, Failure> {
    let fed = running.feed(tokio::io::stdin(), tokio::io::stdout()).await?;
    // Events may have ended while lines were still read: they belong to the total as well.
    let start = running.report();
    let progress = Progress::new("delivering", start.waiting + ended(start));
    let mut redraw = tokio::time::interval(REDRAW);
    let mut idle = Box::pin(running.idle());
    loop {
        tokio::select! {
            () = &mut idle => break,
            _ = redraw.tick() => progress.set(ended(running.report())),
        }
    }
    progress.done();
    Ok(fed)
}

fn ended(report: EventReport) -> u64 {
    report.delivered + report.dead + report.expired + report.dropped
}

/// Success means that everything was accepted and delivered.
fn verdict(outcome: Option<Result<FeedSummary, Failure>>, report: EventReport) -> Result<(), Failure> {
    let Some(fed) = outcome else {
        let waiting = report.waiting;
        return Err(Failure::new(format!("interrupted: {waiting} events wait in the data directory")));
    };
    let fed = fed?;
    let undelivered = report.dead + report.expired + report.dropped + report.waiting;
    if fed.refused > 0 || undelivered > 0 {
        let refused = fed.refused;
        return Err(Failure::new(format!(
            "events refused: {refused}, accepted but not delivered: {undelivered}"
        )));
    }
    if fed.unanswered > 0 {
        let unanswered = fed.unanswered;
        return Err(Failure::new(format!(
            "all events were delivered, but up to {unanswered} answers could not be written to standard output"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_delivery_is_well() {
        let whole = FeedSummary { accepted: 2, refused: 0, unanswered: 0 };
        let all = EventReport { delivered: 2, ..EventReport::default() };
        assert!(verdict(Some(Ok(whole)), all).is_ok());
        assert!(verdict(Some(Ok(FeedSummary { refused: 1, ..whole })), all).is_err());
        assert!(verdict(Some(Ok(whole)), EventReport { dead: 1, ..all }).is_err());
        assert!(verdict(Some(Ok(FeedSummary { unanswered: 1, ..whole })), all).is_err());
        assert!(verdict(None, all).is_err());
        assert!(verdict(Some(Err(Failure::new("broken"))), all).is_err());
    }
}
