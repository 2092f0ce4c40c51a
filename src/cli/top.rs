//! `tidegate top`: the policies of a running daemon, live in the terminal.

mod rows;
mod screen;
mod signals;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::cli::ConfigArguments;
use crate::cli::client::{Client, refusal, silent};
use crate::cli::exit::Failure;
use crate::cli::output::OutputArguments;
use crate::cli::policies::fetched;
use crate::clock::{Clock, Timestamp};
use rows::{Attempts, Row};
use screen::Screen;
use signals::{SignalRequest, TopSignals};

/// The shortest time between two looks.
const REFRESH: Duration = Duration::from_secs(1);
/// How long a look may take on a terminal. What was seen before stays on the screen meanwhile.
const LOOK_LIMIT: Duration = Duration::from_secs(5);
/// Looking uses at most this part of the time, however many policies there are.
const SHARE_OF_TIME: u32 = 4;

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
    /// `--listen` (listen.address) says where the daemon listens
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
struct TopLook {
    at: Timestamp,
    status: Value,
    rows: Vec<Row>,
    attempts: Arc<Attempts>,
}

/// Calls by policy as they were counted, and when.
type Counted = (Arc<Attempts>, Timestamp);

impl TopLook {
    fn counted(&self) -> Option<Counted> {
        Some((self.attempts.clone(), self.at))
    }
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let address = arguments.config.load()?.config.listen.address;
    let is_live = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if is_live && !arguments.once && !arguments.output.is_json() {
        return live(address, arguments.sort).await;
    }
    let first = look(address, None).await?;
    // A rate needs two looks.
    tokio::time::sleep(REFRESH).await;
    let TopLook { at, status, mut rows, .. } = look(address, first.counted()).await?;
    sort(&mut rows, arguments.sort);
    let all = json!({"status": status, "policies": rows});
    arguments.output.print(&all, |style| rows::table(&rows, at).render(style))
}

/// Draws until a key or a signal ends it, also while the daemon does not answer.
async fn live(address: SocketAddr, mut order: Sort) -> Result<(), Failure> {
    let mut signals = TopSignals::new()?;
    // The first look fails before the screen is taken.
    let mut first = pin!(look(address, None));
    let mut last = loop {
        let asked = tokio::select! {
            first = &mut first => break first?,
            asked = signals.next() => asked,
        };
        if asked == SignalRequest::End
            || asked == SignalRequest::Stop && signals.stop().await? == SignalRequest::End
        {
            return Ok(());
        }
    };
    let mut screen = Screen::take()?;
    let mut failed = None;
    let mut next = pin!(later(address, REFRESH, last.counted()));
    loop {
        sort(&mut last.rows, order);
        screen.draw(address, order, &last, failed.as_ref())?;
        let key = tokio::select! {
            (looked, took) = &mut next => {
                match looked {
                    Ok(look) => (last, failed) = (look, None),
                    Err(failure) => failed = Some(failure),
                }
                // The next look begins after this one has ended: a slow daemon is asked less often.
                next.set(later(address, (took * SHARE_OF_TIME).max(REFRESH), last.counted()));
                continue;
            }
            key = screen.key() => key?,
            asked = signals.next() => {
                if asked == SignalRequest::Stop {
                    screen.give_back();
                }
                let ends = |request| request == SignalRequest::End;
                if ends(asked) || asked == SignalRequest::Stop && ends(signals.stop().await?) {
                    return Ok(());
                }
                screen.take_again()?;
                continue;
            }
        };
        match key {
            // Control-C, -D, -\ and -Z come as keys.
            b'q' | 3 | 4 | 26 | 28 => return Ok(()),
            b'r' => order = Sort::Rate,
            b'w' => order = Sort::Waiting,
            b'o' => order = Sort::Oldest,
            b'n' => order = Sort::Name,
            _ => {}
        }
    }
}

/// A look after a pause, and how long it took.
async fn later(
    address: SocketAddr,
    pause: Duration,
    before: Option<Counted>,
) -> (Result<TopLook, Failure>, Duration) {
    tokio::time::sleep(pause).await;
    let begun = Clock::system().now();
    let looked = tokio::time::timeout(LOOK_LIMIT, look(address, before)).await;
    (looked.unwrap_or_else(|_| Err(silent(address, LOOK_LIMIT))), Clock::system().now().since(begun))
}

/// Asks for everything; rates are those since what was counted `before`.
async fn look(address: SocketAddr, before: Option<Counted>) -> Result<TopLook, Failure> {
    let mut client = Client::connect(address).await?;
    let status = client.get("/v1/status").await?;
    let (code, metrics) = client.call(Method::GET, "/metrics", None).await?;
    if code != StatusCode::OK {
        return Err(refusal("the metrics were refused", code, &metrics));
    }
    let at = Clock::system().now();
    let attempts = Arc::new(rows::attempts(&String::from_utf8_lossy(&metrics)));
    let since = before.as_ref().map(|(attempts, then)| (&**attempts, at.since(*then)));
    let listed = fetched::listed(&mut client).await?;
    let rows = listed.iter().map(|policy| Row::of(policy, &attempts, since)).collect();
    Ok(TopLook { at, status, rows, attempts })
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
