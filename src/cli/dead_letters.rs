//! `tidegate dead-letters`: look at the dead letters of a running daemon, hand them in again, purge them.

mod change;
mod transfer;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::daemon::DaemonArguments;
use crate::cli::event::event_id;
use crate::cli::exit::Failure;
use crate::cli::explain::escaped;
use crate::cli::output::{Cell, Style, TextTable, left, printable, right};
use crate::cli::policies::{checked_id, label};
use crate::cli::tried;
use crate::cli::words::{age, count, grouped, list, or_dash, pairs, text};
use crate::clock::{Clock, Timestamp};

const EXAMPLES: &str = "\
Examples:
  tidegate dead-letters groups
  tidegate dead-letters list --host api.example.org --status 503
  tidegate dead-letters redrive --host api.example.org --status 503
  tidegate dead-letters redrive 0198c4f0-5f3a-7c00-8000-000000000001 --by \"on call\"
  tidegate dead-letters purge --label org=ACME --before 2030-01-31T08:00:00Z

Exit codes: 0 done, 1 no such letter, or the change was refused or has failed, 69 no daemon answers";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List letters, oldest first
    List(List),
    /// Count letters by reason and endpoint
    Groups(Groups),
    /// Show one letter
    Show(Show),
    /// Hand events in again: one, or all that a filter names, counted first
    Redrive(change::Redrive),
    /// Drop letters for good: one, or all that a filter names, counted first
    Purge(change::Purge),
    /// Print letters as lines of JSON: whole, with headers, bodies and the credentials in them
    Export(transfer::Export),
    /// Add letters of an export; a repetition does nothing
    Import(transfer::Import),
}

/// Which letters are meant: all that is given has to hold.
#[derive(Debug, Clone, Args)]
struct Which {
    /// Of a policy that governed the event
    #[arg(long, value_parser = checked_id)]
    policy: Option<String>,
    /// Parked for this reason, such as http_404, or attempts_exhausted
    #[arg(long)]
    reason: Option<String>,
    /// Parked after an answer with this HTTP status
    #[arg(long)]
    status: Option<u16>,
    /// For this host, with or without its port
    #[arg(long)]
    host: Option<String>,
    /// Parked at this time or later, such as 2030-01-31T08:00:00Z
    #[arg(long, value_name = "DATE")]
    after: Option<String>,
    /// Parked before this time
    #[arg(long, value_name = "DATE")]
    before: Option<String>,
    /// With this label; once for each
    #[arg(long, value_name = "LABEL=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    which: Which,
    /// The newest first
    #[arg(long)]
    newest: bool,
    /// At most so many letters
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    daemon: DaemonArguments,
}

#[derive(Debug, Args)]
struct Groups {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    daemon: DaemonArguments,
}

#[derive(Debug, Args)]
struct Show {
    /// The id of the event
    #[arg(value_parser = event_id)]
    id: String,
    /// Show the body, too
    #[arg(long)]
    body: bool,
    #[command(flatten)]
    daemon: DaemonArguments,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.verb {
        Verb::List(list) => list.run().await,
        Verb::Groups(groups) => groups.run().await,
        Verb::Show(show) => show.run().await,
        Verb::Redrive(redrive) => redrive.run().await,
        Verb::Purge(purge) => purge.run().await,
        Verb::Export(export) => export.run().await,
        Verb::Import(import) => import.run().await,
    }
}

impl Which {
    fn texts(&self) -> Vec<(&'static str, String)> {
        let status = self.status.map(|status| status.to_string());
        let members = [
            ("policy", self.policy.clone()),
            ("reason", self.reason.clone()),
            ("status", status),
            ("host", self.host.clone()),
            ("after", self.after.clone()),
            ("before", self.before.clone()),
        ];
        members.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// As parameters, each with `&` before it.
    fn query(&self) -> String {
        let members =
            self.texts().into_iter().map(|(name, value)| format!("&{name}={}", escaped(value.as_bytes())));
        let labels = self.label.iter();
        let labels = labels.map(|(label, value)| {
            format!("&label.{}={}", escaped(label.as_bytes()), escaped(value.as_bytes()))
        });
        members.chain(labels).collect()
    }

    /// As the member `filter` of a request.
    fn filter(&self) -> serde_json::Map<String, Value> {
        let mut filter: serde_json::Map<String, Value> =
            self.texts().into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
        if !self.label.is_empty() {
            let labels = self.label.iter().cloned().collect::<std::collections::BTreeMap<_, _>>();
            filter.insert("labels".to_owned(), json!(labels));
        }
        filter
    }
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let mut client = self.daemon.client().await?;
        let order = if self.newest { "newest" } else { "oldest" };
        let (mut letters, mut unreadable, mut cursor) = (Vec::new(), 0, String::new());
        while letters.len() < self.limit {
            let limit = (self.limit - letters.len()).min(1000);
            let path = format!("/v1/dead-letters?order={order}&limit={limit}{}{cursor}", self.which.query());
            let page = client.get(&path).await?;
            letters.extend_from_slice(list(&page, "/dead_letters"));
            unreadable += count(&page, "/unreadable");
            match text(&page, "/next_cursor") {
                "" => break,
                next => cursor = format!("&cursor={next}"),
            }
        }
        let all = json!({"dead_letters": letters, "unreadable": unreadable});
        let now = Clock::system().now();
        self.daemon.output.print(&all, |style| listed(&letters, unreadable, style, now))
    }
}

fn listed(letters: &[Value], unreadable: u64, style: Style, now: Timestamp) -> String {
    let mut table =
        TextTable::new(&[left("EVENT"), right("AGE"), left("REASON"), left("CALL"), right("REDRIVEN")]);
    for letter in letters {
        table.row([
            text(letter, "/id").into(),
            age(Some(text(letter, "/parked_at")), now).into(),
            text(letter, "/reason").into(),
            format!("{} {}", text(letter, "/method"), text(letter, "/url")).into(),
            count(letter, "/redriven/count").into(),
        ]);
    }
    let more = match unreadable {
        0 => String::new(),
        letters => format!("{letters} letters cannot be read: see tidegate doubts\n"),
    };
    table.render(style) + &more
}

impl Groups {
    async fn run(self) -> Result<(), Failure> {
        let mut client = self.daemon.client().await?;
        let (mut groups, mut cursor) = (Vec::<Value>::new(), String::new());
        loop {
            let path = format!("/v1/dead-letters?group_by=reason,endpoint{}{cursor}", self.which.query());
            let page = client.get(&path).await?;
            list(&page, "/groups").iter().for_each(|group| add(&mut groups, group));
            match text(&page, "/next_cursor") {
                "" => break,
                next => cursor = format!("&cursor={next}"),
            }
        }
        groups.sort_by_key(|group| std::cmp::Reverse(count(group, "/count")));
        let all = json!({"groups": groups});
        let now = Clock::system().now();
        self.daemon.output.print(&all, |style| {
            let mut table = TextTable::new(&[
                right("LETTERS"),
                left("REASON"),
                left("ENDPOINT"),
                right("OLDEST"),
                right("NEWEST"),
            ]);
            for group in &groups {
                let cells: [Cell; 5] = [
                    grouped(count(group, "/count")).into(),
                    text(group, "/reason").into(),
                    or_dash(text(group, "/endpoint")).into(),
                    age(Some(text(group, "/oldest")), now).into(),
                    age(Some(text(group, "/newest")), now).into(),
                ];
                table.row(cells);
            }
            table.render(style)
        })
    }
}

/// Adds a group of one page to those of the pages before it.
fn add(groups: &mut Vec<Value>, group: &Value) {
    let is_same = |known: &&mut Value| {
        ["/reason", "/endpoint"].iter().all(|name| text(known, name) == text(group, name))
    };
    match groups.iter_mut().find(is_same) {
        None => groups.push(group.clone()),
        Some(known) => {
            // Dates of this form sort as texts.
            let oldest = text(known, "/oldest").min(text(group, "/oldest")).to_owned();
            let newest = text(known, "/newest").max(text(group, "/newest")).to_owned();
            known["count"] = json!(count(known, "/count") + count(group, "/count"));
            (known["oldest"], known["newest"]) = (json!(oldest), json!(newest));
        }
    }
}

impl Show {
    async fn run(self) -> Result<(), Failure> {
        let path = format!("/v1/dead-letters/{}?body={}", self.id, self.body);
        let letter = self.daemon.client().await?.get(&path).await?;
        self.daemon.output.print(&letter, |_| shown(&letter))
    }
}

fn shown(letter: &Value) -> String {
    let own = |pointer: &str| text(letter, pointer).to_owned();
    let policies: Vec<&str> = list(letter, "/policies").iter().filter_map(Value::as_str).collect();
    let labels = letter.get("labels").and_then(Value::as_object).into_iter().flatten();
    let labels: Vec<String> =
        labels.map(|(label, value)| format!("{label}={}", value.as_str().unwrap_or_default())).collect();
    let mut rows = vec![
        ("event", own("/id")),
        ("parked", own("/parked_at")),
        ("reason", own("/reason")),
        ("attempts", count(letter, "/attempts").to_string()),
        ("call", format!("{} {}", own("/method"), own("/url"))),
        ("policies", policies.join(", ")),
        ("labels", labels.join(", ")),
        ("lane", own("/lane")),
        ("body", format!("{} bytes", count(letter, "/body_bytes"))),
    ];
    if count(letter, "/redriven/count") > 0 {
        let times = count(letter, "/redriven/count");
        let by = match text(letter, "/redriven/by") {
            "" => String::new(),
            by => format!(" by {by}"),
        };
        rows.push(("redriven", format!("{times} times, last {}{by}", own("/redriven/at"))));
    }
    rows.extend(tried::rows(letter));
    for body in ["/body", "/body_base64"] {
        if !text(letter, body).is_empty() {
            rows.push(("content", own(body)));
        }
    }
    pairs(rows.into_iter().map(|(name, value)| (name, printable(or_dash(&value)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_pages_add_up() {
        let group = |count: u64, oldest: &str, newest: &str| json!({"reason": "http_404", "endpoint": "a:80", "count": count, "oldest": oldest, "newest": newest});
        let mut groups = Vec::new();
        add(&mut groups, &group(2, "2030-01-31T08:00:00Z", "2030-01-31T09:00:00Z"));
        add(&mut groups, &group(3, "2030-01-31T07:00:00Z", "2030-01-31T08:30:00Z"));
        add(&mut groups, &json!({"reason": "timeout", "endpoint": "a:80", "count": 1}));
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[0], group(5, "2030-01-31T07:00:00Z", "2030-01-31T09:00:00Z"));
    }

    #[test]
    fn a_filter_is_the_same_in_a_query_and_in_a_body() {
        let which = Which {
            policy: Some("orders".to_owned()),
            reason: None,
            status: Some(503),
            host: Some("a.test:8080".to_owned()),
            after: None,
            before: None,
            label: vec![("org".to_owned(), "A&B".to_owned())],
        };
        assert_eq!(which.query(), "&policy=orders&status=503&host=a.test%3A8080&label.org=A%26B");
        let filter =
            json!({"policy": "orders", "status": "503", "host": "a.test:8080", "labels": {"org": "A&B"}});
        assert_eq!(Value::Object(which.filter()), filter);
    }
}
