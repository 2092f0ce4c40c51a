//! `tidegate policy`: look at one policy of a running daemon and steer it.

mod show;

use std::collections::BTreeMap;
use std::io::IsTerminal;

use clap::{Args, Subcommand, ValueEnum};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::cli::client::{Client, refusal};
use crate::cli::exit::Failure;
use crate::cli::output::OutputArguments;
use crate::cli::policies::{checked_id, fetched, label};
use crate::cli::{ConfigArguments, note};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show what it governs and allows, what waits and each set of its counters
    Show(One),
    /// Let nothing start under it; events go on being taken
    Pause(Pause),
    /// End its pause
    Resume(One),
    /// Drop what waits under it, delayed events too; cannot be undone
    Purge(Purge),
    /// State what is used of its quota in the present period, or of its window
    SetUsage(SetUsage),
}

#[derive(Debug, Args)]
struct One {
    /// The id of the policy
    #[arg(value_parser = checked_id)]
    policy: String,
    /// `--listen` (listen.address) says where the daemon listens
    #[command(flatten)]
    config: ConfigArguments,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Debug, Args)]
struct Pause {
    #[command(flatten)]
    one: One,
    /// Why, for whoever wonders: 1 to 200 characters
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// End it by itself after this time, such as 90s, 10m, 2h or 1d; at most 366 days
    #[arg(long = "for", value_name = "TIME", value_parser = seconds, conflicts_with = "until")]
    length: Option<u64>,
    /// End it by itself at this time, such as 2030-01-31T08:00:00Z
    #[arg(long, value_name = "DATE")]
    until: Option<String>,
}

#[derive(Debug, Args)]
struct Purge {
    #[command(flatten)]
    one: One,
    /// Ask nothing; needed where standard input is no terminal
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Args)]
struct SetUsage {
    #[command(flatten)]
    one: One,
    /// Which of its limits
    #[arg(long, value_enum)]
    limit: LimitArgument,
    /// How many starts are used
    #[arg(long, value_name = "N")]
    used: u32,
    /// The value of a label in the policy's scope; once for each
    #[arg(long, value_name = "LABEL=VALUE", value_parser = label)]
    key: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LimitArgument {
    Quota,
    Window,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.verb {
        Verb::Show(one) => {
            let answer = one.ask(Method::GET, "", None).await?;
            let policy = fetched::read(&answer)?;
            one.output.print(&answer, |style| show::text(&policy, &answer, style))
        }
        Verb::Pause(pause) => pause.run().await,
        Verb::Resume(one) => {
            let answer = one.ask(Method::POST, ":resume", Some(&json!({}))).await?;
            one.output.print(&answer, |_| format!("policy {} is not paused\n", one.policy))
        }
        Verb::Purge(purge) => purge.run().await,
        Verb::SetUsage(usage) => usage.run().await,
    }
}

impl One {
    async fn ask(&self, method: Method, verb: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let config = self.config.load()?.config;
        let mut client = Client::connect(config.listen.address).await?;
        let path = format!("/v1/policies/{}{verb}", self.policy);
        let (status, answer) = client.call(method, &path, body).await?;
        if status != StatusCode::OK {
            return Err(refusal("it was refused", status, &answer));
        }
        serde_json::from_slice(&answer)
            .map_err(|error| Failure::new(format!("the answer does not read: {error}")))
    }
}

impl Pause {
    async fn run(self) -> Result<(), Failure> {
        let Self { one, reason, length, until } = self;
        let mut body = json!({"reason": reason});
        match (length, until) {
            // A length counts from the daemon's clock, whatever the clock of this machine shows.
            (Some(length), _) => body["for_seconds"] = json!(length),
            (None, Some(until)) => body["until"] = json!(until),
            (None, None) => {}
        }
        let answer = one.ask(Method::POST, ":pause", Some(&body)).await?;
        let until = answer.pointer("/hold/until").and_then(Value::as_str);
        one.output.print(&answer, |_| match until {
            Some(until) => format!("policy {} is paused until {until}\n", one.policy),
            None => format!("policy {} is paused until it is resumed\n", one.policy),
        })
    }
}

impl Purge {
    async fn run(self) -> Result<(), Failure> {
        let Self { one, yes } = self;
        if !yes {
            if !std::io::stdin().is_terminal() {
                let text = "a purge cannot be undone: repeat it with --yes, or at a terminal, where it asks";
                return Err(Failure::usage(text));
            }
            // Asked first, so that the question can say how much would be lost.
            let policy = fetched::read(&one.ask(Method::GET, "", None).await?)?;
            let waiting = policy.figures.map_or(0, |figures| figures.waiting + figures.delayed);
            note(&format!(
                "{waiting} events wait under policy {}; dropping them cannot be undone. Enter its id to go on:",
                one.policy
            ));
            let mut line = String::new();
            std::io::stdin().read_line(&mut line)?;
            if line.trim() != one.policy {
                return Err(Failure::new("nothing was dropped"));
            }
        }
        // The API wants the id once more: here the person has entered it, or has given --yes.
        let body = json!({"confirm": one.policy});
        let answer = one.ask(Method::POST, ":purge", Some(&body)).await?;
        let purged = answer.get("purged").and_then(Value::as_u64).unwrap_or(0);
        one.output.print(&answer, |_| format!("{purged} events were dropped\n"))
    }
}

impl SetUsage {
    async fn run(self) -> Result<(), Failure> {
        let Self { one, limit, used, key } = self;
        let limit = match limit {
            LimitArgument::Quota => "quota",
            LimitArgument::Window => "window",
        };
        let key: BTreeMap<String, String> = key.into_iter().collect();
        let body = json!({"limit": limit, "key": key, "used": used});
        let answer = one.ask(Method::POST, ":set-usage", Some(&body)).await?;
        one.output.print(&answer, |_| format!("{used} starts are used of the {limit} of {}\n", one.policy))
    }
}

/// A number with a unit, in seconds.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    const RULE: &str = "must be a whole number above 0 with s, m, h or d, such as 10m";
    let unit = text.chars().next_back().ok_or(RULE)?;
    let length = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(RULE.to_owned()),
    };
    // Digits alone: `+1` would parse as well.
    let number = text.strip_suffix(unit).filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    let number: Option<u64> = number.and_then(|number| number.parse().ok()).filter(|number| *number > 0);
    number.and_then(|number| number.checked_mul(length)).ok_or_else(|| RULE.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        for (text, expected) in [("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86_400)] {
            assert_eq!(seconds(text), Ok(expected));
        }
        for text in ["", "10", "m", "0s", "-1s", "+1s", "1.5h", "1w", "1é", "99999999999999999999s"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
