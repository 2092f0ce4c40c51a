//! `tidegate dispatch`: the emergency stops of a running daemon.

use std::fmt::Write;

use clap::{Args, Subcommand};
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::cli::client::refusal;
use crate::cli::daemon::DaemonArguments;
use crate::cli::exit::Failure;
use crate::cli::output::{Colour, Style, printable};
use crate::cli::policy::seconds;
use crate::cli::words::{list, text, until};
use crate::clock::{Clock, Timestamp};

const EXAMPLES: &str = "\
Examples:
  tidegate dispatch pause --everything --reason \"wrong prices\"
  tidegate dispatch pause --host api.example.org --for 2h --reason \"their maintenance\"
  tidegate dispatch resume --organisation ACME
  tidegate dispatch list

Calls under way go on to their ends; events go on being taken, and their lives go on. A stop holds over restarts.

Exit codes: 0 done, 1 refused, 69 no daemon answers";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Let nothing start of what is named, from the next start on
    Pause(Pause),
    /// End a stop
    Resume(Resume),
    /// List the stops in force
    List(DaemonArguments),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Target {
    /// All calls
    #[arg(long)]
    everything: bool,
    /// The calls to a host; without a port those to any of its ports
    #[arg(long, value_name = "HOST[:PORT]")]
    host: Option<String>,
    /// The events whose label org or organisation has this value
    #[arg(long, value_name = "NAME")]
    organisation: Option<String>,
}

#[derive(Debug, Args)]
struct Pause {
    #[command(flatten)]
    target: Target,
    /// Why, for whoever wonders: 1 to 200 characters
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// End it by itself after this time, such as 90s, 10m, 2h or 1d; at most 366 days
    #[arg(long = "for", value_name = "TIME", value_parser = seconds, conflicts_with = "until")]
    length: Option<u64>,
    /// End it by itself at this time, such as 2030-01-31T08:00:00Z
    #[arg(long, value_name = "DATE")]
    until: Option<String>,
    #[command(flatten)]
    daemon: DaemonArguments,
}

#[derive(Debug, Args)]
struct Resume {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    daemon: DaemonArguments,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.verb {
        Verb::Pause(pause) => {
            let mut body = pause.target.members();
            body.insert("reason".to_owned(), json!(pause.reason));
            body.extend(pause.length.map(|length| ("for_seconds".to_owned(), json!(length))));
            body.extend(pause.until.as_ref().map(|date| ("until".to_owned(), json!(date))));
            ask(&pause.daemon, Method::POST, ":pause", Some(Value::Object(body))).await
        }
        Verb::Resume(resume) => {
            let body = Value::Object(resume.target.members());
            ask(&resume.daemon, Method::POST, ":resume", Some(body)).await
        }
        Verb::List(daemon) => ask(&daemon, Method::GET, "", None).await,
    }
}

impl Target {
    fn members(&self) -> Map<String, Value> {
        let everything = self.everything.then(|| ("everything".to_owned(), json!(true)));
        let host = self.host.as_ref().map(|host| ("host".to_owned(), json!(host)));
        let organisation = self.organisation.as_ref().map(|name| ("organisation".to_owned(), json!(name)));
        everything.into_iter().chain(host).chain(organisation).collect()
    }
}

/// Asks the daemon and shows the stops that are in force then.
async fn ask(
    daemon: &DaemonArguments,
    method: Method,
    verb: &str,
    body: Option<Value>,
) -> Result<(), Failure> {
    let path = format!("/v1/dispatch{verb}");
    let (status, answer) = daemon.client().await?.call(method, &path, body.as_ref()).await?;
    if status != StatusCode::OK {
        return Err(refusal("it was refused", status, &answer));
    }
    let answer = serde_json::from_slice(&answer)
        .map_err(|error| Failure::new(format!("the answer does not read: {error}")))?;
    let now = Clock::system().now();
    daemon.output.print(&answer, |style| stops(&answer, style, now))
}

/// The stops in force, one a line.
fn stops(answer: &Value, style: Style, now: Timestamp) -> String {
    let mut lines = String::new();
    if let Some(reason) = answer.pointer("/record_unreadable").and_then(Value::as_str) {
        let line = format!("nothing is sent: the record of stops cannot be read: {reason}");
        // Writing to a text never fails.
        let _ = writeln!(lines, "{}", style.paint(Some(Colour::Bad), &printable(&line)));
    }
    for stop in list(answer, "/stops") {
        let _ = writeln!(lines, "{}", style.paint(Some(Colour::Warning), &line(stop, now)));
    }
    if lines.is_empty() { "nothing is stopped\n".to_owned() } else { lines }
}

/// One stop in words.
pub(super) fn line(stop: &Value, now: Timestamp) -> String {
    let what = match text(stop, "/name") {
        "" => text(stop, "/target").to_owned(),
        name => format!("{} {name}", text(stop, "/target")),
    };
    let end = match text(stop, "/until") {
        "" => "until it is resumed".to_owned(),
        at => format!("until {}", until(at, now)),
    };
    printable(&format!("{what} is stopped since {} {end}: {}", text(stop, "/since"), text(stop, "/reason")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_is_told_in_a_line() {
        let now = Timestamp::parse("2030-01-31T08:00:10Z").expect("a date");
        let answer = json!({"record_unreadable": null, "stops": [
            {"target": "everything", "name": null, "reason": "r", "since": "2030-01-31T08:00:00Z", "until": null},
            {"target": "host", "name": "h:1", "reason": "s", "since": "2030-01-31T08:00:00Z",
                "until": "2030-01-31T08:00:20Z"},
        ]});
        let shown = stops(&answer, Style::of_stdout(), now);
        let shown = console::strip_ansi_codes(&shown);
        assert_eq!(
            shown,
            "everything is stopped since 2030-01-31T08:00:00Z until it is resumed: r\n\
             host h:1 is stopped since 2030-01-31T08:00:00Z until 2030-01-31T08:00:20Z (in 10 s): s\n"
        );
        let nothing = stops(&json!({"record_unreadable": null, "stops": []}), Style::of_stdout(), now);
        assert_eq!(nothing, "nothing is stopped\n");
    }
}
