//! `tidegate events`: the events of a running daemon that wait, listed and changed.

mod bulk;

use std::fmt::Write;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use crate::cli::ConfigArguments;
use crate::cli::client::Client;
use crate::cli::exit::Failure;
use crate::cli::explain::escaped;
use crate::cli::output::{OutputArguments, TextTable, left, right};
use crate::cli::policies::{checked_id, label};
use crate::cli::priority::PriorityArgument;
use crate::cli::words::{count, list, or_dash, text, until};
use crate::clock::{Clock, Timestamp};

const EXAMPLES: &str = "\
Examples:
  tidegate events list --policy crm --state delayed
  tidegate events list --label org=ACME --limit 10000 --json | jq -r '.events[].id'

Exit codes: 0 shown, 69 no daemon answers";

const CHANGE_EXAMPLES: &str = "\
Examples:
  tidegate events cancel --policy crm --label org=ACME
  tidegate events delay --url-prefix https://api.example.org/ --for 30m --yes

What is meant is counted first, and then has to be confirmed.

Exit codes: 0 all of them were looked at, or none is meant, 1 refused, not confirmed, stopped or failed, 69 no daemon answers";

const PURGE_EXAMPLES: &str = "\
Examples:
  tidegate events purge --label customer=4711

What is meant is counted first, waiting and dead, and then has to be confirmed. It ends when nothing is left, or says what could
not be removed.

Exit codes: 0 done, or none is meant, 1 refused, not confirmed, stopped or failed, 69 no daemon answers";

/// Events that one page brings at most.
const PAGE: u64 = 1000;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List events that wait, lane by lane, in a lane in the order of acceptance
    List(List),
    /// Cancel those that are meant; calls under way are left alone
    #[command(after_help = CHANGE_EXAMPLES)]
    Cancel(bulk::Change),
    /// Put those that are meant to another time
    #[command(after_help = CHANGE_EXAMPLES)]
    Delay(bulk::Delay),
    /// Drop those that are meant for good, dead letters too; calls under way are waited for
    #[command(after_help = PURGE_EXAMPLES)]
    Purge(bulk::Purge),
    /// Send those that are meant ahead of their turn, within every limit
    #[command(after_help = CHANGE_EXAMPLES)]
    SendNow(bulk::Change),
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct List {
    #[command(flatten)]
    filter: Filter,
    /// List at most so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u64,
    /// `--listen` (listen.address) says where the daemon listens
    #[command(flatten)]
    config: ConfigArguments,
    #[command(flatten)]
    output: OutputArguments,
}

/// Which events are meant: all of what is given has to hold.
#[derive(Debug, Args)]
struct Filter {
    /// A policy that governs them
    #[arg(long, value_name = "ID", value_parser = checked_id)]
    policy: Option<String>,
    /// Where they stand
    #[arg(long, value_enum)]
    state: Option<State>,
    /// Their priority
    #[arg(long, value_enum)]
    priority: Option<PriorityArgument>,
    /// A label that they have; once for each
    #[arg(long, value_name = "LABEL=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
    /// How their URL begins, without its query
    #[arg(long, value_name = "TEXT", value_parser = url_prefix)]
    url_prefix: Option<String>,
    /// They were accepted later, such as 2030-01-31T08:00:00Z
    #[arg(long, value_name = "DATE")]
    accepted_after: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum State {
    Ready,
    Delayed,
    Inflight,
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Delayed => "delayed",
            Self::Inflight => "inflight",
        }
    }
}

impl Filter {
    /// Its members, for a request that changes what is meant.
    fn members(&self) -> Map<String, Value> {
        let named = self.named().into_iter().map(|(name, value)| (name.to_owned(), json!(value)));
        named.chain(labels(&self.label)).collect()
    }

    /// Its parameters with their values.
    fn pairs(&self) -> Vec<(String, String)> {
        let named = self.named().into_iter().map(|(name, value)| (name.to_owned(), value));
        let labels = self.label.iter().map(|(label, value)| (format!("label.{label}"), value.clone()));
        named.chain(labels).collect()
    }

    /// What is given beside labels.
    fn named(&self) -> Vec<(&'static str, String)> {
        let state = self.state.map(|state| state.word().to_owned());
        let named = [
            ("policy", self.policy.clone()),
            ("state", state),
            ("priority", self.priority.map(|priority| priority.word().to_owned())),
            ("url_prefix", self.url_prefix.clone()),
            ("accepted_after", self.accepted_after.clone()),
        ];
        named.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// Labels as a member of a filter; none without one.
/// A beginning of URLs that says something: every URL begins with nothing.
fn url_prefix(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("is empty: every URL begins so".to_owned());
    }
    Ok(text.to_owned())
}

fn labels(labels: &[(String, String)]) -> Option<(String, Value)> {
    let members: Map<String, Value> =
        labels.iter().map(|(label, value)| (label.clone(), json!(value))).collect();
    (!members.is_empty()).then(|| ("labels".to_owned(), Value::Object(members)))
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.verb {
        Verb::List(arguments) => shown(arguments).await,
        Verb::Cancel(change) => change.run("cancel", "cancelled", Map::new()).await,
        Verb::SendNow(change) => change.run("send-now", "sent ahead of their turn", Map::new()).await,
        Verb::Purge(purge) => purge.run().await,
        Verb::Delay(delay) => delay.run().await,
    }
}

async fn shown(arguments: List) -> Result<(), Failure> {
    let mut client = Client::connect(arguments.config.load()?.config.listen.address).await?;
    let (mut events, mut unread, mut cursor) = (Vec::new(), 0, None);
    loop {
        let rest = arguments.limit.saturating_sub(events.len() as u64);
        if rest == 0 {
            break;
        }
        let mut page = client.get(&path(&arguments.filter, rest.min(PAGE), cursor.as_deref())).await?;
        unread += count(&page, "/unread");
        cursor = Some(text(&page, "/next_cursor").to_owned()).filter(|cursor| !cursor.is_empty());
        if let Some(Value::Array(found)) = page.get_mut("events").map(Value::take) {
            events.extend(found);
        }
        if cursor.is_none() {
            break;
        }
    }
    let shown = json!({"events": events, "unread": unread, "next_cursor": cursor});
    let now = Clock::system().now();
    arguments.output.print(&shown, |style| {
        let mut lines = table(&shown, now).render(style);
        if cursor.is_some() {
            lines.push_str("there are more: see --limit\n");
        }
        if unread > 0 {
            // Writing to a text never fails.
            let _ = writeln!(lines, "{unread} cannot be read at present: see `tidegate doubts list`");
        }
        lines
    })
}

fn path(filter: &Filter, most: u64, cursor: Option<&str>) -> String {
    let mut pairs = filter.pairs();
    pairs.push(("limit".to_owned(), most.to_string()));
    pairs.extend(cursor.map(|cursor| ("cursor".to_owned(), cursor.to_owned())));
    let pairs = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", escaped(name.as_bytes()), escaped(value.as_bytes())));
    format!("/v1/events?{}", pairs.collect::<Vec<_>>().join("&"))
}

fn table(shown: &Value, now: Timestamp) -> TextTable {
    let columns =
        [left("EVENT"), left("STATE"), right("ATTEMPTS"), left("DUE"), left("EXPIRES"), left("CALL")];
    let mut table = TextTable::new(&columns);
    for event in list(shown, "/events") {
        let due = text(event, "/due_at");
        let due = if due.is_empty() { String::new() } else { until(due, now) };
        table.row([
            text(event, "/id").into(),
            text(event, "/state").into(),
            count(event, "/attempts").to_string().into(),
            or_dash(&due).into(),
            text(event, "/expires_at").into(),
            format!("{} {}", text(event, "/method"), text(event, "/url")).into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Style;

    fn filter() -> Filter {
        Filter {
            policy: Some("crm".to_owned()),
            state: Some(State::Delayed),
            priority: Some(PriorityArgument::Low),
            label: vec![("a b".to_owned(), "A&B".to_owned())],
            url_prefix: Some("http://h/?".to_owned()),
            accepted_after: None,
        }
    }

    #[test]
    fn a_filter_is_asked_for_as_it_was_given() {
        assert_eq!(
            path(&filter(), 7, Some("Pg")),
            "/v1/events?policy=crm&state=delayed&priority=low&url_prefix=http%3A%2F%2Fh%2F%3F&label.a%20b=A%26B&limit=7&cursor=Pg"
        );
    }

    #[test]
    fn events_are_told_in_a_table() {
        let now = Timestamp::parse("2030-01-31T08:00:10Z").expect("a date");
        let event = |due_at: Value| {
            json!({
                "id": "0198", "state": "delayed", "attempts": 2, "due_at": due_at, "method": "POST",
                "expires_at": "2030-01-31T14:00:00Z", "url": "http://a.test/\u{1b}x",
            })
        };
        let shown = json!({"events": [event(json!("2030-01-31T08:00:20Z")), event(Value::Null)]});
        let table = table(&shown, now).render(Style::of_stdout());
        let table = console::strip_ansi_codes(&table);
        for part in ["2030-01-31T08:00:20Z (in 10 s)", "POST http://a.test/\\u{1b}x"] {
            assert!(table.contains(part), "{part} is not in\n{table}");
        }
        assert_eq!(table.lines().count(), 3);
    }
}
