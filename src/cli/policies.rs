//! `tidegate policies`: what operators do to the policies of a running daemon.

use std::collections::BTreeMap;

use clap::{Args, Subcommand, ValueEnum};
use http::{Method, StatusCode};
use serde_json::json;

use crate::cli::client::{Client, refusal};
use crate::cli::exit::Failure;
use crate::cli::{ConfigArguments, print};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// State what is used of a quota in its present period, or of a window
    SetUsage(SetUsage),
}

#[derive(Debug, Args)]
struct SetUsage {
    /// The id of the policy
    policy: String,
    /// Which of its limits
    #[arg(long, value_enum)]
    limit: Limit,
    /// How many starts are used
    #[arg(long, value_name = "N")]
    used: u32,
    /// The value of a label in the policy's scope; once for each
    #[arg(long, value_name = "LABEL=VALUE", value_parser = label)]
    key: Vec<(String, String)>,
    /// `--listen` (listen.address) names the daemon
    #[command(flatten)]
    config: ConfigArguments,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Limit {
    Quota,
    Window,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.verb {
        Verb::SetUsage(usage) => set_usage(usage).await,
    }
}

async fn set_usage(usage: SetUsage) -> Result<(), Failure> {
    let SetUsage { policy, limit, used, key, config } = usage;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if policy.is_empty() || !policy.chars().all(plain) {
        return Err(Failure::new(format!("{policy:?} is not the id of a policy")));
    }
    let config = config.load()?.config;
    let limit = match limit {
        Limit::Quota => "quota",
        Limit::Window => "window",
    };
    let key: BTreeMap<String, String> = key.into_iter().collect();
    let body = json!({"limit": limit, "key": key, "used": used});
    let mut client = Client::connect(config.listen.address).await?;
    let path = format!("/v1/policies/{policy}:set-usage");
    let (status, answer) = client.call(Method::POST, &path, Some(&body)).await?;
    if status != StatusCode::OK {
        return Err(refusal("it was refused", status, &answer));
    }
    print(&format!("{used} starts are used of the {limit} of {policy}\n"))
}

pub(super) fn label(text: &str) -> Result<(String, String), String> {
    let (label, value) = text.split_once('=').ok_or("must be LABEL=VALUE")?;
    Ok((label.to_owned(), value.to_owned()))
}
