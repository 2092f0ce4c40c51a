//! Outputs that never stop the threads that write to them: standard error, and journald.
//!
//! A thread of its own writes what waits in a bounded queue. A line that finds the queue full, because nobody reads the
//! other end of a pipe, or that cannot be written, because the reader has gone or the disk is full, is dropped and
//! counted. When lines can be written again, one of them says how many were dropped.
//!
//! Must not know: what a line says.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tracing::warn;

use crate::telemetry::journald::{self, JournaldSink};

/// Bytes of lines that wait to be written; what comes on top is dropped.
const MAX_WAITING_BYTES: usize = 1024 * 1024;

/// Answers on standard output that were dropped since the process began.
static ANSWERS_DROPPED: AtomicU64 = AtomicU64::new(0);
/// Set once lines go to journald.
static JOURNAL: OnceLock<Output> = OnceLock::new();

/// What was dropped since the process began, by output: `(stderr, stdout)`, in lines.
#[must_use]
pub(crate) fn dropped_lines() -> (u64, u64) {
    let lines = stderr().dropped() + JOURNAL.get().map_or(0, Output::dropped);
    (lines, ANSWERS_DROPPED.load(Ordering::Relaxed))
}

/// Counts answers to standard input that could not be written to standard output.
pub(crate) fn answers_dropped(lines: u64) {
    ANSWERS_DROPPED.fetch_add(lines, Ordering::Relaxed);
}

/// The standard error of the process.
#[must_use]
pub(crate) fn stderr() -> &'static Output {
    static STDERR: OnceLock<Output> = OnceLock::new();
    STDERR.get_or_init(|| Output::onto(io::stderr()))
}

/// The journal of the system; lines that it does not take go to standard error.
pub(super) fn journal() -> &'static Output {
    JOURNAL.get_or_init(|| Output::with(JournaldSink::at(Path::new(journald::SOCKET), io::stderr())))
}

/// Waits until the lines so far are written or dropped, `at_most` this long for each output.
pub(crate) fn flush(at_most: Duration) {
    if let Some(journal) = JOURNAL.get() {
        journal.flush(at_most);
    }
    stderr().flush(at_most);
}

/// Where the lines of an output go.
pub(super) trait Sink: Send + 'static {
    /// Writes a line with its end. One that fails is lost and must not spoil the next one.
    fn put(&mut self, line: &[u8]) -> io::Result<()>;
}

/// Lines one after the other, as on a pipe or a terminal.
pub(super) struct Stream<W> {
    sink: W,
    is_cut: bool,
}

impl<W> Stream<W> {
    pub(super) fn onto(sink: W) -> Self {
        Self { sink, is_cut: false }
    }
}

impl<W: Write + Send + 'static> Sink for Stream<W> {
    fn put(&mut self, line: &[u8]) -> io::Result<()> {
        // What a failed write may have left of a line must not run into the next one.
        let end: &[u8] = if self.is_cut { b"\n" } else { b"" };
        let written = self.sink.write_all(end).and_then(|()| self.sink.write_all(line));
        let written = written.and_then(|()| self.sink.flush());
        self.is_cut = written.is_err();
        written
    }
}

/// An output with a bounded queue in front of it. Cheap to clone.
#[derive(Clone)]
pub struct Output {
    queue: Arc<LineQueue>,
    dropped: Arc<AtomicU64>,
}

#[derive(Default)]
struct LineQueue {
    state: Mutex<LineQueueState>,
    changed: Condvar,
}

#[derive(Default)]
struct LineQueueState {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// A line was taken out and is not written yet.
    is_writing: bool,
    /// Where each thread writes its lines itself, since the system had no thread to spare that takes them out.
    unattended: Option<Box<dyn Sink>>,
}

impl Output {
    /// Writes to `sink` on a thread of its own, which ends with the process. If the system has no thread to spare, each
    /// thread writes its lines itself.
    pub fn onto(sink: impl Write + Send + 'static) -> Self {
        Self::with(Stream::onto(sink))
    }

    /// The same for lines that are written in another way.
    pub(super) fn with(sink: impl Sink) -> Self {
        let output = Self { queue: Arc::default(), dropped: Arc::default() };
        let (queue, dropped) = (Arc::clone(&output.queue), Arc::clone(&output.dropped));
        // The writing thread takes it; without one it comes back.
        let sink: Arc<Mutex<Option<Box<dyn Sink>>>> = Arc::new(Mutex::new(Some(Box::new(sink))));
        let take = |sink: &Mutex<Option<_>>| sink.lock().unwrap_or_else(PoisonError::into_inner).take();
        let offered = Arc::clone(&sink);
        let thread = std::thread::Builder::new().name("log".to_owned());
        let started = thread.spawn(move || {
            if let Some(sink) = take(&offered) {
                write_all(&queue, &dropped, sink);
            }
        });
        // Lines are then written by the threads that have them: slower, but not lost.
        if started.is_err() {
            output.queue.lock().unattended = take(&sink);
        }
        output
    }

    /// Lines that were dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Takes a line with its end, or drops it. Never waits for the output.
    pub fn line(&self, line: &[u8]) {
        let mut state = self.queue.lock();
        if let Some(sink) = &mut state.unattended {
            self.dropped.fetch_add(u64::from(sink.put(line).is_err()), Ordering::Relaxed);
            return;
        }
        if state.bytes.saturating_add(line.len()) > MAX_WAITING_BYTES {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line.to_vec());
        drop(state);
        self.queue.changed.notify_all();
    }

    /// Waits until what was taken is written or dropped, `at_most` this long.
    pub fn flush(&self, at_most: Duration) {
        let is_busy = |state: &mut LineQueueState| state.is_writing || !state.lines.is_empty();
        let waited = self.queue.changed.wait_timeout_while(self.queue.lock(), at_most, is_busy);
        drop(waited);
    }
}

impl LineQueue {
    fn lock(&self) -> MutexGuard<'_, LineQueueState> {
        // Nothing that holds the lock can leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next line, once there is one.
    fn take(&self) -> Vec<u8> {
        let mut state = self.lock();
        loop {
            if let Some(line) = state.lines.pop_front() {
                state.bytes -= line.len();
                state.is_writing = true;
                return line;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn written(&self) {
        self.lock().is_writing = false;
        self.changed.notify_all();
    }
}

/// Writes line by line, for ever.
fn write_all(queue: &LineQueue, dropped: &AtomicU64, mut sink: Box<dyn Sink>) {
    let mut reported = 0;
    loop {
        let line = queue.take();
        let is_written = sink.put(&line).is_ok();
        if !is_written {
            dropped.fetch_add(1, Ordering::Relaxed);
        }
        queue.written();
        let total = dropped.load(Ordering::Relaxed);
        if is_written && total > reported {
            // Through the log itself, so that it stands where the lines are missing. Should it be dropped as well, the
            // next report counts it.
            warn!(lines = total - reported, "log lines were dropped: their output could not be written");
            reported = total;
        }
    }
}

impl Write for &Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// Fails, blocks or writes as the test says, line by line.
    struct Scripted {
        say: mpsc::Receiver<bool>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if bytes == b"\n" {
                return Ok(1);
            }
            match self.say.recv() {
                Ok(true) => {
                    self.written.lock().expect("not poisoned").extend_from_slice(bytes);
                    Ok(bytes.len())
                }
                _ => Err(io::ErrorKind::StorageFull.into()),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn scripted() -> (Output, mpsc::Sender<bool>, Arc<Mutex<Vec<u8>>>) {
        let (allow, say) = mpsc::channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        (Output::onto(Scripted { say, written: written.clone() }), allow, written)
    }

    #[test]
    fn lines_come_out_whole_and_in_order() {
        let (output, allow, written) = scripted();
        for number in 0..100 {
            output.line(format!("{number}\n").as_bytes());
            allow.send(true).expect("the writer lives");
        }
        output.flush(LONG);
        let text = String::from_utf8(written.lock().expect("not poisoned").clone()).expect("text");
        let expected: String = (0..100).map(|number| format!("{number}\n")).collect();
        assert_eq!(text, expected);
        assert_eq!(output.dropped.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_the_next_line_is_tried() {
        let (output, allow, written) = scripted();
        for well in [false, false, true] {
            output.line(b"a line\n");
            allow.send(well).expect("the writer lives");
        }
        output.flush(LONG);
        assert_eq!(output.dropped.load(Ordering::Relaxed), 2);
        assert_eq!(written.lock().expect("not poisoned").as_slice(), b"a line\n");
    }

    #[test]
    fn an_output_that_nobody_reads_holds_nobody_up() {
        let (output, allow, _) = scripted();
        let line = vec![b'x'; 64 * 1024];
        for _ in 0..100 {
            output.line(&line);
        }
        output.flush(Duration::ZERO);
        let dropped = output.dropped.load(Ordering::Relaxed);
        assert!((83..=84).contains(&dropped), "16 wait, one may be under way: {dropped}");
        drop(allow);
        output.flush(LONG);
        assert_eq!(output.dropped.load(Ordering::Relaxed), 100);
    }
}
