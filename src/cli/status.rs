//! `tidegate status`: the daemon on one screen.

use clap::Args;
use serde_json::Value;

use crate::cli::ConfigArguments;
use crate::cli::client::Client;
use crate::cli::dispatch::line as stop_line;
use crate::cli::exit::Failure;
use crate::cli::output::{Colour, OutputArguments, Style, printable};
use crate::cli::words::{about_seconds, age, bytes, count, grouped, list, pairs, text, until};
use crate::clock::{Clock, Timestamp};

const EXAMPLES: &str = "\
Examples:
  tidegate status
  tidegate status --json | jq .events

Exit codes: 0 shown, whether it is ready or not (see `tidegate health`), 69 no daemon answers";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// `--listen` (listen.address) says where the daemon listens
    #[command(flatten)]
    config: ConfigArguments,
    #[command(flatten)]
    output: OutputArguments,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let address = arguments.config.load()?.config.listen.address;
    let status = Client::connect(address).await?.get("/v1/status").await?;
    let now = Clock::system().now();
    arguments.output.print(&status, |style| screen(&status, &address.to_string(), style, now))
}

/// The lines of the screen, one for each topic.
fn screen(status: &Value, address: &str, style: Style, now: Timestamp) -> String {
    let uptime = status.pointer("/uptime_seconds").and_then(Value::as_f64).unwrap_or(0.0);
    let head = format!("tidegate {} at {address}, up {}", text(status, "/version"), about_seconds(uptime));
    let lines = pairs([
        ("ready", readiness(status, style)),
        ("events", events(status, now)),
        ("rates", rates(status)),
        ("ended", counts(status, "/ended", &["delivered", "dead", "expired", "dropped", "lost"])),
        ("policies", counts(status, "/policies", &["deployed", "draining", "idle", "paused", "held"])),
        ("held", held(status, style, now)),
        ("stopped", stopped(status, style, now)),
        ("doubts", doubts(status, style)),
        ("disk", disk(status)),
        ("keys", keys(status, style)),
    ]);
    format!("{}\n{lines}", style.paint(Some(Colour::Strong), &printable(&head)))
}

fn readiness(status: &Value, style: Style) -> String {
    if status.pointer("/ready").and_then(Value::as_bool) == Some(true) {
        return style.paint(Some(Colour::Good), "yes");
    }
    let problems: Vec<_> =
        list(status, "/problems").iter().filter_map(Value::as_str).map(printable).collect();
    style.paint(Some(Colour::Bad), &format!("no: {}", problems.join("; ")))
}

fn events(status: &Value, now: Timestamp) -> String {
    let here = counts(status, "/events", &["ready", "delayed", "inflight"]);
    match text(status, "/events/oldest") {
        // Nothing waits and nothing is under way.
        "" => here,
        oldest => format!("{here}; the oldest is {} old", age(Some(oldest), now)),
    }
}

/// The rates of the last seconds in words.
pub(super) fn rates(status: &Value) -> String {
    let rate = |name: &str| status.pointer(&format!("/rates/{name}")).and_then(Value::as_f64);
    match (rate("accepted_per_second"), rate("delivered_per_second"), rate("over_seconds")) {
        (Some(accepted), Some(delivered), Some(over)) => {
            format!("{accepted:.1} accepted/s, {delivered:.1} delivered/s over {over:.0} s")
        }
        _ => "not known yet".to_owned(),
    }
}

fn counts(status: &Value, under: &str, names: &[&str]) -> String {
    let one = |name: &&str| format!("{} {name}", grouped(count(status, &format!("{under}/{name}"))));
    names.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn held(status: &Value, style: Style, now: Timestamp) -> String {
    let reasons = list(status, "/held").iter().map(|held| {
        let (lanes, reason) = (count(held, "/lanes"), text(held, "/reason"));
        let noun = if lanes == 1 { "lane" } else { "lanes" };
        let end = match text(held, "/until") {
            "" => String::new(),
            at => format!(" until {}", until(at, now)),
        };
        style.paint(Some(Colour::Warning), &printable(&format!("{} {noun} by {reason}{end}", grouped(lanes))))
    });
    let reasons: Vec<_> = reasons.collect();
    if reasons.is_empty() { "nothing".to_owned() } else { reasons.join(", ") }
}

fn stopped(status: &Value, style: Style, now: Timestamp) -> String {
    let stops =
        list(status, "/stops").iter().map(|stop| style.paint(Some(Colour::Bad), &stop_line(stop, now)));
    let stops: Vec<_> = stops.collect();
    if stops.is_empty() { "nothing".to_owned() } else { stops.join("; ") }
}

fn doubts(status: &Value, style: Style) -> String {
    match (count(status, "/doubts/open"), count(status, "/doubts/unacknowledged")) {
        (0, _) => "none".to_owned(),
        (open, unseen) => {
            let events = grouped(count(status, "/doubts/events"));
            let line = format!(
                "{open} open ({unseen} not acknowledged) about {events} events: see `tidegate doubts`"
            );
            // A doubt that somebody has acknowledged is known and still worth a look.
            style.paint(Some(if unseen > 0 { Colour::Bad } else { Colour::Warning }), &line)
        }
    }
}

fn disk(status: &Value) -> String {
    let (used, left) = (count(status, "/store/disk_bytes"), count(status, "/store/free_bytes"));
    format!("{} used, {} free", bytes(used), bytes(left))
}

/// The keys of what is at rest, the one that encrypts first.
fn keys(status: &Value, style: Style) -> String {
    let one = |key: &Value| {
        let is = |name: &str| key.get(name).and_then(Value::as_bool) == Some(true);
        let id = key.get("id").and_then(Value::as_str).unwrap_or("not encrypted");
        let needed =
            format!("{} events in {} files", grouped(count(key, "/records")), grouped(count(key, "/files")));
        match (is("present"), is("encrypts")) {
            (false, _) => {
                style.paint(Some(Colour::Bad), &printable(&format!("{id} is MISSING, needed by {needed}")))
            }
            (true, true) => printable(&format!("{id} encrypts, {needed}")),
            (true, false) => printable(&format!("{id} for {needed}")),
        }
    };
    let keys: Vec<_> = list(status, "/store/keys").iter().map(one).collect();
    if keys.is_empty() { "nothing is encrypted".to_owned() } else { keys.join("; ") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_screen_says_what_is_wrong() {
        let now = Timestamp::parse("2030-01-31T08:00:10Z").expect("a date");
        let status = json!({
            "version": "1.2.3", "uptime_seconds": 3600.0, "ready": false, "problems": ["not_draining: shutting down"],
            "events": {"ready": 1200, "delayed": 0, "inflight": 2, "oldest": "2030-01-31T08:00:00Z"},
            "ended": {"delivered": 7}, "rates": null, "policies": {"deployed": 1},
            "held": [{"reason": "breaker", "lanes": 2, "until": "2030-01-31T08:00:20Z"}],
            "doubts": {"open": 1, "unacknowledged": 1, "events": 3},
            "store": {"disk_bytes": 1024, "free_bytes": 2048, "keys": [
                {"id": "7c1f0a9e", "present": true, "encrypts": true, "files": 1, "records": 2},
                {"id": "00c0ffee", "present": false, "encrypts": false, "files": 1, "records": 1000},
            ]},
        });
        let screen = screen(&status, "127.0.0.1:7080", Style::of_stdout(), now);
        let screen = console::strip_ansi_codes(&screen);
        for line in [
            "tidegate 1.2.3 at 127.0.0.1:7080, up 1 h\n",
            "ready      no: not_draining: shutting down\n",
            "events     1 200 ready, 0 delayed, 2 inflight; the oldest is 10 s old\n",
            "rates      not known yet\n",
            "held       2 lanes by breaker until 2030-01-31T08:00:20Z (in 10 s)\n",
            "doubts     1 open (1 not acknowledged) about 3 events: see `tidegate doubts`\n",
            "disk       1.0 KiB used, 2.0 KiB free\n",
            "keys       7c1f0a9e encrypts, 2 events in 1 files; 00c0ffee is MISSING, needed by 1 000 events in 1 files",
        ] {
            assert!(screen.contains(line), "{line} is not in\n{screen}");
        }
    }
}
