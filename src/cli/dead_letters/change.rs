//! `tidegate dead-letters redrive` and `purge`: one letter, or many, which are counted, confirmed and waited for.

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Common, Which};
use crate::cli::client::{Client, refusal};
use crate::cli::event::event_id;
use crate::cli::exit::Failure;
use crate::cli::note;
use crate::cli::output::{Style, TextTable, left, right};
use crate::cli::words::{age, count, grouped, list, or_dash, text};
use crate::clock::Timestamp;

/// How often is asked how far an operation is.
const ASK_EVERY: Duration = Duration::from_millis(200);

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
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct Purge {
    #[command(flatten)]
    chosen: Chosen,
    #[command(flatten)]
    common: Common,
}

impl Redrive {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let mut body = json!({});
        if let Some(url) = &self.url {
            body["url"] = json!(url);
        }
        if let Some(by) = &self.by {
            body["by"] = json!(by);
        }
        if self.new_id {
            body["new_id"] = json!(true);
        }
        let mut client = self.common.client().await?;
        let Some(id) = &self.chosen.id else {
            return self.chosen.change("redrive", client, body, &self.common).await;
        };
        let path = format!("/v1/dead-letters/{id}:redrive");
        let answer = posted(&mut client, &path, &body, StatusCode::OK).await?;
        self.common.output.print(&answer, |_| format!("event {} waits again\n", text(&answer, "/id")))
    }
}

impl Purge {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let mut client = self.common.client().await?;
        let Some(id) = &self.chosen.id else {
            return self.chosen.change("purge", client, json!({}), &self.common).await;
        };
        if !self.chosen.yes {
            confirmed(&format!("the event {id} would be dropped for good; enter its id to go on:"), id)?;
        }
        let path = format!("/v1/dead-letters/{id}:purge");
        let answer = posted(&mut client, &path, &json!({"confirm": id}), StatusCode::OK).await?;
        self.common.output.print(&answer, |_| format!("the letter of the event {id} is gone\n"))
    }
}

impl Chosen {
    /// Changes all letters that the filter names.
    async fn change(
        &self,
        verb: &str,
        mut client: Client,
        mut body: Value,
        common: &Common,
    ) -> Result<(), Failure> {
        let path = format!("/v1/dead-letters:{verb}");
        body["filter"] = self.which.filter();
        if self.all {
            body["all"] = json!(true);
        }
        let counted = posted(&mut client, &path, &body, StatusCode::OK).await?;
        let letters = count(&counted, "/count");
        if !self.yes && letters > 0 {
            let what = if verb == "purge" { "dropped for good" } else { "handed in again" };
            let question =
                format!("{} dead letters would be {what}; enter {letters} to go on:", grouped(letters));
            confirmed(&question, &letters.to_string())?;
        }
        body["filter"]["before"] = counted["before"].clone();
        body["confirm"] = json!(letters);
        let begun = posted(&mut client, &path, &body, StatusCode::ACCEPTED).await?;
        let ended = until_its_end(&mut client, count(&begun, "/id")).await?;
        common.output.print(&ended, |_| said(&ended))?;
        match text(&ended, "/state") {
            "done" => Ok(()),
            _ => Err(Failure::new(format!(
                "it stopped before its end: {}; start it again with --before {}",
                or_dash(text(&ended, "/error")),
                text(&counted, "/before")
            ))),
        }
    }
}

/// What an operation came to.
fn said(operation: &Value) -> String {
    let verb = if text(operation, "/verb") == "purge" { "purged" } else { "redriven" };
    let mut line = format!("{} dead letters {verb}", grouped(count(operation, "/done")));
    let refused = count(operation, "/refused");
    if refused > 0 {
        let why = or_dash(text(operation, "/refusal"));
        line.push_str(&format!(", {} stay: the first one because {why}", grouped(refused)));
    }
    line + "\n"
}

async fn until_its_end(client: &mut Client, id: u64) -> Result<Value, Failure> {
    loop {
        let answer = client.get("/v1/dead-letters/operations").await?;
        let found = list(&answer, "/operations").iter().find(|operation| count(operation, "/id") == id);
        match found {
            Some(operation) if text(operation, "/state") != "running" => return Ok(operation.clone()),
            Some(_) => tokio::time::sleep(ASK_EVERY).await,
            None => {
                return Err(Failure::new("the daemon no longer knows the operation: was it started anew?"));
            }
        }
    }
}

async fn posted(
    client: &mut Client,
    path: &str,
    body: &Value,
    expected: StatusCode,
) -> Result<Value, Failure> {
    let (status, answer) = client.call(Method::POST, path, Some(body)).await?;
    if status != expected {
        return Err(refusal("it was refused", status, &answer));
    }
    serde_json::from_slice(&answer)
        .map_err(|error| Failure::new(format!("the answer does not read: {error}")))
}

/// Asks at a terminal for a word.
fn confirmed(question: &str, word: &str) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() {
        let text = "many letters, or a purge: repeat it with --yes, or at a terminal, where it asks";
        return Err(Failure::usage(text));
    }
    note(question);
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    if line.trim() == word { Ok(()) } else { Err(Failure::new("nothing was changed")) }
}

/// The operations of the daemon, for people.
pub(super) fn operations(answer: &Value, style: Style, now: Timestamp) -> String {
    let mut table = TextTable::new(&[
        right("ID"),
        left("VERB"),
        left("STATE"),
        right("DONE"),
        right("REFUSED"),
        right("OF"),
        right("BEGUN"),
        left("LETTERS"),
    ]);
    for operation in list(answer, "/operations") {
        table.row([
            count(operation, "/id").into(),
            text(operation, "/verb").into(),
            text(operation, "/state").into(),
            grouped(count(operation, "/done")).into(),
            grouped(count(operation, "/refused")).into(),
            grouped(count(operation, "/count")).into(),
            age(Some(text(operation, "/started_at")), now).into(),
            text(operation, "/about").into(),
        ]);
    }
    table.render(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_says_what_it_did_and_what_stays() {
        let operation = json!({"verb": "redrive", "done": 12_000, "refused": 0});
        assert_eq!(said(&operation), "12 000 dead letters redriven\n");
        let operation = json!({"verb": "redrive", "done": 1, "refused": 2, "refusal": "no policy"});
        assert_eq!(said(&operation), "1 dead letters redriven, 2 stay: the first one because no policy\n");
    }
}
