//! `tidegate policies diff` and `apply`: the policies of a file against those of a daemon.
//!
//! Must not know: how the difference is found.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use http::{Method, StatusCode, header};
use serde::Serialize;
use serde_json::Value;

use crate::cli::client::{Client, refusal};
use crate::cli::exit::Failure;
use crate::cli::output::OutputArguments;
use crate::cli::policies::fetched;
use crate::cli::policies::plan::{Action, Plan, PlanStep};
use crate::cli::{ConfigArguments, note};
use crate::config::FilePolicy;

/// Longest file of policies that is read, in bytes.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[arg(help = "A file with [[policy]] blocks, such as tidegate.toml; `-` reads standard input")]
    file: PathBuf,
    /// Also delete policies of the API that the file does not have
    #[arg(long)]
    prune: bool,
    /// `--listen` (listen.address) says where the daemon listens
    #[command(flatten)]
    config: ConfigArguments,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Debug, Args)]
pub(super) struct ApplyArguments {
    #[command(flatten)]
    common: Arguments,
    /// Let the daemon check each change by itself, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// With --prune and a file without policies: delete all policies of the API
    #[arg(long)]
    yes: bool,
}

/// What was done, or would be.
#[derive(Serialize)]
struct ApplySummary<'p> {
    dry_run: bool,
    created: Vec<&'p str>,
    updated: Vec<&'p str>,
    deleted: Vec<&'p str>,
    unchanged: usize,
    not_listed: &'p [String],
}

/// Shows what `apply` would change; that there is something is a failure.
pub(super) async fn diff(arguments: Arguments) -> Result<(), Failure> {
    let (_, plan) = planned(&arguments).await.map_err(Failure::trouble)?;
    let shown = serde_json::json!({"same": plan.is_same(), "plan": plan});
    let text = |style| if plan.is_same() { String::new() } else { plan.table().render(style) };
    arguments.output.print(&shown, text).map_err(Failure::trouble)?;
    say_kept(&plan, arguments.output);
    if plan.is_same() { Ok(()) } else { Err(Failure::new("the policies differ")) }
}

/// Makes the changes, one policy after the other.
pub(super) async fn apply(arguments: ApplyArguments) -> Result<(), Failure> {
    let ApplyArguments { common, dry_run, yes } = arguments;
    let (mut client, plan) = planned(&common).await?;
    if plan.is_only_deletions() && !dry_run && !yes {
        return Err(Failure::usage(format!(
            "{} has no [[policy]] block, and --prune would delete all policies of the API ({}): repeat it with --yes if \
             that is meant",
            named(&common.file).display(),
            plan.steps.len()
        )));
    }
    // Before the first change: a file with a conflict changes nothing.
    if let Some(conflicts) = plan.conflicting() {
        return Err(Failure::new(conflicts));
    }
    for (done, step) in plan.steps.iter().enumerate() {
        make(&mut client, step, dry_run).await.map_err(|failure| {
            let of = plan.steps.len();
            // What was made stays, and is unchanged for the next run: only a failure that may pass is worth repeating.
            let so_far = match (dry_run, failure.is_passing()) {
                (true, _) => "nothing was changed".to_owned(),
                (false, true) => {
                    format!("{done} of {of} changes were made; apply goes on when it is run again")
                }
                (false, false) => format!("{done} of {of} changes were made"),
            };
            failure.about(&format!("policy {}", step.id)).with(&so_far)
        })?;
    }
    let of = |action: Action| {
        let steps = plan.steps.iter().filter(move |step| step.action == action);
        steps.map(|step| step.id.as_str()).collect()
    };
    let summary = ApplySummary {
        dry_run,
        created: of(Action::Create),
        updated: of(Action::Update),
        deleted: of(Action::Delete),
        unchanged: plan.unchanged,
        not_listed: &plan.not_listed,
    };
    common.output.print(&summary, |style| {
        let table = if plan.steps.is_empty() { String::new() } else { plan.table().render(style) };
        format!("{table}{}\n", counted(&plan, dry_run))
    })?;
    say_kept(&plan, common.output);
    Ok(())
}

/// Reads both sides and compares them.
async fn planned(arguments: &Arguments) -> Result<(Client, Plan), Failure> {
    let policies = read(&arguments.file)?;
    let wanted: Vec<(String, Value)> =
        policies.iter().map(|policy| (policy.name.to_string(), policy.definition())).collect();
    let config = arguments.config.load()?.config;
    let mut client = Client::connect(config.listen.address).await?;
    let listed = fetched::listed(&mut client).await?;
    Ok((client, Plan::of(&wanted, &listed, arguments.prune)))
}

fn read(file: &Path) -> Result<Vec<FilePolicy>, Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("{} cannot be read: {error}", file.display()));
    let is_stdin = file == Path::new("-");
    let source: Box<dyn Read> = match is_stdin {
        true => Box::new(std::io::stdin()),
        false => Box::new(std::fs::File::open(file).map_err(failed)?),
    };
    let mut text = String::new();
    // One byte more than is taken shows that there is more.
    source.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(Failure::new(format!("{} has more than {MAX_FILE_BYTES} bytes", file.display())));
    }
    Ok(FilePolicy::read_all(&text, named(file))?)
}

/// The file as messages name it.
fn named(file: &Path) -> &Path {
    if file == Path::new("-") { Path::new("standard input") } else { file }
}

/// Changes one policy, if it is still what was read.
async fn make(client: &mut Client, step: &PlanStep, dry_run: bool) -> Result<(), Failure> {
    let query = if dry_run { "?dry_run=true" } else { "" };
    let path = format!("/v1/policies/{}{query}", step.id);
    let condition = match &step.etag {
        Some(etag) => (header::IF_MATCH, etag.as_str()),
        None => (header::IF_NONE_MATCH, "*"),
    };
    let (method, body) = match step.action {
        Action::Create | Action::Update => (Method::PUT, Some(&step.definition)),
        Action::Delete => (Method::DELETE, None),
    };
    let (status, answer) = client.change(method, &path, condition, body).await?;
    match status {
        StatusCode::OK | StatusCode::CREATED | StatusCode::NO_CONTENT => Ok(()),
        StatusCode::PRECONDITION_FAILED => {
            Err(Failure::new("somebody else has changed it since it was read; look at the difference again"))
        }
        _ => Err(refusal("it was refused", status, &answer)),
    }
}

fn counted(plan: &Plan, dry_run: bool) -> String {
    let [created, updated, deleted] =
        [Action::Create, Action::Update, Action::Delete].map(|action| plan.count(action));
    let (unchanged, would) = (plan.unchanged, if dry_run { "would be: " } else { "" });
    format!("{would}{created} created, {updated} updated, {deleted} deleted, {unchanged} unchanged")
}

fn say_kept(plan: &Plan, output: OutputArguments) {
    if let Some(kept) = plan.kept().filter(|_| !output.is_json()) {
        note(&kept);
    }
}
