//! The answers of the daemon: what they say, and which of them are written to standard output. Those that cannot be
//! written stop nothing; the first error is kept.
//!
//! Must not know: what was sent.

use std::io::IsTerminal;

use serde::Deserialize;
use tokio::io::{AsyncWriteExt, BufWriter, Stdout};

use crate::cli::exit::Failure;
use crate::cli::print;
use crate::cli::progress::Progress;

/// What is needed of an answer line.
#[derive(Debug, Deserialize)]
pub(super) struct LineAnswer {
    /// Counted from 1 within the request.
    pub line: u64,
    pub status: u16,
    #[serde(default)]
    pub duplicate: bool,
    #[serde(default)]
    pub code: String,
    #[serde(default)]
    pub detail: String,
    pub retry_after_seconds: Option<u64>,
}

impl LineAnswer {
    pub(super) fn read(line: &[u8]) -> Result<Self, Failure> {
        serde_json::from_slice(line).map_err(|error| {
            Failure::new(format!("not an answer of tidegate: {error}: {}", String::from_utf8_lossy(line)))
        })
    }

    pub(super) const fn is_accepted(&self) -> bool {
        self.status < 300
    }
}

/// The answers on standard output, until it fails.
pub(super) struct AnswerPrinter {
    out: BufWriter<Stdout>,
    /// Whether acknowledgements are written as well as refusals.
    all: bool,
    is_terminal: bool,
    outcome: std::io::Result<()>,
}

impl AnswerPrinter {
    pub(super) fn new(all: bool) -> Self {
        let out = BufWriter::new(tokio::io::stdout());
        Self { out, all, is_terminal: std::io::stdout().is_terminal(), outcome: Ok(()) }
    }

    /// Writes an answer line if it is to be seen, and sends it on its way when it `is_last` of those at hand.
    pub(super) async fn show(&mut self, line: &[u8], well: bool, is_last: bool, progress: &Progress) {
        // The events are sent to the end, whether their answers can be shown or not.
        if self.outcome.is_ok() {
            self.outcome = self.write(line, self.all || !well, is_last, progress).await;
        }
    }

    async fn write(
        &mut self,
        line: &[u8],
        is_shown: bool,
        flush: bool,
        bar: &Progress,
    ) -> std::io::Result<()> {
        if is_shown && self.is_terminal {
            let text = String::from_utf8_lossy(line);
            // On a terminal the line and the bar share the screen.
            let written = bar.aside(|| print(&format!("{text}\n")));
            return written.map_err(|failure| std::io::Error::other(failure.to_string()));
        }
        if is_shown {
            self.out.write_all(line).await?;
            self.out.write_all(b"\n").await?;
        }
        if flush { self.out.flush().await } else { Ok(()) }
    }

    /// Writes what is left and says whether every line could be written.
    pub(super) async fn end(mut self) -> std::io::Result<()> {
        self.outcome?;
        self.out.flush().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_acknowledges_by_its_status() {
        let read = |text: &str| LineAnswer::read(text.as_bytes());
        assert!(read(r#"{"line":1,"status":202,"id":"x"}"#).expect("an answer").is_accepted());
        assert!(!read(r#"{"line":1,"status":422,"code":"unmatched"}"#).expect("an answer").is_accepted());
        assert!(read("<html>").is_err());
    }
}
