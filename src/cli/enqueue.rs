//! `tidegate enqueue`: a file or standard input to a running daemon.
//!
//! A file, or standard input with a resume id, is handed in under keys that are derived from what it is and the number
//! of the line: whatever is sent twice is accepted once, so that a pass can be killed, repeated and tried again.

mod keyed;
mod lines;
mod pass;
mod plain;
mod shown;
mod state;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio::io::AsyncReadExt;

use crate::cli::exit::Failure;
use crate::cli::priority::PriorityArgument;
use crate::cli::progress::Progress;
use crate::cli::signals::Signals;
use crate::cli::{ConfigArguments, note};
use crate::clock::Clock;
use keyed::Keys;
use lines::{Input, InputLines};
use pass::{EnqueuePass, Patience};
use shown::AnswerPrinter;
use state::{PassState, StateFile};

const EXAMPLES: &str = "\
Each line of the input is one event as a JSON object. Standard output has one answer per line (of a file on a terminal: \
those of refused events), standard error the progress and the sums. A line whose event has no idempotency_key is given \
one, derived from the file and the number of the line. The state file says up to which line all is answered; when the \
command was stopped, the same command goes on after it, within the 24 hours that keys live.

Examples:
  tidegate enqueue events.ndjson
  tidegate enqueue events.ndjson --resume-id second-time     hand the same file in once more
  producer | tidegate enqueue --quiet                        without keys: cannot be resumed
  producer | tidegate enqueue --resume-id 2030-01-31         can, when the same lines come

Exit codes: 0 all events accepted, 1 events refused or the command was stopped, 2 the state file is of \
another pass or too old, 69 no daemon answers or it takes nothing";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Events, one JSON object per line; standard input when missing or -
    file: Option<PathBuf>,
    /// `--listen` (listen.address) says where the daemon listens
    #[command(flatten)]
    config: ConfigArguments,
    /// Print only the answers to refused events
    #[arg(long)]
    quiet: bool,
    /// The priority of events that name none: how starts under a contended limit are divided
    #[arg(long, value_enum)]
    priority: Option<PriorityArgument>,
    /// Names this pass: makes standard input resumable, hands a file in once more under another name
    #[arg(long, value_name = "ID", value_parser = plain_name)]
    resume_id: Option<String>,
    /// State file [default: FILE.tidegate-enqueue, or ID.tidegate-enqueue for standard input]
    #[arg(long, value_name = "PATH")]
    state: Option<PathBuf>,
    /// Go on with a pass that began more than 24 hours ago: lines that were sent and not answered may be handed in twice
    #[arg(long)]
    accept_repeats: bool,
    /// Try again while the daemon cannot be reached, does not answer or takes nothing, for as long without progress
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    retry_for: u64,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let address = arguments.config.load()?.config.listen.address;
    let file = arguments.file.clone().filter(|file| file != Path::new("-"));
    match (file, arguments.resume_id.clone()) {
        (Some(file), id) => {
            let (input, total, keys) = opened(&file, id).await?;
            let of_file = || PathBuf::from(format!("{}.tidegate-enqueue", file.display()));
            let path = arguments.state.clone().unwrap_or_else(of_file);
            // On a terminal the acknowledgements of a large file would bury the refusals.
            let show_all = !(arguments.quiet || std::io::stdout().is_terminal());
            resumable(&arguments, address, InputLines::new(input, keys), &path, total, show_all).await
        }
        (None, Some(id)) => {
            let of_id = || PathBuf::from(format!("{id}.tidegate-enqueue"));
            let path = arguments.state.clone().unwrap_or_else(of_id);
            let lines = InputLines::new(Box::new(tokio::io::stdin()), Keys::of_input(&id));
            resumable(&arguments, address, lines, &path, 0, !arguments.quiet).await
        }
        (None, None) if arguments.state.is_some() || arguments.accept_repeats => {
            Err(Failure::usage("standard input has a state only with --resume-id ID"))
        }
        (None, None) => plain::run(address, arguments.quiet, arguments.priority).await,
    }
}

/// A file, as long as it is now, with the number of its lines and the keys of its events.
async fn opened(path: &Path, id: Option<String>) -> Result<(Input, u64, Keys), Failure> {
    let failed = |error: std::io::Error| Failure::from(error).about(&path.display().to_string());
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let metadata = file.metadata().await.map_err(failed)?;
    if !metadata.is_file() {
        return Err(Failure::usage(format!(
            "{} is no plain file: it could not be read again; hand it in as standard input with --resume-id ID",
            path.display()
        )));
    }
    let (path, length) = (path.to_owned(), metadata.len());
    // The file is read twice: its keys need the digest of the whole before the first line is sent.
    let summed = tokio::task::spawn_blocking({
        let path = path.clone();
        move || lines::sum(&path, length)
    });
    let summed = summed.await.map_err(|error| Failure::new(error.to_string()))?;
    let (total, digest) = summed.map_err(failed)?;
    // No more than was summed up: lines that are added meanwhile are not in the digest.
    Ok((Box::new(file.take(length)), total, Keys::of_file(&digest, id)))
}

/// Hands in what is not answered yet, and keeps a state.
async fn resumable(
    arguments: &Arguments,
    address: SocketAddr,
    mut lines: InputLines,
    path: &Path,
    total: u64,
    show_all: bool,
) -> Result<(), Failure> {
    let clock = Clock::system();
    let mut signals = Signals::new()?;
    let fresh = PassState::new(lines.keys(), &address.to_string(), clock.now());
    let mut state = StateFile::open(path, fresh, arguments.accept_repeats, clock.now())?;
    let from = state.now().answered_lines;
    if from > 0 {
        note(&format!("tidegate: going on after line {from}, as {} says", path.display()));
        lines.skip(from, state.now().digest.as_deref()).await?;
    }
    let progress = Progress::after("enqueued", from, total);
    let shown = AnswerPrinter::new(show_all);
    let patience = Patience::new(Duration::from_secs(arguments.retry_for), clock.clone());
    let started = clock.now();
    let mut pass = EnqueuePass::new(address, lines, &mut state, progress, shown, clock.clone());
    pass.priority = arguments.priority;
    let outcome = tokio::select! {
        // A signal ends the pass between two of its steps; the state is written below in either case.
        outcome = pass.run(patience) => Some(outcome),
        () = signals.next() => None,
    };
    let unwritten = pass.end().await;
    let done = state.now().clone();
    let seconds = clock.now().since(started).as_secs_f64();
    note(&format!("tidegate: {}", done.summary(from, seconds)));
    let go_on = || format!("the same command goes on after line {}", done.answered_lines);
    match outcome {
        None => return Err(Failure::new(format!("stopped; {}", go_on()))),
        // The same command would be refused again.
        Some(Err(failure)) if failure.is_usage() => return Err(failure),
        Some(Err(failure)) => return Err(failure.with(&go_on())),
        Some(Ok(())) => state.remove()?,
    }
    if done.refused > 0 {
        let refused = Failure::new(format!("events refused: {}; their answers say why", done.refused));
        return Err(refused.with("enqueue them, corrected, as a file of their own"));
    }
    unwritten.map_err(|error| {
        Failure::new(format!("all events were accepted, but answers could not be written: {error}"))
    })
}

/// It stands in keys and in the name of a file.
fn plain_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let is_plain = (1..=64).contains(&text.len()) && text.chars().all(plain) && !text.starts_with('.');
    let rule = "must have 1 to 64 letters, digits, _, - and ., and not begin with .";
    if is_plain { Ok(text.to_owned()) } else { Err(rule.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resume_id_is_a_plain_name() {
        for good in ["a", "2030-01-31", "A_b.c"] {
            assert_eq!(plain_name(good).as_deref(), Ok(good));
        }
        for bad in ["", "a/b", "..", ".a", "ä", "a b", &"x".repeat(65)] {
            assert!(plain_name(bad).is_err(), "{bad}");
        }
    }
}
