//! `tidegate explain`: why an event, or a call that was not handed in, is or would be where it is.

use clap::Args;
use serde_json::Value;

use crate::cli::ConfigArguments;
use crate::cli::client::Client;
use crate::cli::event::{event_id, standing};
use crate::cli::exit::Failure;
use crate::cli::output::{Cell, Colour, OutputArguments, Style, TextTable, left, printable};
use crate::cli::words::{count, grouped, list, pairs, text, until};
use crate::clock::{Clock, Timestamp};

const EXAMPLES: &str = "\
Examples:
  tidegate explain 0198c4f0-5f3a-7c00-8000-000000000001
  tidegate explain --url https://api.example.org/orders --method GET --label org=ACME

Exit codes: 0 explained, 1 no such event, or it has ended long ago, 69 no daemon answers";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The id of an event
    #[arg(value_parser = event_id, required_unless_present = "url", conflicts_with_all = ["url", "method", "label"])]
    id: Option<String>,
    /// The address of a call that was not handed in
    #[arg(long)]
    url: Option<String>,
    /// The method of that call; POST when missing
    #[arg(long)]
    method: Option<String>,
    /// A label of that call; once for each
    #[arg(long, value_name = "LABEL=VALUE", value_parser = super::policies::label)]
    label: Vec<(String, String)>,
    /// `--listen` (listen.address) says where the daemon listens
    #[command(flatten)]
    config: ConfigArguments,
    #[command(flatten)]
    output: OutputArguments,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let address = arguments.config.load()?.config.listen.address;
    let path = format!("/v1/explain?{}", query(&arguments));
    let explained = Client::connect(address).await?.get(&path).await?;
    let now = Clock::system().now();
    arguments.output.print(&explained, |style| lines(&explained, style, now))
}

fn query(arguments: &Arguments) -> String {
    let named = [("id", &arguments.id), ("url", &arguments.url), ("method", &arguments.method)];
    let named = named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.as_deref()?)));
    let labels = arguments.label.iter().map(|(label, value)| (format!("label.{label}"), value.as_str()));
    let pairs = named.chain(labels).map(|(name, value)| format!("{}={}", escaped(&name), escaped(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// As it stands in a query.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let one = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(one).collect()
}

fn lines(explained: &Value, style: Style, now: Timestamp) -> String {
    let mut rows = Vec::new();
    if !text(explained, "/id").is_empty() {
        let attempts = match count(explained, "/attempts") {
            0 => String::new(),
            attempts => format!(", attempts: {attempts}"),
        };
        rows.push(("event", format!("{}: {}{attempts}", text(explained, "/id"), standing(explained))));
    }
    // An event that has ended is explained by its outcome alone.
    if explained.get("held").is_none() {
        return printed(rows);
    }
    rows.push(("call", format!("{} {}", text(explained, "/method"), text(explained, "/url"))));
    rows.push(("held by", format!("{}: {}", text(explained, "/held/by"), text(explained, "/held/text"))));
    for (name, pointer) in [
        ("due", "/due_at"),
        ("starts", "/starts_at"),
        ("drains", "/draining_until"),
        ("expires", "/expires_at"),
        ("lane", "/lane/name"),
        ("endpoint", "/endpoint"),
    ] {
        if !text(explained, pointer).is_empty() {
            rows.push((name, until(text(explained, pointer), now)));
        }
    }
    if explained.get("expires_first").and_then(Value::as_bool) == Some(true) {
        rows.push(("forecast", "it would outlive its time before its start".to_owned()));
    }
    if let Some(ahead) = explained.get("ahead").and_then(Value::as_u64) {
        rows.push(("ahead", format!("{} events of its lane", grouped(ahead))));
    }
    format!("{}\n{}", printed(rows), policies(list(explained, "/policies"), style))
}

fn printed(rows: Vec<(&str, String)>) -> String {
    pairs(rows.into_iter().map(|(name, value)| (name, printable(&value))))
}

fn policies(candidates: &[Value], style: Style) -> String {
    if candidates.is_empty() {
        return "no policy has a pattern that matches\n".to_owned();
    }
    let mut table = TextTable::new(&[left("POLICY"), left("VERDICT"), left("WHY")]);
    for candidate in candidates {
        let verdict = text(candidate, "/verdict");
        let colour = if verdict == "applies" { Colour::Good } else { Colour::Dim };
        table.row([
            text(candidate, "/policy").into(),
            Cell::coloured(verdict, Some(colour)),
            text(candidate, "/text").into(),
        ]);
    }
    table.render(style)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_explanation_is_told_in_lines_and_a_table() {
        let now = Timestamp::parse("2030-01-31T08:00:10Z").expect("a date");
        let explained = json!({
            "method": "POST", "url": "http://a.test/", "policies": [
                {"policy": "orders", "verdict": "applies", "text": "It applies."},
            ],
            "lane": {"name": "orders@1"}, "endpoint": "crm", "ahead": 1200, "held": {"by": "limit", "text": "No room."},
            "starts_at": "2030-01-31T08:00:15Z", "due_at": null, "expires_first": true,
        });
        let shown = lines(&explained, Style::of_stdout(), now);
        let shown = console::strip_ansi_codes(&shown);
        for line in [
            "held by    limit: No room.\n",
            "starts     2030-01-31T08:00:15Z (in 5 s)\n",
            "endpoint   crm\n",
            "ahead      1 200 events of its lane\n",
            "POLICY  VERDICT  WHY\norders  applies  It applies.\n",
        ] {
            assert!(shown.contains(line), "{line} is not in\n{shown}");
        }
        let settled = json!({"id": "0198", "state": "settled", "outcome": "delivered"});
        assert_eq!(lines(&settled, Style::of_stdout(), now), "event      0198: settled, delivered\n");
    }

    #[test]
    fn queries_keep_every_character() {
        assert_eq!(escaped("http://a/?x=ä&b c"), "http%3A%2F%2Fa%2F%3Fx%3D%C3%A4%26b%20c");
    }
}
