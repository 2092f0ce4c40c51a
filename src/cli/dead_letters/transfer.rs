//! `tidegate dead-letters export` and `import`: lines on standard output, lines of a file or of standard input.

use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use serde_json::json;

use super::Which;
use crate::cli::daemon::DaemonArguments;
use crate::cli::exit::Failure;
use crate::cli::print;
use crate::cli::words::{count, grouped};

/// Lines and bytes of one request: the daemon takes 1 000 and 8 MiB.
const MAX_LINES: usize = 500;
const MAX_BYTES: usize = 4 << 20;

#[derive(Debug, Args)]
pub(super) struct Export {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    daemon: DaemonArguments,
}

#[derive(Debug, Args)]
pub(super) struct Import {
    /// The file of an export; standard input when missing
    file: Option<PathBuf>,
    #[command(flatten)]
    daemon: DaemonArguments,
}

impl Export {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let path = format!("/v1/dead-letters:export?{}", self.which.query().trim_start_matches('&'));
        // It drives the connection until the last line has come.
        let mut client = self.daemon.client().await?;
        let mut lines = client.lines(&path).await?;
        while let Some(line) = lines.next().await? {
            print(&format!("{}\n", String::from_utf8_lossy(&line)))?;
        }
        Ok(())
    }
}

impl Import {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let input: Box<dyn Read> = match &self.file {
            Some(file) => Box::new(
                std::fs::File::open(file)
                    .map_err(|error| Failure::usage(format!("{} cannot be read: {error}", file.display())))?,
            ),
            None if std::io::stdin().is_terminal() => {
                return Err(Failure::usage("name the file of an export, or hand it in on standard input"));
            }
            None => Box::new(std::io::stdin()),
        };
        let mut client = self.daemon.client().await?;
        let (mut input, mut added, mut known) = (BufReader::new(input), 0, 0);
        loop {
            let part = part(&mut input)?;
            if part.is_empty() {
                break;
            }
            let answer = client.post_lines("/v1/dead-letters:import", part).await?;
            added += count(&answer, "/added");
            known += count(&answer, "/known");
        }
        let sums = json!({"added": added, "known": known});
        self.daemon.output.print(&sums, |_| {
            format!("{} dead letters added, {} passed over\n", grouped(added), grouped(known))
        })
    }
}

/// The next lines that one request takes; nothing at the end.
fn part(input: &mut impl BufRead) -> Result<Bytes, Failure> {
    let mut part = Vec::new();
    for _ in 0..MAX_LINES {
        if input.read_until(b'\n', &mut part)? == 0 || part.len() >= MAX_BYTES {
            break;
        }
    }
    Ok(part.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_end_with_whole_lines() {
        let lines: String = (0..1_201).map(|n| format!("{n}\n")).collect();
        let mut input = lines.as_bytes();
        let mut counts = Vec::new();
        loop {
            let part = part(&mut input).expect("in memory");
            if part.is_empty() {
                break;
            }
            assert!(part.ends_with(b"\n"));
            counts.push(part.iter().filter(|byte| **byte == b'\n').count());
        }
        assert_eq!(counts, [500, 500, 201]);
    }
}
