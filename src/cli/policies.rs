//! `tidegate policies`: all policies of a running daemon, as a list and as code.

mod apply;
mod export;
pub(super) mod fetched;
mod plan;
pub(super) mod shown;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::ConfigArguments;
use crate::cli::client::Client;
use crate::cli::exit::Failure;
use crate::cli::output::{Cell, Colour, OutputArguments, TextTable, left, right};
use crate::cli::words::{age, or_dash};
use crate::clock::{Clock, Timestamp};
use export::Export;
use fetched::{FetchedPolicy, answered, read};

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
    /// `--listen` (listen.address) says where the daemon listens
    #[command(flatten)]
    config: ConfigArguments,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List them with what they allow, how fast they go, what waits and what holds it
    List(Common),
    #[command(
        about = "Print them as [[policy]] blocks of a configuration file; what no block can say stands in comments"
    )]
    Export(Common),
    /// Show what `apply` would change; exit code 0: nothing, 1: something, 2: that could not be found out
    #[command(after_help = DIFF_CODES)]
    Diff(apply::Arguments),
    /// Create and replace policies through the API so that the daemon has those of a file
    Apply(apply::ApplyArguments),
}

const DIFF_CODES: &str = "Exit codes: 0 the daemon has the policies of the file, 1 they differ, 2 something failed or wrong usage, \
     64 the file or the configuration is wrong";

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.verb.unwrap_or(Verb::List(arguments.common)) {
        Verb::List(common) => list(&common).await,
        Verb::Export(common) => export(&common).await,
        Verb::Diff(arguments) => apply::diff(arguments).await,
        Verb::Apply(arguments) => apply::apply(arguments).await,
    }
}

async fn list(common: &Common) -> Result<(), Failure> {
    let config = common.config.load()?.config;
    let answered = answered(&mut Client::connect(config.listen.address).await?).await?;
    let listed: Vec<FetchedPolicy> = answered.iter().map(read).collect::<Result<_, _>>()?;
    let now = Clock::system().wall();
    common.output.print(&json!({"policies": answered}), |style| match listed.as_slice() {
        [] => "there are no policies\n".to_owned(),
        listed => table(listed, now).render(style),
    })
}

async fn export(common: &Common) -> Result<(), Failure> {
    let config = common.config.load()?.config;
    let listed = fetched::listed(&mut Client::connect(config.listen.address).await?).await?;
    let export = Export::of(listed);
    common.output.print(&export, |_| export.to_toml())
}

fn table(listed: &[FetchedPolicy], now: Timestamp) -> TextTable {
    let mut table = TextTable::new(&[
        left("POLICY"),
        left("ORIGIN"),
        left("STATE"),
        left("LIMITS"),
        right("RATE/S"),
        right("WAITING"),
        right("OLDEST"),
        left("HELD BY"),
    ]);
    for policy in listed {
        let figures = policy.figures.as_ref();
        let waiting = figures.map_or(0, |figures| figures.waiting + figures.delayed);
        let oldest = figures.and_then(|figures| figures.oldest.as_deref());
        let (held, colour) = shown::held(policy);
        let state = match policy.state.as_str() {
            "deployed" => Colour::Good,
            _ => Colour::Dim,
        };
        table.row([
            policy.id.as_str().into(),
            policy.origin.as_str().into(),
            Cell::coloured(policy.state.as_str(), Some(state)),
            shown::limits(policy.limits.as_ref()).into(),
            shown::rate(policy).into(),
            waiting.into(),
            age(oldest, now).into(),
            Cell::coloured(or_dash(&held), colour),
        ]);
    }
    table
}

/// Reads `LABEL=VALUE`; the value may have further equals signs.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    let (label, value) = text.split_once('=').ok_or("must be LABEL=VALUE")?;
    Ok((label.to_owned(), value.to_owned()))
}

/// Whether a text can be the id of a policy: what cannot is never asked for.
pub(super) fn checked_id(id: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    // What is nothing but dots is a step in a path.
    let is_id = id.chars().all(plain) && id.chars().any(|c| c.is_ascii_alphanumeric());
    if is_id { Ok(id.to_owned()) } else { Err("is not the id of a policy".to_owned()) }
}
