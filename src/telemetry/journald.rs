//! Log lines for journald: one datagram each in its native protocol, every field of a line a field of the journal's entry,
//! `TIDEGATE_EVENT_ID` and `TIDEGATE_POLICY` for example. What journald does not take goes to standard error as text.
//!
//! Must not know: what a line says.

use std::fmt::{Debug, Write as _};
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::telemetry::output::{Output, Sink, Stream};
use crate::telemetry::printable;

/// Where journald listens for its native protocol.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";
/// The longest that one line waits for a journald that does not read.
const PATIENCE: Duration = Duration::from_secs(1);
/// The longest name of a field that journald takes.
const MAX_NAME_BYTES: usize = 64;
/// Before the names of a line's own fields, so that none passes for one of journald's.
const PREFIX: &str = "TIDEGATE_";

/// Whether standard error goes to journald, as the value of `JOURNAL_STREAM` says (systemd.exec(5)).
pub(super) fn is_at(journal_stream: &str) -> bool {
    let Ok(found) = rustix::fs::fstat(io::stderr()) else { return false };
    journal_stream == format!("{}:{}", found.st_dev, found.st_ino)
}

/// Sends each line on as one entry of the journal.
pub(super) struct Entries(pub(super) Output);

impl<S: Subscriber> Layer<S> for Entries {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let about = event.metadata();
        // The priorities of syslog(3): 3 is an error, 7 is for debugging.
        let priority = match *about.level() {
            Level::ERROR => "3",
            Level::WARN => "4",
            Level::INFO => "6",
            _ => "7",
        };
        let mut entry = JournaldEntry::default();
        entry.put("PRIORITY", priority);
        entry.put("SYSLOG_IDENTIFIER", "tidegate");
        entry.put("TIDEGATE_TARGET", about.target());
        event.record(&mut entry);
        self.0.line(&entry.0);
    }
}

/// An entry in journald's native protocol.
#[derive(Default)]
struct JournaldEntry(Vec<u8>);

impl JournaldEntry {
    fn put(&mut self, name: &str, value: &str) {
        self.0.extend_from_slice(name.as_bytes());
        // The form that journald has for values of several lines: the length comes before the value.
        if value.contains('\n') {
            self.0.push(b'\n');
            let length = u64::try_from(value.len()).unwrap_or(u64::MAX);
            self.0.extend_from_slice(&length.to_le_bytes());
        } else {
            self.0.push(b'=');
        }
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'\n');
    }

    fn put_own(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            return self.put("MESSAGE", value);
        }
        let mut name = PREFIX.to_owned();
        name.extend(
            field
                .name()
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }),
        );
        // All of it is ASCII, so that the cut lies between two characters.
        name.truncate(MAX_NAME_BYTES);
        self.put(&name, value);
    }
}

impl Visit for JournaldEntry {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_own(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        // Writing to a text does not fail.
        let _ = write!(text, "{value:?}");
        self.put_own(field, &text);
    }
}

/// The names and values of an entry, in order.
fn fields(mut entry: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut fields = Vec::new();
    while let Some(at) = entry.iter().position(|byte| matches!(byte, b'=' | b'\n')) {
        let (name, rest) = entry.split_at(at);
        let split = match rest.split_first() {
            Some((b'=', rest)) => {
                let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
                rest.split_at_checked(end)
            }
            Some((_, rest)) => rest.split_first_chunk().and_then(|(length, rest)| {
                usize::try_from(u64::from_le_bytes(*length))
                    .ok()
                    .and_then(|length| rest.split_at_checked(length))
            }),
            None => None,
        };
        let Some((value, rest)) = split else { break };
        fields.push((name, value));
        entry = rest.get(1..).unwrap_or_default();
    }
    fields
}

/// The entry as a line of text, as standard error gets it: the priority in the form that journald reads from there.
pub(super) fn as_text(entry: &[u8]) -> Vec<u8> {
    let (mut head, mut message, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    for (name, value) in fields(entry) {
        match name {
            // journald reads a priority from the head of a line on standard error, too.
            b"PRIORITY" => head = [b"<", value, b">"].concat(),
            b"MESSAGE" => message = value.to_vec(),
            b"SYSLOG_IDENTIFIER" => {}
            _ => rest.extend_from_slice(&[b" ", name, b"=", value].concat()),
        }
    }
    let line = [head, message, rest].concat();
    format!("{}\n", printable(&String::from_utf8_lossy(&line))).into_bytes()
}

/// journald, with another place for what it does not take.
pub(super) struct JournaldSink<W> {
    path: PathBuf,
    socket: Option<UnixDatagram>,
    otherwise: Stream<W>,
}

impl<W: Write + Send + 'static> JournaldSink<W> {
    pub(super) fn at(path: &Path, otherwise: W) -> Self {
        Self { path: path.to_owned(), socket: None, otherwise: Stream::onto(otherwise) }
    }

    /// By name each time: a journald that was started anew listens on another socket there.
    fn send(&mut self, entry: &[u8]) -> io::Result<()> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => {
                let socket = UnixDatagram::unbound()?;
                socket.set_write_timeout(Some(PATIENCE))?;
                socket
            }
        };
        let sent = socket.send_to(entry, &self.path);
        // Kept after a failure as well: the next line names its target anew.
        self.socket = Some(socket);
        sent.map(|_| ())
    }
}

impl<W: Write + Send + 'static> Sink for JournaldSink<W> {
    fn put(&mut self, entry: &[u8]) -> io::Result<()> {
        // One that is longer than a datagram may be is text, too.
        self.send(entry).or_else(|_| self.otherwise.put(&as_text(entry)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[derive(Clone, Default)]
    struct Text(Arc<Mutex<Vec<u8>>>);

    impl Write for Text {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged goes to this socket, or else to the text.
    fn logging(path: &Path, log: impl FnOnce()) -> String {
        let text = Text::default();
        let output = Output::with(JournaldSink::at(path, text.clone()));
        let subscriber = tracing_subscriber::registry().with(Entries(output.clone()));
        tracing::subscriber::with_default(subscriber, log);
        output.flush(LONG);
        String::from_utf8(text.0.lock().expect("not poisoned").clone()).expect("text")
    }

    fn received(socket: &UnixDatagram) -> Vec<(String, String)> {
        let mut bytes = vec![0; 1 << 20];
        let length = socket.recv(&mut bytes).expect("an entry");
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        fields(&bytes[..length]).into_iter().map(|(name, value)| (text(name), text(value))).collect()
    }

    #[test]
    fn a_line_is_an_entry_with_its_fields() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("socket");
        let journald = UnixDatagram::bind(&path).expect("binds");
        let rest = logging(&path, || {
            let none: Option<&str> = None;
            tracing::warn!(target: "tidegate::x", event_id = %7, policy = "a", n = 3, none, "two\nlines");
            tracing::debug!(target: "tidegate::x", _PID = 1, "plain");
        });
        assert_eq!(rest, "", "journald has them");
        let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let first = [
            ("PRIORITY", "4"),
            ("SYSLOG_IDENTIFIER", "tidegate"),
            ("TIDEGATE_TARGET", "tidegate::x"),
            ("MESSAGE", "two\nlines"),
            ("TIDEGATE_EVENT_ID", "7"),
            ("TIDEGATE_POLICY", "a"),
            ("TIDEGATE_N", "3"),
        ];
        assert_eq!(received(&journald), first.map(pair));
        let second = received(&journald);
        assert_eq!(second[0], pair(("PRIORITY", "7")));
        assert!(second.contains(&pair(("TIDEGATE__PID", "1"))), "none passes for a trusted one: {second:?}");
    }

    #[test]
    fn what_journald_does_not_take_is_text_elsewhere_until_it_is_back() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("socket");
        let text = logging(&path, || tracing::error!(target: "t", policy = "a\r\0\u{1b}[2J", "two\nlines"));
        assert_eq!(text, "<3>two\\nlines TIDEGATE_TARGET=t TIDEGATE_POLICY=a\\r\\0\\u{1b}[2J\n");

        let text = logging(&path, || {
            let first = UnixDatagram::bind(&path).expect("binds");
            drop(first);
            tracing::info!(target: "t", "nobody reads");
        });
        assert_eq!(text, "<6>nobody reads TIDEGATE_TARGET=t\n");

        std::fs::remove_file(&path).expect("removed");
        let journald = UnixDatagram::bind(&path).expect("binds");
        let long = "x".repeat(512 * 1024);
        let text = logging(&path, || {
            tracing::info!(target: "t", long, "too long for a datagram");
            tracing::info!(target: "t", "back");
        });
        assert!(text.starts_with("<6>too long for a datagram TIDEGATE_TARGET=t TIDEGATE_LONG=xx"));
        assert_eq!(text.lines().count(), 1);
        assert!(received(&journald).contains(&("MESSAGE".to_owned(), "back".to_owned())));
    }

    #[test]
    fn a_journald_that_does_not_read_costs_lines_and_holds_nobody_up() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("socket");
        let _silent = UnixDatagram::bind(&path).expect("binds");
        let output = Output::with(JournaldSink::at(&path, Text::default()));
        let subscriber = tracing_subscriber::registry().with(Entries(output.clone()));
        let line = "x".repeat(64 * 1024);
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..200 {
                tracing::info!(line, "long");
            }
        });
        assert!(output.dropped() > 100, "{}", output.dropped());
    }

    #[test]
    fn the_stream_is_named_by_device_and_inode() {
        let found = rustix::fs::fstat(io::stderr()).expect("a stream");
        assert!(is_at(&format!("{}:{}", found.st_dev, found.st_ino)));
        assert!(!is_at(&format!("{}:{}", found.st_dev, found.st_ino + 1)) && !is_at("") && !is_at("x"));
    }
}
