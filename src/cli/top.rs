//! `tidegate top`: the policies of a running daemon, live in the terminal.

mod rows;
mod screen;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::cli::ConfigArguments;
use crate::cli::client::{Client, refusal};
use crate::cli::exit::Failure;
use crate::cli::output::OutputArguments;
use crate::cli::signals::Signals;
use crate::clock::{Clock, Timestamp};
use rows::{Attempts, Row};
use screen::Screen;

/// Between two looks.
const REFRESH: Duration = Duration::from_secs(1);
/// Looking uses at most this part of the time, however many policies there are.
const SHARE_OF_TIME: u32 = 4;
/// Policies asked for at a time.
const PAGE: usize = 500;

const EXAMPLES: &str = "\
Keys: r, w, o, n sort by rate, what waits, the oldest, the name; q quits. RATE are calls per second since the look before.
HELD BY names the pause, the reasons for which lanes are held, or the limits that are used up. Without a terminal, with \
--once or with --json one table is printed.

Examples:
  tidegate top
  tidegate top --sort rate
  tidegate top --once | head

Exit codes: 0 shown, 69 no daemon answers";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// Print one table and end
    #[arg(long)]
    once: bool,
    /// What comes first
    #[arg(long, value_enum, default_value_t = Sort::Waiting)]
    sort: Sort,
    /// `--listen` (listen.address) names the daemon
    #[command(flatten)]
    config: ConfigArguments,
    #[command(flatten)]
    output: OutputArguments,
}

/// In which order policies stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sort {
    /// Most calls per second first
    Rate,
    /// Most waiting events first
    Waiting,
    /// The oldest event first
    Oldest,
    /// By name
    Name,
}

/// All of it at one moment.
struct Look {
    at: Timestamp,
    status: Value,
    rows: Vec<Row>,
    attempts: Attempts,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let address = arguments.config.load()?.config.listen.address;
    let is_live = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if is_live && !arguments.once && !arguments.output.is_json() {
        return live(address, arguments.sort).await;
    }
    let first = look(address, None).await?;
    tokio::time::sleep(REFRESH).await;
    let Look { at, status, mut rows, .. } = look(address, Some(&first)).await?;
    sort(&mut rows, arguments.sort);
    let all = json!({"status": status, "policies": rows});
    arguments.output.print(&all, |style| rows::table(&rows, at).render(style))
}

/// Draws until it is to end.
async fn live(address: SocketAddr, mut order: Sort) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    // The first look fails before the screen is taken.
    let mut last = Ok(look(address, None).await?);
    let mut screen = Screen::take()?;
    let mut pause = REFRESH;
    loop {
        if let Ok(Look { rows, .. }) = &mut last {
            sort(rows, order);
        }
        screen.draw(address, order, last.as_ref())?;
        let next = tokio::select! {
            () = tokio::time::sleep(pause) => None,
            key = screen.key() => Some(key?),
            () = signals.next() => return Ok(()),
        };
        match next {
            Some(b'q' | 3 | 4) => return Ok(()),
            Some(b'r') => order = Sort::Rate,
            Some(b'w') => order = Sort::Waiting,
            Some(b'o') => order = Sort::Oldest,
            Some(b'n') => order = Sort::Name,
            Some(_) => {}
            None => {
                let begun = Clock::system().now();
                last = look(address, last.as_ref().ok()).await;
                pause = (Clock::system().now().since(begun) * SHARE_OF_TIME).max(REFRESH);
            }
        }
    }
}

/// Asks for everything; rates are those since the look `before`.
async fn look(address: SocketAddr, before: Option<&Look>) -> Result<Look, Failure> {
    let mut client = Client::connect(address).await?;
    let status = client.get("/v1/status").await?;
    let (code, metrics) = client.call(Method::GET, "/metrics", None).await?;
    if code != StatusCode::OK {
        return Err(refusal("the metrics were refused", code, &metrics));
    }
    let at = Clock::system().now();
    let attempts = rows::attempts(&String::from_utf8_lossy(&metrics));
    let since = before.map(|before| (&before.attempts, at.since(before.at)));
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("/v1/policies?limit={PAGE}{cursor}")).await?;
        let policies = page.get("policies").and_then(Value::as_array).into_iter().flatten();
        rows.extend(policies.map(|policy| Row::of(policy, &attempts, since)));
        match page.get("next_cursor").and_then(Value::as_str) {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(Look { at, status, rows, attempts }),
        }
    }
}

fn sort(rows: &mut [Row], order: Sort) {
    rows.sort_by(|a, b| {
        let by_name = a.policy.cmp(&b.policy);
        match order {
            Sort::Rate => b.rate().total_cmp(&a.rate()).then(by_name),
            Sort::Waiting => (b.waiting + b.delayed).cmp(&(a.waiting + a.delayed)).then(by_name),
            // What has none comes last.
            Sort::Oldest => {
                let key = |row: &Row| (row.oldest.is_none(), row.oldest.clone());
                key(a).cmp(&key(b)).then(by_name)
            }
            Sort::Name => by_name,
        }
    });
}
