//! `tidegate events cancel`, `delay`, `send-now` and `purge`: counted, confirmed, and watched to the end.

use clap::Args;
use serde_json::{Map, Value, json};

use crate::cli::ConfigArguments;
use crate::cli::changes::Wanted;
use crate::cli::client::Client;
use crate::cli::events::{Filter, labels, url_prefix};
use crate::cli::exit::Failure;
use crate::cli::output::OutputArguments;
use crate::cli::policies::label;
use crate::cli::policy::seconds;

/// How a change is confirmed, where the daemon is, how the answer is written.
#[derive(Debug, Args)]
struct Common {
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
pub(super) struct Change {
    #[command(flatten)]
    filter: Filter,
    /// Every event that waits, without a filter
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    common: Common,
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

#[derive(Debug, Args)]
pub(super) struct Purge {
    /// A label that they have; once for each
    #[arg(long, value_name = "LABEL=VALUE", value_parser = label, required_unless_present = "url_prefix")]
    label: Vec<(String, String)>,
    /// How their URL begins, without its query
    #[arg(long, value_name = "TEXT", value_parser = url_prefix)]
    url_prefix: Option<String>,
    #[command(flatten)]
    common: Common,
}

impl Delay {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Self { change, length, until } = self;
        // A length counts from the daemon's clock, whatever the clock of this machine shows.
        let (member, value) = match length {
            Some(length) => ("delay_seconds", json!(length)),
            None => ("due_at", json!(until)),
        };
        change.run("delay", "put off", Map::from_iter([(member.to_owned(), value)])).await
    }
}

impl Change {
    pub(super) async fn run(self, verb: &str, done: &str, more: Map<String, Value>) -> Result<(), Failure> {
        let mut body = more;
        let filter = self.filter.members();
        if self.all {
            body.insert("all".to_owned(), json!(true));
        }
        if !filter.is_empty() || !self.all {
            body.insert("filter".to_owned(), Value::Object(filter));
        }
        self.common.carry_out(verb, done, body).await
    }
}

impl Purge {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let mut filter = Map::new();
        filter.extend(labels(&self.label));
        filter.extend(self.url_prefix.map(|prefix| ("url_prefix".to_owned(), json!(prefix))));
        let body = Map::from_iter([("filter".to_owned(), Value::Object(filter))]);
        self.common.carry_out("purge", "dropped for good, waiting and dead", body).await
    }
}

impl Common {
    async fn carry_out(self, verb: &str, done: &str, body: Map<String, Value>) -> Result<(), Failure> {
        let mut client = Client::connect(self.config.load()?.config.listen.address).await?;
        let path = format!("/v1/events:{verb}");
        let wanted = Wanted { path, body, things: "events", done, yes: self.yes };
        wanted.carry_out(&mut client, &self.output).await
    }
}
