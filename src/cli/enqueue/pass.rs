//! One pass over an input: lines are sent ahead of their answers, at most a window of them, and sent again from the
//! first one without an answer when the connection breaks or the daemon takes nothing at present. Their keys make that
//! safe.
//!
//! Must not know: where lines come from, what a state file looks like.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::cli::client::{Client, silent};
use crate::cli::enqueue::lines::{InputLine, InputLines};
use crate::cli::enqueue::shown::{AnswerPrinter, LineAnswer};
use crate::cli::enqueue::state::StateFile;
use crate::cli::exit::Failure;
use crate::cli::note;
use crate::cli::priority::PriorityArgument;
use crate::cli::progress::Progress;
use crate::cli::words::text;
use crate::clock::{Clock, Timestamp};

/// Lines that are sent and not answered have about this many bytes together.
const WINDOW_BYTES: usize = 4 * 1024 * 1024;
/// Between two writes of the state.
const SAVE_EVERY: Duration = Duration::from_millis(200);
/// The longest wait for an answer while one is due: as long as the pass is tried again, within these bounds.
const MIN_WAIT: Duration = Duration::from_secs(5);
const MAX_WAIT: Duration = Duration::from_secs(30);
const MIN_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(30);

pub(super) struct EnqueuePass<'s> {
    address: SocketAddr,
    lines: InputLines,
    is_ended: bool,
    /// Sent or to be sent, and not answered.
    window: VecDeque<InputLine>,
    window_bytes: usize,
    state: &'s mut StateFile,
    /// Accepted, repeated and refused lines since the state was reached.
    since: (u64, u64, u64),
    /// Number of answers so far: each of them is progress.
    answered: u64,
    /// The last answer, or a later moment at which the first line came that waits for one.
    due_since: Timestamp,
    saved_at: Timestamp,
    progress: Progress,
    shown: AnswerPrinter,
    clock: Clock,
    /// The priority of events that name none.
    pub(super) priority: Option<PriorityArgument>,
}

/// Why a stream of lines ended before its end.
enum Stop {
    /// It will end the same way again.
    Failed(Failure),
    /// It may go well later, not before this many seconds where the daemon says so.
    Passing { why: String, retry_after: Option<u64> },
    /// The input paused and the daemon did not wait.
    Paused,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        if failure.is_passing() {
            Self::Passing { why: failure.to_string(), retry_after: None }
        } else {
            Self::Failed(failure)
        }
    }
}

impl<'s> EnqueuePass<'s> {
    pub(super) fn new(
        address: SocketAddr,
        lines: InputLines,
        state: &'s mut StateFile,
        progress: Progress,
        shown: AnswerPrinter,
        clock: Clock,
    ) -> Self {
        Self {
            address,
            lines,
            priority: None,
            is_ended: false,
            window: VecDeque::new(),
            window_bytes: 0,
            state,
            since: (0, 0, 0),
            answered: 0,
            due_since: clock.now(),
            saved_at: clock.now(),
            progress,
            shown,
            clock,
        }
    }

    /// Returns when every line is answered.
    ///
    /// # Errors
    /// [`Failure`] of the input or the state file, of a daemon that refuses the whole, or when patience is over.
    pub(super) async fn run(&mut self, mut patience: Patience) -> Result<(), Failure> {
        loop {
            let before = self.answered;
            let wait = patience.limit.clamp(MIN_WAIT, MAX_WAIT);
            let stop = match self.stream(wait).await {
                // Keys name the digest of the file: the lines of a changed one went out under keys of the old.
                Ok(()) if self.lines.is_unchanged() => return Ok(()),
                Ok(()) => return Err(Failure::new("the file was changed while it was read")),
                Err(stop) => stop,
            };
            if self.answered > before {
                patience.renew();
            }
            match stop {
                Stop::Failed(failure) => return Err(failure),
                // Nothing failed: the next stream begins when the input goes on.
                Stop::Paused => {}
                Stop::Passing { why, retry_after } => {
                    let Some(pause) = patience.next(self.due_since, retry_after) else {
                        let limit = patience.limit.as_secs();
                        return Err(Failure::passing(format!(
                            "{why}; gave up after {limit} s without progress"
                        )));
                    };
                    let (line, seconds) = (self.next_line(), pause.as_secs_f64());
                    note(&format!("tidegate: {why}; trying again from line {line} in {seconds:.1} s"));
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Saves the state and ends the output; says whether every answer could be written.
    pub(super) async fn end(self) -> std::io::Result<()> {
        self.progress.done();
        if let Err(failure) = self.state.write() {
            note(&format!("tidegate: {failure}"));
        }
        self.shown.end().await
    }

    fn next_line(&self) -> u64 {
        self.window.front().map_or(self.state.now().answered_lines + 1, |line| line.number)
    }

    /// Sends what is not answered over one connection until there is no more. A due answer may take `wait`.
    async fn stream(&mut self, wait: Duration) -> Result<(), Stop> {
        if self.window.is_empty() {
            // A connection without lines would be ended while the input pauses.
            self.read().await?;
        }
        // The input had no further line: nothing is asked of the daemon.
        if self.window.is_empty() && self.is_ended {
            return Ok(());
        }
        let mut client = Client::connect(self.address).await?;
        // A daemon can be started anew on another directory, which has none of the lines.
        let status = tokio::time::timeout(wait, client.get("/v1/status")).await;
        let status = status.map_err(|_| silent(self.address, wait))??;
        // Before any line is sent: another directory would accept answered lines once more.
        self.state.meet(text(&status, "/store/id"))?;
        let (sender, receiver) = unbounded_channel();
        // The receiver is there as long as the connection; that it broke is said by the answers.
        self.window.iter().for_each(|line| drop(sender.send(line.bytes.clone())));
        // No answer is due before this: lines that are sent again have been waiting since an earlier connection.
        let begun = self.clock.now();
        let answers = tokio::time::timeout(wait, client.enqueue(body(receiver), self.priority)).await;
        let mut answers = answers.map_err(|_| silent(self.address, wait))??;
        let (mut sender, mut count) = (Some(sender), 0);
        loop {
            if self.is_ended {
                // Without a sender the body ends, and the daemon answers what it has got to the end.
                sender = None;
            }
            let waited = self.clock.now().since(self.due_since.max(begun));
            tokio::select! {
                // Answers go before new lines: a stream that ends is noticed before more is put into it.
                biased;
                answer = answers.next() => match answer? {
                    Some(answer) => {
                        count += 1;
                        self.answered(&answer, count, !answers.ready()).await?;
                    }
                    None if self.is_ended && self.window.is_empty() => return Ok(()),
                    None => {
                        let why = "the daemon ended its answers before the end of the lines".to_owned();
                        return Err(Stop::Passing { why, retry_after: None });
                    }
                },
                lines = self.lines.next(), if !self.is_ended && self.window_bytes < WINDOW_BYTES => {
                    let lines = self.take_in(lines)?;
                    debug_assert!(lines <= self.window.len(), "lines that were taken in and are not in the window");
                    let sent = self.window.iter().skip(self.window.len() - lines);
                    if let Some(sender) = &sender {
                        sent.for_each(|line| drop(sender.send(line.bytes.clone())));
                    }
                }
                () = tokio::time::sleep(wait.saturating_sub(waited)), if !self.window.is_empty() => {
                    return Err(silent(self.address, wait).into());
                }
            }
        }
    }

    async fn read(&mut self) -> Result<(), Stop> {
        let lines = self.lines.next().await;
        self.take_in(lines).map(drop)
    }

    /// Puts lines at the end of the window; returns how many.
    fn take_in(&mut self, lines: std::io::Result<Option<Vec<InputLine>>>) -> Result<usize, Stop> {
        let lines =
            lines.map_err(|error| Stop::Failed(Failure::from(error).about("the input cannot be read")))?;
        self.is_ended = lines.is_none();
        let lines = lines.unwrap_or_default();
        let count = lines.len();
        if self.window.is_empty() {
            self.due_since = self.clock.now();
        }
        self.window_bytes += lines.iter().map(|line| line.bytes.len()).sum::<usize>();
        self.window.extend(lines);
        Ok(count)
    }

    /// One answer, the `count`th of its stream.
    async fn answered(&mut self, text: &Bytes, count: u64, is_last: bool) -> Result<(), Stop> {
        let answer = LineAnswer::read(text)?;
        if let Some(stop) = stopping(&answer, self.window.is_empty()) {
            return Err(stop);
        }
        // Answers come in the order of the lines. Any other number would give a line the answer to another one.
        let line = self.window.pop_front().filter(|_| answer.line == count).ok_or_else(|| {
            let number = answer.line;
            Failure::new(format!(
                "the daemon has answered line {number} of the stream where line {count} was due"
            ))
        })?;
        debug_assert!(line.bytes.len() <= self.window_bytes, "a line that the window has not counted");
        self.window_bytes -= line.bytes.len();
        self.answered += 1;
        self.due_since = self.clock.now();
        match (answer.is_accepted(), answer.duplicate) {
            (true, is_repeated) => {
                self.since.0 += 1;
                self.since.1 += u64::from(is_repeated);
            }
            (false, _) => self.since.2 += 1,
        }
        let text = renumbered(text, line.number);
        self.shown.show(&text, answer.is_accepted(), is_last, &self.progress).await;
        if let Some(mark) = &line.mark {
            self.state.change().reach(mark.line, &mark.digest, std::mem::take(&mut self.since));
            let now = self.clock.now();
            if now.since(self.saved_at) >= SAVE_EVERY {
                self.state.write()?;
                self.saved_at = now;
            }
        }
        self.progress.set(line.number);
        Ok(())
    }
}

/// What an answer says about the stream instead of about its line.
fn stopping(answer: &LineAnswer, is_all_answered: bool) -> Option<Stop> {
    match (answer.status, answer.code.as_str()) {
        // The daemon has waited for an input that pauses, and every line that was sent has its answer.
        (408, _) if is_all_answered => Some(Stop::Paused),
        // Of an internal failure it is not known whether the line was kept: its key makes it safe to send it again.
        (408 | 500.., _) | (400, "incomplete_body") => {
            let LineAnswer { status, code, detail, retry_after_seconds, .. } = answer;
            let why = format!("{status} {code}: {detail}");
            Some(Stop::Passing { why, retry_after: *retry_after_seconds })
        }
        _ => None,
    }
}

/// The answer with the number that its line has in the input.
fn renumbered(text: &[u8], number: u64) -> Vec<u8> {
    // The daemon writes this member first; any other text is shown as it came.
    let rest = text.strip_prefix(b"{\"line\":").unwrap_or_default();
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match rest.get(digits..) {
        Some(rest) if digits > 0 => [format!("{{\"line\":{number}").as_bytes(), rest].concat(),
        _ => text.to_vec(),
    }
}

/// Lines as they are put in, until there are no more.
fn body(
    receiver: UnboundedReceiver<Bytes>,
) -> impl Stream<Item = std::io::Result<Bytes>> + Send + Sync + 'static {
    futures_util::stream::unfold(receiver, async |mut receiver| Some((Ok(receiver.recv().await?), receiver)))
}

/// How long to go on trying, and with which pauses.
pub(super) struct Patience {
    /// Time without progress after which the pass is given up.
    limit: Duration,
    clock: Clock,
    pause: Duration,
}

impl Patience {
    pub(super) fn new(limit: Duration, clock: Clock) -> Self {
        Self { limit, clock, pause: MIN_PAUSE }
    }

    /// There was progress: the pauses begin small again.
    fn renew(&mut self) {
        self.pause = MIN_PAUSE;
    }

    /// How long to wait now, without an answer `since` then; `None` when it is over.
    fn next(&mut self, since: Timestamp, retry_after: Option<u64>) -> Option<Duration> {
        // At most the longest pause, even where the daemon names a later time.
        let wanted = retry_after.map_or(Duration::ZERO, Duration::from_secs).min(MAX_PAUSE).max(self.pause);
        self.pause = (self.pause * 2).min(MAX_PAUSE);
        let left = self.limit.saturating_sub(self.clock.now().since(since));
        (!left.is_zero()).then(|| wanted.min(left))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_at_the_limit() {
        let clock = Clock::manual(Timestamp::from_millis(1_900_000_000_000));
        let mut patience = Patience::new(Duration::from_secs(60), clock.clone());
        let (begun, mut waited) = (clock.now(), Vec::new());
        while let Some(pause) = patience.next(begun, None) {
            waited.push(pause.as_millis());
            clock.advance(pause);
        }
        assert_eq!(waited[..4], [250, 500, 1000, 2000]);
        assert_eq!(waited.iter().sum::<u128>(), 60_000);
        patience.renew();
        assert_eq!(patience.next(clock.now(), Some(7)), Some(Duration::from_secs(7)));
        assert_eq!(Patience::new(Duration::ZERO, clock.clone()).next(clock.now(), None), None);
    }

    #[test]
    fn answers_say_what_concerns_the_stream() {
        let answer = |status: u16, code: &str| {
            let text = format!(r#"{{"line":1,"status":{status},"code":"{code}"}}"#);
            LineAnswer::read(text.as_bytes()).expect("an answer")
        };
        assert!(matches!(stopping(&answer(503, "overloaded"), true), Some(Stop::Passing { .. })));
        assert!(matches!(stopping(&answer(500, "internal"), true), Some(Stop::Passing { .. })), "not known");
        assert!(matches!(stopping(&answer(408, "body_timeout"), false), Some(Stop::Passing { .. })));
        assert!(matches!(stopping(&answer(408, "body_timeout"), true), Some(Stop::Paused)));
        assert!(matches!(stopping(&answer(400, "incomplete_body"), false), Some(Stop::Passing { .. })));
        for (status, code) in [(202, ""), (400, "invalid_json"), (422, "unmatched"), (429, "over_pace")] {
            assert!(stopping(&answer(status, code), false).is_none(), "{status}");
        }
    }

    #[test]
    fn answers_are_shown_with_the_number_of_the_input() {
        assert_eq!(renumbered(br#"{"line":3,"status":202}"#, 1003), br#"{"line":1003,"status":202}"#);
        assert_eq!(renumbered(b"{}", 5), b"{}");
    }
}
