//! `tidegate explain`: why an event, or a call that was not handed in, is or would be where it is.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use http::Method;
use http::header::{HeaderName, HeaderValue};
use serde_json::Value;

use crate::cli::ConfigArguments;
use crate::cli::client::Client;
use crate::cli::event::{event_id, standing};
use crate::cli::exit::Failure;
use crate::cli::output::{Cell, Colour, OutputArguments, Style, TextTable, left, printable};
use crate::cli::priority::PriorityArgument;
use crate::cli::tried;
use crate::cli::words::{count, grouped, list, pairs, text, until};
use crate::clock::{Clock, Timestamp};

const EXAMPLES: &str = "\
Examples:
  tidegate explain 0198c4f0-5f3a-7c00-8000-000000000001
  tidegate explain --url https://api.example.org/orders --method GET --label org=ACME
  tidegate explain --url https://api.example.org/orders --header x-key=k1 --request-header x-gw-ims-org-id=ACME
  tidegate explain --event event.json

Exit codes: 0 explained, 1 no such event, or it has ended long ago, 69 no daemon answers";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The id of an event
    #[arg(value_parser = event_id, required_unless_present_any = ["url", "event"],
        conflicts_with_all = ["url", "method", "priority", "label", "header", "request_header", "event"])]
    id: Option<String>,
    /// The address of a call that was not handed in
    #[arg(long)]
    url: Option<String>,
    /// The method of that call; POST when missing
    #[arg(long)]
    method: Option<String>,
    /// The priority of that call; normal when missing
    #[arg(long, value_enum)]
    priority: Option<PriorityArgument>,
    /// A label of that call; once for each
    #[arg(long, value_name = "LABEL=VALUE", value_parser = super::policies::label)]
    label: Vec<(String, String)>,
    /// A header of that call; once for each
    #[arg(long, value_name = "NAME=VALUE", value_parser = header)]
    header: Vec<(HeaderName, HeaderValue)>,
    /// A header of the request that would hand it in, of those that are labels of its events; once for each
    #[arg(long, value_name = "NAME=VALUE", value_parser = header)]
    request_header: Vec<(HeaderName, HeaderValue)>,
    /// A file with the event that would be handed in, as JSON; `-` reads standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["url", "method", "priority", "label", "header"])]
    event: Option<PathBuf>,
    /// `--listen` (listen.address) says where the daemon listens
    #[command(flatten)]
    config: ConfigArguments,
    #[command(flatten)]
    output: OutputArguments,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let address = arguments.config.load()?.config.listen.address;
    let event = arguments.event.as_deref().map(read).transpose()?;
    let mut client = Client::connect(address).await?;
    let headers = &arguments.request_header;
    let explained = match event {
        Some(event) => client.ask(Method::POST, "/v1/explain", headers, event).await?,
        None => {
            let path = format!("/v1/explain?{}", query(&arguments));
            client.ask(Method::GET, &path, headers, Bytes::new()).await?
        }
    };
    let now = Clock::system().now();
    arguments.output.print(&explained, |style| lines(&explained, style, now))
}

/// The text of a file, which the daemon checks.
fn read(path: &Path) -> Result<Bytes, Failure> {
    let text = if path == Path::new("-") {
        std::io::read_to_string(std::io::stdin().lock())
    } else {
        std::fs::read_to_string(path)
    };
    text.map(Bytes::from).map_err(|error| Failure::new(format!("--event {}: {error}", path.display())))
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    let name =
        HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is not a header name"))?;
    let value =
        HeaderValue::from_str(value).map_err(|_| "the value has other characters than visible ASCII")?;
    Ok((name, value))
}

fn query(arguments: &Arguments) -> String {
    let named = [
        ("id", arguments.id.as_deref()),
        ("url", arguments.url.as_deref()),
        ("method", arguments.method.as_deref()),
        ("priority", arguments.priority.map(PriorityArgument::word)),
    ];
    let named = named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let labels = arguments.label.iter().map(|(label, value)| (format!("label.{label}"), value.as_str()));
    let pairs = named.chain(labels).map(|(name, value)| (name, value.as_bytes()));
    let headers = arguments.header.iter().map(|(name, value)| (format!("header.{name}"), value.as_bytes()));
    let pairs =
        pairs.chain(headers).map(|(name, value)| format!("{}={}", escaped(name.as_bytes()), escaped(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// As it stands in a query.
pub(super) fn escaped(text: &[u8]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let one = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.iter().copied().map(one).collect()
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
    // An event that has ended is explained by its outcome and its attempts.
    if explained.get("held").is_none() {
        rows.extend(tried::rows(explained));
        return printed(rows);
    }
    rows.push(("call", format!("{} {}", text(explained, "/method"), text(explained, "/url"))));
    rows.push(("held by", format!("{}: {}", text(explained, "/held/by"), text(explained, "/held/text"))));
    if let Some(rate) = explained.pointer("/rate/calls_per_second").and_then(Value::as_f64) {
        let (why, end) = (text(explained, "/rate/reason"), until(text(explained, "/rate/until"), now));
        rows.push(("rate", format!("{rate} calls per second ({why}) until {end}")));
    }
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
    rows.extend(tried::rows(explained));
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
            "lane": {"name": "orders@1"}, "endpoint": "crm", "ahead": 1200,
            "rate": {"calls_per_second": 12.5, "reason": "reduced", "until": "2030-01-31T08:00:20Z"}, "held": {"by": "limit", "text": "No room."},
            "starts_at": "2030-01-31T08:00:15Z", "due_at": null, "expires_first": true,
        });
        let shown = lines(&explained, Style::of_stdout(), now);
        let shown = console::strip_ansi_codes(&shown);
        for line in [
            "held by    limit: No room.\n",
            "starts     2030-01-31T08:00:15Z (in 5 s)\n",
            "rate       12.5 calls per second (reduced) until 2030-01-31T08:00:20Z (in 10 s)\n",
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
    fn headers_are_read_and_what_is_none_is_refused() {
        let read = |text: &str| header(text).map(|(name, value)| (name.to_string(), value));
        assert_eq!(read("X-Key=a=b"), Ok(("x-key".to_owned(), HeaderValue::from_static("a=b"))));
        for (text, reason) in
            [("x-key", "NAME=VALUE"), ("a b=c", "not a header name"), ("a=\n", "visible ASCII")]
        {
            assert!(read(text).is_err_and(|error| error.contains(reason)), "{text}");
        }
    }

    #[test]
    fn queries_keep_every_character() {
        assert_eq!(escaped("http://a/?x=ä&b c".as_bytes()), "http%3A%2F%2Fa%2F%3Fx%3D%C3%A4%26b%20c");
    }
}
