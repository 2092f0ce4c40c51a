//! `tidegate event`: look at single events of a running daemon and change those that wait.

use clap::{Args, Subcommand};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::cli::ConfigArguments;
use crate::cli::client::{Client, refusal};
use crate::cli::exit::Failure;
use crate::cli::output::{OutputArguments, printable};
use crate::cli::policy::seconds;
use crate::cli::tried;
use crate::cli::words::{count, pairs, text, until};
use crate::clock::{Clock, Timestamp};

const EXAMPLES: &str = "\
Examples:
  tidegate event show 0198c4f0-5f3a-7c00-8000-000000000001
  tidegate event show --json \"$id\" | jq -r .state

Exit codes: 0 shown, 1 no such event, or it has ended long ago, 69 no daemon answers";

const CHANGE_CODES: &str = "\
Exit codes: 0 changed, or as it is asked for already, 1 no such event, its call is under way, or it has ended otherwise, \
69 no daemon answers";

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show where an event stands
    #[command(after_help = EXAMPLES)]
    Show(One),
    /// Cancel an event that waits; a call under way is left alone
    #[command(after_help = CHANGE_CODES)]
    Cancel(One),
    /// Put an event that waits to another time
    #[command(after_help = CHANGE_CODES)]
    Delay(Delay),
    /// Send an event ahead of its turn, within every limit
    #[command(after_help = CHANGE_CODES)]
    SendNow(One),
}

#[derive(Debug, Args)]
struct Delay {
    #[command(flatten)]
    one: One,
    /// From now on, such as 90s, 10m, 2h or 1d
    #[arg(long = "for", value_name = "TIME", value_parser = seconds, required_unless_present = "until")]
    length: Option<u64>,
    /// Until this time, such as 2030-01-31T08:00:00Z
    #[arg(long, value_name = "DATE", conflicts_with = "length")]
    until: Option<String>,
}

#[derive(Debug, Args)]
struct One {
    /// Its id, as the answer to the hand-in named it
    #[arg(value_parser = event_id)]
    id: String,
    /// `--listen` (listen.address) says where the daemon listens
    #[command(flatten)]
    config: ConfigArguments,
    #[command(flatten)]
    output: OutputArguments,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.verb {
        Verb::Show(one) => one.ask(Method::GET, "", None).await,
        Verb::Cancel(one) => one.ask(Method::DELETE, "", None).await,
        Verb::SendNow(one) => one.ask(Method::POST, ":send-now", Some(&json!({}))).await,
        Verb::Delay(Delay { one, length, until }) => {
            // A length counts from the daemon's clock, whatever the clock of this machine shows.
            let body = match length {
                Some(length) => json!({"delay_seconds": length}),
                None => json!({"due_at": until}),
            };
            one.ask(Method::POST, ":delay", Some(&body)).await
        }
    }
}

impl One {
    /// Does it and prints where the event stands then.
    async fn ask(self, method: Method, verb: &str, body: Option<&Value>) -> Result<(), Failure> {
        let Self { id, config, output } = self;
        let mut client = Client::connect(config.load()?.config.listen.address).await?;
        let (status, answer) = client.call(method, &format!("/v1/events/{id}{verb}"), body).await?;
        if status != StatusCode::OK {
            return Err(refusal("it was refused", status, &answer));
        }
        let event: Value = serde_json::from_slice(&answer)
            .map_err(|error| Failure::new(format!("the answer does not read: {error}")))?;
        let now = Clock::system().now();
        output.print(&event, |_| lines(&event, now))
    }
}

fn lines(event: &Value, now: Timestamp) -> String {
    let mut rows = vec![("event", text(event, "/id").to_owned()), ("state", standing(event))];
    // An event that has ended is in no lane.
    if event.get("lane").is_some() {
        rows.push(("call", format!("{} {}", text(event, "/method"), text(event, "/url"))));
        rows.push(("attempts", count(event, "/attempts").to_string()));
        if !text(event, "/due_at").is_empty() {
            rows.push(("due", until(text(event, "/due_at"), now)));
        }
        rows.push(("expires", until(text(event, "/expires_at"), now)));
        rows.push(("lane", text(event, "/lane").to_owned()));
    }
    rows.extend(tried::rows(event));
    pairs(rows.into_iter().map(|(name, value)| (name, printable(&value))))
}

/// The state, and of an event that has ended how and why.
pub(super) fn standing(event: &Value) -> String {
    let [state, outcome, cause, reason] =
        ["/state", "/outcome", "/cause", "/reason"].map(|pointer| text(event, pointer).to_owned());
    let mut words = vec![state, outcome, cause];
    // A reason that is the outcome once more says nothing new.
    if !words.contains(&reason) {
        words.push(reason);
    }
    let status = count(event, "/last_status");
    let last = format!("http_{status}");
    if status > 0 && !words.contains(&last) {
        words.push(format!("last answer {last}"));
    }
    let [policy, name, limit] =
        ["/policy/id", "/policy/name", "/limit/kind"].map(|pointer| text(event, pointer));
    if !limit.is_empty() {
        let name = if name.is_empty() { String::new() } else { format!(" ({name})") };
        words.push(format!("turned away by the {limit} of {policy}{name}"));
    }
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(", ")
}

/// An id as it may stand in a path: another text could lead to another route.
pub(super) fn event_id(text: &str) -> Result<String, String> {
    let is_plain = (1..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    let rule = "must be the id of an event, such as 0198c4f0-5f3a-7c00-8000-000000000001";
    if is_plain { Ok(text.to_owned()) } else { Err(rule.to_owned()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_waiting_event_has_its_call_and_a_settled_one_its_outcome() {
        let now = Timestamp::parse("2030-01-31T08:00:10Z").expect("a date");
        let waiting = json!({
            "id": "0198", "state": "delayed", "lane": "orders@1", "attempts": 2, "due_at": "2030-01-31T08:00:20Z",
            "expires_at": "2030-01-31T14:00:00Z", "method": "POST", "url": "http://a.test/\u{1b}x",
        });
        let shown = lines(&waiting, now);
        assert!(shown.contains("due        2030-01-31T08:00:20Z (in 10 s)\n"), "{shown}");
        assert!(shown.contains("call       POST http://a.test/\\u{1b}x\n"), "{shown}");
        let settled = json!({"id": "0198", "state": "settled", "outcome": "expired", "cause": "held"});
        assert_eq!(lines(&settled, now), "event      0198\nstate      settled, expired, held\n");
        let state = |more: Value| {
            let mut event = json!({"state": "settled", "outcome": "dead"});
            let members = more.as_object().expect("members").clone();
            event.as_object_mut().expect("members").extend(members);
            standing(&event)
        };
        assert_eq!(state(json!({"reason": "http_404", "last_status": 404})), "settled, dead, http_404");
        assert_eq!(
            state(json!({"reason": "timeout", "last_status": 503})),
            "settled, dead, timeout, last answer http_503"
        );
        let by = json!({"id": "p", "name": "CRM", "system": "file", "config": null});
        assert_eq!(
            state(json!({"reason": "over_quota", "policy": by, "limit": {"kind": "quota"}})),
            "settled, dead, over_quota, turned away by the quota of p (CRM)"
        );
        assert_eq!(
            standing(&json!({"state": "settled", "outcome": "expired", "reason": "expired"})),
            "settled, expired"
        );
    }

    #[test]
    fn an_id_leads_to_no_other_path() {
        assert!(event_id("0198c4f0-5f3a-7c00-8000-000000000001").is_ok());
        for wrong in ["", "../policies", "0198 ", "x?y", &"0".repeat(65)] {
            assert!(event_id(wrong).is_err(), "{wrong}");
        }
    }
}
