//! `tidegate outcomes`: how events ended, as lines of JSON, in the order in which that became durable.

use std::io::{ErrorKind, Write};

use clap::Args;

use crate::cli::ConfigArguments;
use crate::cli::client::Client;
use crate::cli::exit::Failure;
use crate::cli::note;
use crate::cli::policies::checked_id;

const EXAMPLES: &str = "\
Examples:
  tidegate outcomes --result dead
  tidegate outcomes --follow --after now
  tidegate outcomes --follow --after \"$CURSOR\" | jq -r '[.id, .result, .reason] | @tsv'

Each line has the cursor behind it: --after goes on there, also after a restart of the daemon.

Exit codes: 0 all of them are printed, 1 the cursor is older than what is kept, 69 no daemon answers";

/// Lines of one answer.
const PAGE: u16 = 1_000;
/// How long the daemon waits for the next end before it answers that there is none.
const WAIT_SECONDS: u16 = 30;

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The cursor of a line, or `now` for ends to come [default: from the oldest one kept]
    #[arg(long, value_name = "CURSOR", value_parser = plain)]
    after: Option<String>,
    /// Go on with the ends to come
    #[arg(long)]
    follow: bool,
    /// Of events that this policy governed
    #[arg(long, value_parser = checked_id)]
    policy: Option<String>,
    /// With this result: delivered, dead, expired, config_drained, cancelled or lost
    #[arg(long, value_parser = plain)]
    result: Option<String>,
    /// `--listen` (listen.address) says where the daemon listens
    #[command(flatten)]
    config: ConfigArguments,
}

/// What can stand in a query as it is.
fn plain(text: &str) -> Result<String, String> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if is_plain && !text.is_empty() { Ok(text.to_owned()) } else { Err("has other characters".to_owned()) }
}

impl Arguments {
    /// The place comes last, as in the links of answers: whoever goes on finds it there.
    fn path(&self) -> String {
        let given = [("policy", &self.policy), ("result", &self.result), ("after", &self.after)];
        let given =
            given.into_iter().filter_map(|(name, value)| Some(format!("&{name}={}", value.as_ref()?)));
        let wait = if self.follow { format!("&wait_seconds={WAIT_SECONDS}") } else { String::new() };
        format!("/v1/outcomes?limit={PAGE}{wait}{}", given.collect::<String>())
    }
}

/// False when nobody reads any further, as `head` does: whoever follows would not notice otherwise.
fn written(line: &[u8]) -> Result<bool, Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(line).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        done => done.map(|()| true).map_err(Failure::from),
    }
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let address = arguments.config.load()?.config.listen.address;
    let mut client = Client::connect(address).await?;
    let mut path = arguments.path();
    let mut has_read = false;
    loop {
        let was = path.clone();
        let (mut lines, next) = match client.page_of_lines(&path).await {
            Ok(answer) => answer,
            Err(failure) => {
                // Whoever follows has to know where to go on; what was given and not taken is known.
                if has_read && let Some((_, cursor)) = was.rsplit_once("after=") {
                    note(&format!("go on with --after {cursor}"));
                }
                return Err(failure);
            }
        };
        has_read = true;
        let mut is_empty = true;
        while let Some(line) = lines.next().await? {
            is_empty = false;
            if !written(&line)? {
                return Ok(());
            }
        }
        let Some(next) = next else { return Ok(()) };
        // An answer without lines that leads on has passed over others.
        if is_empty && !arguments.follow && next.rsplit_once("after=") == was.rsplit_once("after=") {
            return Ok(());
        }
        path = next;
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn options_become_parameters() {
        let line = ["x", "--after", "now", "--follow", "--policy", "crm", "--result", "dead"];
        let path = Line::parse_from(line).arguments.path();
        assert_eq!(path, "/v1/outcomes?limit=1000&wait_seconds=30&policy=crm&result=dead&after=now");
        assert!(Line::try_parse_from(["x", "--after", "a&b"]).is_err());
    }
}
