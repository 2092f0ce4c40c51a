//! Log lines: on standard error, readable on a terminal, JSON otherwise, or as entries of the system's journal. An
//! output that fails costs lines, never the process: see [`output`].

use std::io::IsTerminal;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::{MakeWriter, format};
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use crate::telemetry::journald::{self, Entries};
use crate::telemetry::output;
use crate::telemetry::printable::write_field;

/// How log lines look, as the configuration names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// [`Format::Journald`] where standard error is the journal's, [`Format::Human`] on a terminal, [`Format::Json`]
    /// otherwise.
    #[default]
    Auto,
    /// For people: text, with colours on a terminal.
    Human,
    /// One JSON object per line, for collectors.
    Json,
    /// As entries of the system's journal, with fields.
    Journald,
}

/// Logging could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up logging: {reason}")]
pub(crate) struct LoggingError {
    /// What stood in the way, in words.
    pub reason: String,
}

/// Packets from anywhere must not fill the log: of the resolver only the lines about the system's files are written.
const RESOLVER: &str = "hickory_net=off,hickory_proto=off,hickory_resolver=off,\
                        hickory_resolver::system_conf=warn,hickory_resolver::hosts=warn";

/// Sends tidegate's lines from `level` (`error`, `warn`, `info`, `debug` or `trace`) on to standard error or journald.
/// Libraries are heard from `warn` on, so that `debug` shows tidegate and not its sockets. `journal_stream` is the
/// variable `JOURNAL_STREAM`.
///
/// # Errors
/// [`LoggingError`] when the level is none or logging is already set up.
pub(crate) fn init(level: &str, format: Format, journal_stream: Option<&str>) -> Result<(), LoggingError> {
    let is_terminal = std::io::stderr().is_terminal();
    let form = match format {
        Format::Auto if journal_stream.is_some_and(journald::is_at) => Form::Journald,
        Format::Auto if is_terminal => Form::Human,
        Format::Auto | Format::Json => Form::Json,
        Format::Human => Form::Human,
        Format::Journald => Form::Journald,
    };
    let (filter, handle) = reload::Layer::new(filter(level)?);
    let lines: Box<dyn Layer<Filtered> + Send + Sync> = match form {
        Form::Journald => Box::new(Entries(output::journal().clone())),
        Form::Human | Form::Json => lines(form == Form::Human, output::stderr),
    };
    tracing::subscriber::set_global_default(Registry::default().with(filter).with(lines))
        .map_err(|error| LoggingError { reason: error.to_string() })?;
    // The first one to set it up keeps it.
    let _is_first = LEVEL.set(InForce { handle, level: Mutex::new(level.to_owned()) });
    Ok(())
}

/// Changes the level from here on; returns whether it was another one. Without lines there is nothing to change.
///
/// # Errors
/// [`LoggingError`] when the level is none.
pub(crate) fn set_level(level: &str) -> Result<bool, LoggingError> {
    let wanted = filter(level)?;
    let Some(active) = LEVEL.get() else { return Ok(false) };
    let mut present = active.level.lock().unwrap_or_else(PoisonError::into_inner);
    if *present == level {
        return Ok(false);
    }
    active.handle.reload(wanted).map_err(|error| LoggingError { reason: error.to_string() })?;
    level.clone_into(&mut present);
    Ok(true)
}

/// The subscriber over which lines are written.
type Filtered = Layered<reload::Layer<EnvFilter, Registry>, Registry>;

/// How lines look, once that is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Human,
    Json,
    Journald,
}

/// The level of the process's lines.
struct InForce {
    handle: reload::Handle<EnvFilter, Registry>,
    level: Mutex<String>,
}

static LEVEL: OnceLock<InForce> = OnceLock::new();

fn filter(level: &str) -> Result<EnvFilter, LoggingError> {
    let wrong = |error: &dyn std::fmt::Display| LoggingError { reason: format!("level {level:?}: {error}") };
    let own: tracing::Level =
        level.parse().map_err(|error: tracing::metadata::ParseLevelError| wrong(&error))?;
    // Levels are ordered by how much they show: the lesser of both.
    let others = own.min(tracing::Level::WARN);
    EnvFilter::try_new(format!("{others},{RESOLVER},tidegate={own}")).map_err(|error| wrong(&error))
}

fn lines<W>(human: bool, writer: W) -> Box<dyn Layer<Filtered> + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    if human {
        let lines = lines.with_target(false).with_ansi(std::io::stderr().is_terminal());
        Box::new(lines.fmt_fields(format::debug_fn(write_field).delimited(" ")))
    } else {
        Box::new(lines.json().flatten_event(true).with_current_span(false).with_span_list(false))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn written(level: &str, human: bool, log: impl FnOnce()) -> String {
        let lines = Lines::default();
        let sink = lines.clone();
        let (filter, _) = reload::Layer::new(filter(level).expect("a level"));
        let subscriber = Registry::default().with(filter).with(super::lines(human, move || sink.clone()));
        tracing::subscriber::with_default(subscriber, log);
        let bytes = lines.0.lock().expect("not poisoned").clone();
        String::from_utf8(bytes).expect("text")
    }

    fn logged(level: &str, human: bool) -> String {
        written(level, human, || {
            tracing::info!(lane = "a@1", "lane opened");
            tracing::debug!("a detail");
            tracing::info!(target: "h2", "a frame");
        })
    }

    #[test]
    fn what_others_wrote_steers_no_terminal_and_begins_no_line() {
        const HOSTILE: &str = "x\u{1b}[2J\r\n\0\u{8}\u{9b}31m ERROR forged\u{7f}";
        let log = || {
            let error = std::io::Error::other(HOSTILE);
            tracing::info!(shown = %HOSTILE, quoted = HOSTILE, debugged = ?HOSTILE, %error, "said {HOSTILE}");
            tracing::info!(error = &error as &dyn std::error::Error, "an error");
        };
        let text = written("info", true, log);
        assert_eq!(text.lines().count(), 2, "{text:?}");
        let own = ["\u{1b}[0m", "\u{1b}[2m", "\u{1b}[3m", "\u{1b}[32m", "\n"];
        let others = own.iter().fold(text.clone(), |text, own| text.replace(own, ""));
        assert!(!others.contains(char::is_control), "{text:?}");
        assert!(text.contains("said x\\u{1b}[2J\\r\\n\\0"), "{text:?}");
        let text = written("info", false, log);
        let read = |line| serde_json::from_str::<serde_json::Value>(line).expect("an object");
        assert_eq!(read(text.lines().next().expect("a line"))["shown"], HOSTILE);
    }

    #[test]
    fn json_lines_are_objects_with_flat_fields() {
        let text = logged("info", false);
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).expect("an object");
        assert_eq!(line["message"], "lane opened");
        assert_eq!(line["lane"], "a@1");
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn the_level_rules_own_lines_and_never_opens_the_libraries() {
        assert_eq!(logged("debug", true).lines().count(), 2);
        assert_eq!(logged("error", true), "");
        assert!(init("loud", Format::Auto, None).is_err());
        assert!(set_level("loud").is_err());
    }
}
