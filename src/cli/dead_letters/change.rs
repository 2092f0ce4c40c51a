//! `tidegate dead-letters redrive` and `purge`: one letter, or many, which are counted, confirmed and waited for.

use clap::Args;
use http::Method;
use serde_json::{Map, Value, json};

use super::Which;
use crate::cli::changes::{Wanted, ask, confirmed};
use crate::cli::client::Client;
use crate::cli::daemon::DaemonArguments;
use crate::cli::event::event_id;
use crate::cli::exit::Failure;
use crate::cli::words::text;

/// The letter of one event, or those of a filter.
#[derive(Debug, Args)]
struct Chosen {
    /// The letter of this event alone
    #[arg(value_parser = event_id, conflicts_with_all = ["policy", "reason", "status", "host", "after", "before", "label", "all"])]
    id: Option<String>,
    #[command(flatten)]
    which: Which,
    /// Every letter that there is, without a filter
    #[arg(long)]
    all: bool,
    /// Ask nothing; needed where standard input is no terminal
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
pub(super) struct Redrive {
    #[command(flatten)]
    chosen: Chosen,
    /// Send to this URL, which the same policies govern, instead
    #[arg(long)]
    url: Option<String>,
    /// Give each event a new id, for receivers that drop what they know
    #[arg(long)]
    new_id: bool,
    /// Who asks for it, for those who look at the events
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    #[command(flatten)]
    daemon: DaemonArguments,
}

#[derive(Debug, Args)]
pub(super) struct Purge {
    #[command(flatten)]
    chosen: Chosen,
    #[command(flatten)]
    daemon: DaemonArguments,
}

impl Redrive {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let mut body = Map::new();
        body.extend(self.url.as_ref().map(|url| ("url".to_owned(), json!(url))));
        body.extend(self.by.as_ref().map(|by| ("by".to_owned(), json!(by))));
        body.extend(self.new_id.then(|| ("new_id".to_owned(), json!(true))));
        let mut client = self.daemon.client().await?;
        let Some(id) = &self.chosen.id else {
            return self.chosen.change("redrive", client, body, &self.daemon).await;
        };
        let path = format!("/v1/dead-letters/{id}:redrive");
        let answer = ask(&mut client, Method::POST, &path, Some(&Value::Object(body))).await?;
        self.daemon.output.print(&answer, |_| format!("event {} waits again\n", text(&answer, "/id")))
    }
}

impl Purge {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let mut client = self.daemon.client().await?;
        let Some(id) = &self.chosen.id else {
            return self.chosen.change("purge", client, Map::new(), &self.daemon).await;
        };
        if !self.chosen.yes {
            confirmed(&format!("the event {id} would be dropped for good; enter its id to go on:"), id)?;
        }
        let path = format!("/v1/dead-letters/{id}:purge");
        let answer = ask(&mut client, Method::POST, &path, Some(&json!({"confirm": id}))).await?;
        self.daemon.output.print(&answer, |_| format!("the letter of the event {id} is gone\n"))
    }
}

impl Chosen {
    /// Changes all letters that the filter names.
    async fn change(
        &self,
        verb: &str,
        mut client: Client,
        mut body: Map<String, Value>,
        daemon: &DaemonArguments,
    ) -> Result<(), Failure> {
        body.insert("filter".to_owned(), Value::Object(self.which.filter()));
        if self.all {
            body.insert("all".to_owned(), json!(true));
        }
        let done = if verb == "purge" { "dropped for good" } else { "handed in again" };
        let path = format!("/v1/dead-letters:{verb}");
        let wanted = Wanted { path, body, things: "dead letters", done, yes: self.yes };
        wanted.carry_out(&mut client, &daemon.output).await
    }
}
