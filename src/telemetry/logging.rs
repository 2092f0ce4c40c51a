//! Log lines: on standard error, readable on a terminal, JSON otherwise. A standard error that fails costs lines, never
//! the process: see [`output`].

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::telemetry::output;

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// [`Format::Human`] on a terminal, [`Format::Json`] otherwise.
    #[default]
    Auto,
    /// For eyes.
    Human,
    /// One JSON object per line.
    Json,
}

/// Logging could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up logging: {reason}")]
pub struct LoggingError {
    /// What stood in the way.
    pub reason: String,
}

/// Sends tidegate's lines from `level` (`error`, `warn`, `info`, `debug` or `trace`) on to standard error.
/// Libraries are heard from `warn` on, so that `debug` shows tidegate and not its sockets.
///
/// # Errors
/// [`LoggingError`] when the level is none or logging is already set up.
pub fn init(level: &str, format: Format) -> Result<(), LoggingError> {
    let human = match format {
        Format::Auto => std::io::stderr().is_terminal(),
        Format::Human => true,
        Format::Json => false,
    };
    let subscriber = subscriber(level, human, output::stderr)?;
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|error| LoggingError { reason: error.to_string() })
}

fn subscriber<W>(
    level: &str,
    human: bool,
    writer: W,
) -> Result<Box<dyn tracing::Subscriber + Send + Sync>, LoggingError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let wrong = |error: &dyn std::fmt::Display| LoggingError { reason: format!("level {level:?}: {error}") };
    let own: tracing::Level =
        level.parse().map_err(|error: tracing::metadata::ParseLevelError| wrong(&error))?;
    let others = own.min(tracing::Level::WARN);
    let filter = EnvFilter::try_new(format!("{others},tidegate={own}")).map_err(|error| wrong(&error))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    Ok(if human {
        Box::new(builder.with_target(false).with_ansi(std::io::stderr().is_terminal()).finish())
    } else {
        Box::new(builder.json().flatten_event(true).with_current_span(false).with_span_list(false).finish())
    })
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

    fn logged(level: &str, human: bool) -> String {
        let lines = Lines::default();
        let sink = lines.clone();
        let subscriber = subscriber(level, human, move || sink.clone()).expect("a level");
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(lane = "a@1", "lane opened");
            tracing::debug!("a detail");
            tracing::info!(target: "h2", "a frame");
        });
        let bytes = lines.0.lock().expect("not poisoned").clone();
        String::from_utf8(bytes).expect("text")
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
        assert!(init("loud", Format::Auto).is_err());
    }
}
