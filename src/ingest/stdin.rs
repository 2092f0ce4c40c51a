//! The door for pipes: events as lines from any reader, answers as lines to any writer, the same schema and
//! the same answers as the streamed HTTP door.
//!
//! Nothing more is read while the reader of the answers is slow, and memory is bounded by two batches. Answers that
//! cannot be written (no reader any more, a full disk) are dropped and counted; events are accepted all the same.
//!
//! Must not know: that the reader is standard input.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tracing::warn;

use crate::ingest::batch::{Feed, closed};
use crate::ingest::decode::OfRequest;
use crate::ingest::intake::Intake;
use crate::telemetry::{EventSource, defect, output};

const READ_BYTES: usize = 256 * 1024;

/// What became of the lines that came through the pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct StdinSummary {
    /// Events that are durable, repeated ones included.
    pub accepted: u64,
    /// Lines that were refused, each answered with its reason.
    pub refused: u64,
    /// Answers that could not be written.
    pub unanswered: u64,
    /// Whether the pipe was read to its end, and not left because tidegate is shutting down.
    pub complete: bool,
}

/// Reads events until the end of `input` and answers each line on `output`.
///
/// # Errors
/// Of reading; what was accepted until then stays accepted.
pub(crate) async fn serve<R, W>(intake: &Intake, mut input: R, output: W) -> std::io::Result<StdinSummary>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut feed = Feed::new(intake, OfRequest::default());
    let mut buffer = vec![0; READ_BYTES];
    let mut summary = StdinSummary::default();
    let mut output = AnswerWriter { output, is_broken: false };
    let mut at_end = false;
    loop {
        // All that was read is handed in before more is read, so that memory is bounded.
        while let Some(batch) = {
            feed.gather(at_end);
            feed.batch()
        } {
            let answers = batch.hand_in(intake.clone(), EventSource::Stdin).await;
            summary.accepted += answers.accepted;
            summary.refused += answers.refused;
            summary.unanswered += output.write(&answers.lines).await;
        }
        if at_end {
            summary.complete = true;
            return Ok(summary);
        }
        tokio::select! {
            // A shutdown goes before further input, which may never pause.
            biased;
            problem = closed(intake.closing()) => {
                summary.unanswered += output.write(&feed.cut(&problem)).await;
                return Ok(summary);
            }
            read = input.read(&mut buffer) => match read? {
                0 => at_end = true,
                read => {
                    defect!(unless read <= buffer.len(), "more was read than the buffer holds");
                    feed.push(buffer.get(..read).unwrap_or_default());
                }
            },
        }
    }
}

/// The writer of the answers, which may fail and later recover.
struct AnswerWriter<W> {
    output: W,
    /// The last write failed, so that a part of a line may stand in the output.
    is_broken: bool,
}

impl<W: AsyncWrite + Unpin> AnswerWriter<W> {
    /// Writes whole lines; returns how many could not be written.
    async fn write(&mut self, lines: &[u8]) -> u64 {
        let Err(error) = self.try_write(lines).await else {
            self.is_broken = false;
            return 0;
        };
        if !self.is_broken {
            warn!(%error, "answers to standard input are dropped: standard output cannot be written");
        }
        self.is_broken = true;
        let lost = lines.iter().filter(|byte| **byte == b'\n').count() as u64;
        output::answers_dropped(lost);
        lost
    }

    async fn try_write(&mut self, lines: &[u8]) -> std::io::Result<()> {
        if self.is_broken {
            // What a failed write may have left of a line must not run into the next one.
            self.output.write_all(b"\n").await?;
        }
        self.output.write_all(lines).await?;
        self.output.flush().await
    }
}
