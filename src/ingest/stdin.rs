//! The door for pipes: events as lines from any reader, answers as lines to any writer, the same schema and
//! the same answers as the streamed HTTP door.
//!
//! Nothing more is read while answers cannot be written, and memory is bounded by two batches.
//!
//! Must not know: that the reader is standard input.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::ingest::batch::{Answers, Feed, closed};
use crate::ingest::intake::Intake;
use crate::telemetry::Source;

const READ_BYTES: usize = 256 * 1024;

/// What came through the pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Events that are durable, repeated ones included.
    pub accepted: u64,
    /// Lines that were refused, each answered with its reason.
    pub refused: u64,
    /// Whether the pipe was read to its end, and not left because tidegate is shutting down.
    pub complete: bool,
}

/// Reads events until the end of `input` and answers each line on `output`.
///
/// # Errors
/// Of reading or writing; what was accepted until then stays accepted.
pub async fn serve<R, W>(intake: &Intake, mut input: R, mut output: W) -> std::io::Result<Summary>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut feed = Feed::new(intake);
    let mut buffer = vec![0; READ_BYTES];
    let mut summary = Summary::default();
    let mut at_end = false;
    loop {
        while let Some(batch) = {
            feed.gather(at_end);
            feed.batch()
        } {
            let answers = batch.hand_in(intake.clone(), Source::Stdin).await;
            write(&mut output, &answers, &mut summary).await?;
        }
        if at_end {
            summary.complete = true;
            return Ok(summary);
        }
        tokio::select! {
            biased;
            problem = closed(intake.closing()) => {
                output.write_all(&feed.cut(&problem)).await?;
                output.flush().await?;
                return Ok(summary);
            }
            read = input.read(&mut buffer) => match read? {
                0 => at_end = true,
                // A reader fills at most its buffer.
                read => feed.push(buffer.get(..read).unwrap_or_default()),
            },
        }
    }
}

async fn write<W: AsyncWrite + Unpin>(
    output: &mut W,
    answers: &Answers,
    summary: &mut Summary,
) -> std::io::Result<()> {
    summary.accepted += answers.accepted;
    summary.refused += answers.refused;
    output.write_all(&answers.lines).await?;
    output.flush().await
}
