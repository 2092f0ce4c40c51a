//! `tidegate events cancel`, `delay` and `send-now`: counted, confirmed, and watched to the end.

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::cli::client::{Client, refusal};
use crate::cli::events::Filter;
use crate::cli::exit::Failure;
use crate::cli::output::OutputArguments;
use crate::cli::policy::seconds;
use crate::cli::words::{count, text};
use crate::cli::{ConfigArguments, note};

/// How often the progress of a run is asked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(super) struct Change {
    #[command(flatten)]
    filter: Filter,
    /// Ask nothing; needed where standard input is no terminal
    #[arg(long)]
    yes: bool,
    /// `--listen` (listen.address) says where the daemon listens
    #[command(flatten)]
    config: ConfigArguments,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Debug, Args)]
pub(super) struct Delay {
    #[command(flatten)]
    change: Change,
    /// From now on, such as 90s, 10m, 2h or 1d
    #[arg(long = "for", value_name = "TIME", value_parser = seconds, required_unless_present = "until")]
    length: Option<u64>,
    /// Until this time, such as 2030-01-31T08:00:00Z
    #[arg(long, value_name = "DATE", conflicts_with = "length")]
    until: Option<String>,
}

impl Delay {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Self { change, length, until } = self;
        // A length counts from the daemon's clock, whatever the clock of this machine shows.
        let (member, value) = match length {
            Some(length) => ("delay_seconds", json!(length)),
            None => ("due_at", json!(until)),
        };
        change.run("delay", Map::from_iter([(member.to_owned(), value)])).await
    }
}

impl Change {
    /// Counts what is meant, has that confirmed, and waits for the end of the run.
    pub(super) async fn run(self, verb: &str, more: Map<String, Value>) -> Result<(), Failure> {
        let mut client = Client::connect(self.config.load()?.config.listen.address).await?;
        let path = format!("/v1/events:{verb}");
        let mut body = self.filter.members();
        body.extend(more);
        let counted = ask(&mut client, Method::POST, &path, Some(&Value::Object(body.clone()))).await?;
        let matched = count(&counted, "/matched");
        let at_least = counted.pointer("/at_least").and_then(Value::as_bool).unwrap_or(false);
        if matched == 0 && !at_least {
            return self.output.print(&counted, |_| "no event that waits is meant\n".to_owned());
        }
        let matched = if at_least { format!("at least {matched}") } else { matched.to_string() };
        self.confirmed(verb, &matched)?;
        body.insert("confirm".to_owned(), json!(text(&counted, "/confirm")));
        let mut run = ask(&mut client, Method::POST, &path, Some(&Value::Object(body))).await?;
        let path = format!("/v1/event-changes/{}", count(&run, "/id"));
        while matches!(text(&run, "/state"), "running" | "stopping") {
            tokio::time::sleep(LOOK_EVERY).await;
            run = ask(&mut client, Method::GET, &path, None).await?;
        }
        let is_done = text(&run, "/state") == "done";
        self.output.print(&run, |_| summary(&run))?;
        if is_done { Ok(()) } else { Err(Failure::new(format!("the change has {}", text(&run, "/state")))) }
    }

    fn confirmed(&self, verb: &str, matched: &str) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() {
            return Err(Failure::usage("repeat it with --yes, or at a terminal, where it asks"));
        }
        note(&format!("{matched} events are meant. Enter {verb} to go on:"));
        let mut line = String::new();
        std::io::stdin().read_line(&mut line)?;
        if line.trim() == verb { Ok(()) } else { Err(Failure::new("nothing was changed")) }
    }
}

async fn ask(
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

fn summary(run: &Value) -> String {
    let [changed, under_way, left, unread] =
        ["/changed", "/under_way", "/left", "/unread"].map(|pointer| count(run, pointer));
    format!(
        "{}: {changed} changed, {under_way} left alone under way, {left} left alone that had ended, {unread} not read\n",
        text(run, "/state")
    )
}
