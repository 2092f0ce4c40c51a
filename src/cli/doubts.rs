//! `tidegate doubts`: see and decide what is in doubt, through the running daemon, or on the directory when it is
//! stopped.

use std::fmt::Write;

use bytes::Bytes;
use clap::{Args, Subcommand};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::{self, DirectoryUse};
use crate::cli::client::{Client, refusal};
use crate::cli::exit::Failure;
use crate::cli::{ConfigArguments, print};
use crate::config::Config;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Clone, Args)]
struct Common {
    /// `--data-dir` tells whether a daemon runs, `--listen` (listen.address) where
    #[command(flatten)]
    config: ConfigArguments,
    /// Print what the API answers
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Args)]
struct One {
    /// Its number
    id: u64,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List what is in doubt
    List(Common),
    /// Show one doubt and its way out
    Show(One),
    /// Silence the report; what is held stays held
    Acknowledge(One),
    /// Read again what could not be read
    Retry(One),
    /// Settle its events as lost; cannot be undone
    GiveUp {
        #[command(flatten)]
        one: One,
        /// How many events these are
        #[arg(long, value_name = "N")]
        confirm: u64,
    },
    /// Say that what is in doubt is right
    Confirm(One),
}

/// What is needed of a doubt.
#[derive(Deserialize)]
struct ListedDoubt {
    id: u64,
    kind: String,
    subject: String,
    detail: String,
    way_out: String,
    events: u64,
    at_most: bool,
    since: String,
    holds: String,
    acknowledged: bool,
}

#[derive(Deserialize)]
struct DoubtPage {
    doubts: Vec<Value>,
    next_cursor: Option<String>,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.verb.unwrap_or(Verb::List(arguments.common)) {
        Verb::List(common) => list(&common).await,
        Verb::Show(one) => {
            let shown = DoubtRequest::new(&one)?.ask(Method::GET, "", None, false).await?;
            one.common.print(&shown, |shown| Ok(described(&read(shown)?)))
        }
        Verb::Acknowledge(one) => {
            let seen =
                DoubtRequest::new(&one)?.ask(Method::POST, ":acknowledge", Some(json!({})), false).await?;
            one.common.print(&seen, |_| Ok(format!("doubt {} is acknowledged", one.id)))
        }
        Verb::Retry(one) => {
            // At rest it reads events, for which the whole store has to be opened.
            let retried = DoubtRequest::new(&one)?.ask(Method::POST, ":retry", Some(json!({})), true).await?;
            one.common.print(&retried, |retried| Ok(decided(one.id, retried)))
        }
        Verb::GiveUp { one, confirm } => {
            let body = json!({"confirm": confirm});
            // At rest it settles events, for which the whole store has to be opened.
            let given_up = DoubtRequest::new(&one)?.ask(Method::POST, ":give-up", Some(body), true).await?;
            one.common.print(&given_up, |given_up| {
                let events = given_up.get("given_up").and_then(Value::as_u64).unwrap_or(0);
                Ok(format!("{events} events are settled as lost"))
            })
        }
        Verb::Confirm(one) => {
            let confirmed =
                DoubtRequest::new(&one)?.ask(Method::POST, ":confirm", Some(json!({})), false).await?;
            one.common.print(&confirmed, |confirmed| Ok(decided(one.id, confirmed)))
        }
    }
}

async fn list(common: &Common) -> Result<(), Failure> {
    let config = common.config.load()?.config;
    let mut doubts = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/doubts?limit=1000{cursor}");
        let answer = ask(&config, (Method::GET, &path, None), false).await?;
        let page: DoubtPage = read(&answer)?;
        doubts.extend(page.doubts);
        match page.next_cursor {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let all = json!({"doubts": doubts});
    common.print(&all, |_| {
        let rows: Result<Vec<ListedDoubt>, Failure> = doubts.iter().map(read).collect();
        Ok(table(&rows?))
    })
}

/// A request about one doubt, to the daemon or the directory.
struct DoubtRequest {
    id: u64,
    config: Config,
}

impl DoubtRequest {
    fn new(one: &One) -> Result<Self, Failure> {
        Ok(Self { id: one.id, config: one.common.config.load()?.config })
    }

    async fn ask(
        &self,
        method: Method,
        verb: &str,
        body: Option<Value>,
        opens: bool,
    ) -> Result<Value, Failure> {
        let path = format!("/v1/doubts/{}{verb}", self.id);
        ask(&self.config, (method, &path, body.as_ref()), opens).await
    }
}

impl Common {
    fn print(
        &self,
        answer: &Value,
        text: impl FnOnce(&Value) -> Result<String, Failure>,
    ) -> Result<(), Failure> {
        let text = if self.json { answer.to_string() } else { text(answer)? };
        print(&format!("{}\n", text.trim_end()))
    }
}

/// Asks the daemon, or answers from the directory when it is stopped.
async fn ask(
    config: &Config,
    (method, path, body): (Method, &str, Option<&Value>),
    opens: bool,
) -> Result<Value, Failure> {
    let (status, answer) = match app::directory_use(config)? {
        DirectoryUse::AtRest => app::doubts_at_rest(config, (method, path, body), opens).await?,
        // A daemon on another directory may be meant.
        DirectoryUse::InUse | DirectoryUse::Missing => {
            Client::connect(config.listen.address).await?.call(method, path, body).await?
        }
    };
    judged(status, &answer)
}

fn judged(status: StatusCode, answer: &Bytes) -> Result<Value, Failure> {
    if status != StatusCode::OK {
        return Err(refusal("it was refused", status, answer));
    }
    serde_json::from_slice(answer).map_err(|error| Failure::new(format!("the answer does not read: {error}")))
}

fn read<T: for<'de> Deserialize<'de>>(value: &Value) -> Result<T, Failure> {
    T::deserialize(value).map_err(|error| Failure::new(format!("the answer does not read: {error}")))
}

fn decided(id: u64, answer: &Value) -> String {
    let has_ended = answer.get("ended").and_then(Value::as_bool).unwrap_or(false);
    if has_ended { format!("doubt {id} has ended") } else { format!("doubt {id} is still open") }
}

fn events(doubt: &ListedDoubt) -> String {
    if doubt.at_most { format!("<= {}", doubt.events) } else { doubt.events.to_string() }
}

fn table(doubts: &[ListedDoubt]) -> String {
    if doubts.is_empty() {
        return "nothing is in doubt".to_owned();
    }
    let mut text = format!(
        "{:>6}  {:<10}  {:<24}  {:>10}  {:<6}  {:<4}  {}\n",
        "ID", "KIND", "SINCE", "EVENTS", "HOLDS", "SEEN", "SUBJECT"
    );
    for doubt in doubts {
        let seen = if doubt.acknowledged { "yes" } else { "no" };
        // Writing to a text never fails.
        let _ = writeln!(
            text,
            "{:>6}  {:<10}  {:<24}  {:>10}  {:<6}  {:<4}  {}",
            doubt.id,
            doubt.kind,
            doubt.since,
            events(doubt),
            if doubt.holds == "nothing" { "-" } else { &doubt.holds },
            seen,
            doubt.subject
        );
    }
    text.push_str("`tidegate doubts show ID` says what was found and the way out\n");
    text
}

fn described(doubt: &ListedDoubt) -> String {
    let seen = if doubt.acknowledged { "acknowledged" } else { "not acknowledged" };
    format!(
        "doubt {}: {} {}\nsince:   {} ({seen})\nfound:   {}\nevents:  {}\nholds:   {}\nway out: {}\n",
        doubt.id,
        doubt.kind,
        doubt.subject,
        doubt.since,
        doubt.detail,
        events(doubt),
        doubt.holds,
        doubt.way_out
    )
}
