//! Progress on standard error: a bar on a terminal, a plain line every few seconds otherwise.

use std::cell::Cell;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::note;
use crate::clock::{Clock, Timestamp};

/// Time between two plain lines, without a terminal.
const QUIET: Duration = Duration::from_secs(5);

/// Progress towards a known or unknown total.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    what: &'static str,
    total: u64,
    clock: Clock,
    said_at: Cell<Timestamp>,
}

impl Progress {
    /// Towards `total`; 0 means that it is not known.
    pub(super) fn new(what: &'static str, total: u64) -> Self {
        let clock = Clock::system();
        let said_at = Cell::new(clock.now());
        // The bar goes to standard error, wherever standard output leads.
        let bar = std::io::stderr().is_terminal().then(|| bar(what, total));
        Self { bar, what, total, clock, said_at }
    }

    /// The same where the first `done` are done already.
    pub(super) fn after(what: &'static str, done: u64, total: u64) -> Self {
        let progress = Self::new(what, total);
        if let Some(bar) = &progress.bar {
            bar.set_position(done);
            // What was done before says nothing about the pace of this run.
            bar.reset_eta();
        }
        progress
    }

    /// Writes something while the bar is out of the way.
    pub(super) fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Shows that `count` are done so far.
    pub(super) fn set(&self, count: u64) {
        match &self.bar {
            Some(bar) => bar.set_position(count),
            None if self.clock.now().since(self.said_at.get()) >= QUIET => {
                self.said_at.set(self.clock.now());
                let of = if self.total == 0 { String::new() } else { format!(" of {}", self.total) };
                note(&format!("{}: {count}{of}", self.what));
            }
            None => {}
        }
    }

    /// Takes the bar away, so that no line of it stays.
    pub(super) fn done(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(what: &'static str, total: u64) -> ProgressBar {
    let (bar, template) = if total == 0 {
        (ProgressBar::new_spinner(), "{spinner} {msg} {human_pos}  {per_sec}")
    } else {
        (ProgressBar::new(total), "{msg} {wide_bar} {human_pos}/{human_len}  {per_sec}  {eta}")
    };
    // The templates are constants; a bar without style still counts.
    let bar = match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    };
    bar.with_message(what)
}
