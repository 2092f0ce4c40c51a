//! `tidegate health`: a health check for containers and scripts.

use std::time::Duration;

use clap::Args;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::cli::ConfigArguments;
use crate::cli::client::Client;
use crate::cli::exit::Failure;
use crate::cli::output::{OutputArguments, printable};
use crate::cli::words::{list, text};

const EXAMPLES: &str = "\
Examples:
  tidegate health
  tidegate health --live
  HEALTHCHECK CMD [\"tidegate\", \"health\"]        in a Dockerfile

Exit codes: 0 ready (with --live: the process answers), 1 not ready, no daemon answers in time, or the configuration is \
wrong, 2 wrong usage";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Ask only whether the process answers, not whether events may be handed in
    #[arg(long)]
    live: bool,
    /// How long to wait for the answer
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    timeout: u64,
    /// `--listen` (listen.address) says where the daemon listens
    #[command(flatten)]
    config: ConfigArguments,
    #[command(flatten)]
    output: OutputArguments,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    // A health check of a container knows two codes.
    let config = arguments.config.load().map_err(|failure| Failure::new(failure.to_string()))?.config;
    let address = config.listen.address;
    let limit = Duration::from_secs(arguments.timeout);
    let answer = tokio::time::timeout(limit, async {
        let path = if arguments.live { "/livez" } else { "/readyz?verbose" };
        Client::connect(address).await?.call(Method::GET, path, None).await
    });
    let (status, body) = match answer.await {
        Ok(Ok(answer)) => answer,
        Ok(Err(failure)) => return Err(Failure::new(failure.to_string())),
        Err(_) => {
            let seconds = arguments.timeout;
            return Err(Failure::new(format!("tidegate at {address} does not answer within {seconds} s")));
        }
    };
    let is_well = status == StatusCode::OK;
    let checks: Value = match serde_json::from_slice(&body) {
        // `/livez` answers with a word and no JSON.
        Ok(checks) if !arguments.live => checks,
        _ => json!({"live": is_well}),
    };
    let failed = failed(&checks);
    let word = if arguments.live { "live" } else { "ready" };
    // For programs also when it is not ready: they want to read the checks.
    if is_well || arguments.output.is_json() {
        arguments.output.print(&checks, |_| format!("{word}\n"))?;
    }
    if is_well { Ok(()) } else { Err(Failure::new(format!("not {word}: {failed}"))) }
}

fn failed(checks: &Value) -> String {
    let is_failed = |check: &&Value| check.pointer("/ok").and_then(Value::as_bool) == Some(false);
    let failed = list(checks, "/checks").iter().filter(is_failed);
    let lines =
        failed.map(|check| printable(&format!("{}: {}", text(check, "/name"), text(check, "/detail"))));
    lines.collect::<Vec<_>>().join("; ")
}
