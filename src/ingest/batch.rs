//! From lines to answers, the same for streamed requests and for standard input.
//!
//! Must not know: where lines come from or where answers go.

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::ingest::answer;
use crate::ingest::decode::{Decoded, Decoder, MAX_EVENT_BYTES, OfRequest};
use crate::ingest::intake::{Intake, IntakeAnswer};
use crate::ingest::lines::{BatchLine, LineBlock, Splitter};
use crate::ingest::problems::shutting_down;
use crate::problem::{Problem, codes};
use crate::telemetry::{EventSource, defect};

/// Most events that are made durable together.
const BATCH_EVENTS: usize = 1000;
/// A batch takes no further line once it has this many bytes.
const BATCH_BYTES: usize = 1024 * 1024;

/// Collects the lines of a stream into batches.
pub(super) struct Feed {
    intake: Intake,
    splitter: Splitter,
    decoder: Decoder,
    batch: Batch,
}

/// Decoded lines that are not yet handed in.
#[derive(Default)]
pub(super) struct Batch {
    numbers: Vec<u64>,
    items: Vec<Result<Decoded, Box<Problem>>>,
    bytes: usize,
}

/// What was answered for a batch.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub lines: Bytes,
    pub accepted: u64,
    pub refused: u64,
}

impl Feed {
    /// `of_request` is what the request says about all lines, if they come with one.
    pub(super) fn new(intake: &Intake, of_request: OfRequest) -> Self {
        Self {
            splitter: Splitter::new(MAX_EVENT_BYTES),
            decoder: intake.decoder().within(of_request),
            batch: Batch::default(),
            intake: intake.clone(),
        }
    }

    pub(super) fn intake(&self) -> &Intake {
        &self.intake
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.splitter.push(bytes);
    }

    /// Decodes whole lines into the present batch until it is full; says whether any line was there.
    pub(super) fn gather(&mut self, end: bool) -> bool {
        let mut found = false;
        while !self.is_full() {
            // Neither difference underflows: the batch is below both bounds here.
            let most = BATCH_EVENTS - self.batch.items.len();
            let block = self.splitter.take(most, BATCH_BYTES - self.batch.bytes, end);
            // Blank lines make a block of bytes without lines: only one without both says that no whole line is left.
            if block.lines.is_empty() && block.bytes.is_empty() {
                break;
            }
            found |= !block.lines.is_empty();
            self.decode(&block);
        }
        defect!(unless self.batch.items.len() <= BATCH_EVENTS, "more lines in a batch than it may have");
        found
    }

    pub(super) const fn is_full(&self) -> bool {
        self.batch.items.len() >= BATCH_EVENTS || self.batch.bytes >= BATCH_BYTES
    }

    /// The present batch, unless it is empty.
    pub(super) fn batch(&mut self) -> Option<Batch> {
        (!self.batch.items.is_empty()).then(|| std::mem::take(&mut self.batch))
    }

    /// The last answer of a stream that is cut short: the line with which reading stopped.
    pub(super) fn cut(&self, problem: &Problem) -> Bytes {
        let mut out = Vec::new();
        answer::refused_line(&mut out, self.splitter.next_number(), problem);
        out.push(b'\n');
        Bytes::from(out)
    }

    fn decode(&mut self, block: &LineBlock) {
        // A stream may last for hours: each block is accepted at its own time, not at that of the request.
        self.decoder.tick(self.intake.clock());
        self.batch.bytes += block.bytes.len();
        for (number, line) in &block.lines {
            let item = match line {
                BatchLine::Text(place) => {
                    let text = block.bytes.get(place.clone());
                    defect!(unless text.is_some(), "a line outside its block");
                    self.decoder.decode(&block.bytes, text.unwrap_or_default(), None)
                }
                BatchLine::TooLong => Err(Box::new(line_too_long())),
            };
            self.batch.numbers.push(*number);
            self.batch.items.push(item);
        }
    }
}

impl Batch {
    /// Hands the batch in and writes its answers. Waits for room under way first, which is what makes the
    /// reader of the stream stop.
    pub(super) async fn hand_in(self, intake: Intake, source: EventSource) -> Answers {
        // The semaphore behind it is never closed, so that there is always an answer in the end.
        let Some(share) = intake.reserve_bytes(self.bytes).await else {
            defect!("no more room is given out for events under way");
            return Answers::default();
        };
        let verdicts: Vec<IntakeAnswer> = intake.take(self.items, source, share).await;
        defect!(unless verdicts.len() == self.numbers.len(), "lines and answers of different number");
        let accepted = verdicts.iter().filter(|verdict| verdict.is_ok()).count();
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        Answers {
            lines: answer::lines(self.numbers.into_iter().zip(&verdicts)),
            accepted: count(accepted),
            refused: count(verdicts.len() - accepted),
        }
    }
}

fn line_too_long() -> Problem {
    let detail = format!("the line is longer than the {MAX_EVENT_BYTES} bytes that one event may have");
    Problem::of(codes::PAYLOAD_TOO_LARGE, detail)
}

/// Why a stream ends before its producer ends it, if it does.
pub(super) async fn closed(closing: &CancellationToken) -> Problem {
    closing.cancelled().await;
    shutting_down()
}
