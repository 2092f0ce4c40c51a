//! `tidegate changes`: changes of many events or dead letters, shown and stopped; and how the subcommands that begin one count,
//! ask, and wait for its end.

use std::io::IsTerminal;
use std::time::Duration;

use clap::{Args, Subcommand};
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::cli::client::{Client, refusal};
use crate::cli::daemon::DaemonArguments;
use crate::cli::exit::Failure;
use crate::cli::note;
use crate::cli::output::{OutputArguments, Style, TextTable, left, right};
use crate::cli::progress::Progress;
use crate::cli::words::{age, count, grouped, list, or_dash, text};
use crate::clock::{Clock, Timestamp};

const EXAMPLES: &str = "\
Examples:
  tidegate changes list
  tidegate changes show 3 --json
  tidegate changes stop 3

Exit codes: 0 done, 1 no such change, 69 no daemon answers";

/// How often the progress of a run is asked for.
const LOOK_EVERY: Duration = Duration::from_millis(250);

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the changes since the start of the daemon, newest first
    List(DaemonArguments),
    /// Show one change, and how far it is
    Show(One),
    /// Have a change end after the batch that it is about; what it has changed stays changed
    Stop(One),
}

#[derive(Debug, Args)]
struct One {
    /// The number of the change
    id: u64,
    #[command(flatten)]
    daemon: DaemonArguments,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let (method, path, daemon) = match arguments.verb {
        Verb::List(daemon) => {
            let answer = daemon.client().await?.get("/v1/changes").await?;
            let now = Clock::system().now();
            return daemon.output.print(&answer, |style| table(list(&answer, "/changes"), style, now));
        }
        Verb::Show(One { id, daemon }) => (Method::GET, format!("/v1/changes/{id}"), daemon),
        Verb::Stop(One { id, daemon }) => (Method::POST, format!("/v1/changes/{id}:stop"), daemon),
    };
    let answer = ask(&mut daemon.client().await?, method, &path, None).await?;
    let now = Clock::system().now();
    daemon.output.print(&answer, |style| table(std::slice::from_ref(&answer), style, now))
}

/// A change of many that is to be counted, confirmed and watched to its end.
pub(super) struct Wanted<'w> {
    /// Where it is asked for.
    pub path: String,
    /// What is asked for, without a confirmation.
    pub body: Map<String, Value>,
    /// What the things are called, such as `events`.
    pub things: &'w str,
    /// What would be done to them, such as `dropped for good`.
    pub done: &'w str,
    /// The count is confirmed without a question.
    pub yes: bool,
}

impl Wanted<'_> {
    /// Counts what is meant, has that confirmed, and waits for the end of the run.
    pub(super) async fn carry_out(
        self,
        client: &mut Client,
        output: &OutputArguments,
    ) -> Result<(), Failure> {
        let Self { path, mut body, things, done, yes } = self;
        let counted = ask(client, Method::POST, &path, Some(&Value::Object(body.clone()))).await?;
        let matched = count(&counted, "/matched");
        let at_least = counted.pointer("/at_least").and_then(Value::as_bool).unwrap_or(false);
        let unread = count(&counted, "/unread");
        if matched == 0 && !at_least {
            let more =
                if unread == 0 { String::new() } else { format!("; {unread} cannot be read at present") };
            return output.print(&counted, |_| format!("none of the {things} is meant{more}\n"));
        }
        if !yes {
            let at_least = if at_least { "at least " } else { "" };
            let question =
                format!("{at_least}{} {things} would be {done}; enter {matched} to go on:", grouped(matched));
            confirmed(&question, &matched.to_string())?;
        }
        body.insert("confirm".to_owned(), json!(text(&counted, "/confirm")));
        let mut run = ask(client, Method::POST, &path, Some(&Value::Object(body))).await?;
        let path = format!("/v1/changes/{}", count(&run, "/id"));
        let progress = Progress::new("changed", if at_least { 0 } else { matched });
        while matches!(text(&run, "/state"), "running" | "stopping") {
            tokio::time::sleep(LOOK_EVERY).await;
            run = ask(client, Method::GET, &path, None).await?;
            progress.set(count(&run, "/changed"));
        }
        progress.done();
        output.print(&run, |_| summary(&run))?;
        match text(&run, "/state") {
            "done" => Ok(()),
            "failed" => Err(Failure::new(format!(
                "it stopped before its end: {}; begin it again, what is left is counted anew",
                or_dash(text(&run, "/error"))
            ))),
            state => Err(Failure::new(format!("the change has {state}"))),
        }
    }
}

/// Asks for a JSON answer, of whatever was done or begun.
pub(super) async fn ask(
    client: &mut Client,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Value, Failure> {
    let (status, answer) = client.call(method, path, body).await?;
    if !matches!(status, StatusCode::OK | StatusCode::ACCEPTED) {
        return Err(refusal("it was refused", status, &answer));
    }
    serde_json::from_slice(&answer)
        .map_err(|error| Failure::new(format!("the answer does not read: {error}")))
}

/// Asks at a terminal for a word.
pub(super) fn confirmed(question: &str, word: &str) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() {
        let text = "it has to be confirmed: repeat it with --yes, or at a terminal, where it asks";
        return Err(Failure::usage(text));
    }
    note(question);
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    if line.trim() == word { Ok(()) } else { Err(Failure::new("nothing was changed")) }
}

/// What a change came to.
fn summary(run: &Value) -> String {
    let [under_way, left, unread] = ["/under_way", "/left", "/unread"].map(|pointer| count(run, pointer));
    let mut line = format!("{}: {} changed", text(run, "/state"), grouped(count(run, "/changed")));
    if under_way > 0 {
        line.push_str(&format!(", {} left alone under way", grouped(under_way)));
    }
    if left > 0 {
        let why = or_dash(text(run, "/left_because"));
        line.push_str(&format!(", {} left alone: the first one because {why}", grouped(left)));
    }
    if unread > 0 {
        line.push_str(&format!(", {} not read: see tidegate doubts", grouped(unread)));
    }
    line + "\n"
}

fn table(changes: &[Value], style: Style, now: Timestamp) -> String {
    let mut table = TextTable::new(&[
        right("ID"),
        left("VERB"),
        left("OF"),
        left("STATE"),
        right("CHANGED"),
        right("LEFT"),
        right("MATCHED"),
        right("BEGUN"),
        left("FILTER"),
    ]);
    for change in changes {
        let left_alone = count(change, "/under_way") + count(change, "/left") + count(change, "/unread");
        table.row([
            count(change, "/id").into(),
            text(change, "/verb").into(),
            text(change, "/of").into(),
            text(change, "/state").into(),
            grouped(count(change, "/changed")).into(),
            grouped(left_alone).into(),
            grouped(count(change, "/matched")).into(),
            age(Some(text(change, "/started_at")), now).into(),
            or_dash(text(change, "/about")).into(),
        ]);
    }
    table.render(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_says_what_it_did_and_what_stays() {
        let run = json!({"state": "done", "changed": 12_000});
        assert_eq!(summary(&run), "done: 12 000 changed\n");
        let run = json!({"state": "stopped", "changed": 1, "left": 2, "left_because": "no policy", "under_way": 3, "unread": 4});
        assert_eq!(
            summary(&run),
            "stopped: 1 changed, 3 left alone under way, 2 left alone: the first one because no policy, 4 not read: see tidegate \
             doubts\n"
        );
    }
}
