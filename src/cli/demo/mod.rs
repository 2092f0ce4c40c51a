//! `tidegate demo`: a real worker on a temporary directory, a local receiver, a limit deployed through the
//! API, events through the door, and figures measured at the receiver.

mod feed;
mod figures;
mod receiver;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use http::Method;

use crate::app::{self, App, Running};
use crate::cli::client::Client;
use crate::cli::exit::Failure;
use crate::cli::progress::Progress;
use crate::cli::signals::Signals;
use crate::cli::{note, print};
use crate::clock::Clock;
use crate::config::{Config, File, Flag, Inputs};
use figures::DemoFigures;
use receiver::Receiver;

/// How often the progress is drawn anew.
const REDRAW: Duration = Duration::from_millis(100);
/// Beyond the time that the limit asks for, before the demo stops waiting and says what is missing.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// How many events
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..=2_000_000))]
    events: u64,
    /// The limit, in calls per second
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    rate: u32,
    /// error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "warn")]
    log_level: String,
}

/// A directory that is gone with the value.
struct Scratch(PathBuf);

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let scratch = Scratch::new()?;
    let config = config(&arguments, &scratch)?;
    app::init_logging(&config)?;
    let mut signals = Signals::new()?;
    let clock = Clock::system();
    let receiver = Receiver::start(clock.clone())?;
    let running = App::build(&config).await?.spawn();
    let figures = tokio::select! {
        figures = Box::pin(show(&arguments, &clock, &receiver, &running)) => figures?,
        failure = running.failed() => return Err(failure.into()),
        () = signals.next() => return Err(Failure::new("interrupted")),
    };
    running.drain(config.dispatch.shutdown_grace).await?;
    print(&table::render(&figures))?;
    if figures.lost > 0 {
        return Err(Failure::new(format!("events lost: {}", figures.lost)));
    }
    Ok(())
}

async fn show(
    arguments: &Arguments,
    clock: &Clock,
    receiver: &Receiver,
    running: &Running,
) -> Result<DemoFigures, Failure> {
    let Arguments { events, rate, .. } = *arguments;
    let target = format!("http://{}/orders", receiver.address());
    let mut client = Client::connect(running.addr()).await?;
    note(&format!("worker    http://{}", running.addr()));
    note(&format!("receiver  {target}/*"));
    feed::deploy(&mut client, &target, rate).await?;
    let limit = table::grouped(usize::try_from(rate).unwrap_or(usize::MAX));
    note(&format!("limit     {limit} calls per second, deployed through POST /authoring/throttlingConfigs"));
    let sent = feed::enqueue(&mut client, clock, &target, events).await?;
    note(&format!(
        "events    {} accepted in {:.2} s, each on disk before its answer",
        table::grouped(sent.accepted.len()),
        sent.took.as_secs_f64()
    ));
    // Also when patience ends first: the figures then say what is missing.
    wait(receiver, running, sent.accepted.len(), rate).await;
    // A streamed request is the last on its connection, and this one has stood idle since.
    let mut client = Client::connect(running.addr()).await?;
    let sender_peak = sender_peak(&mut client).await?;
    Ok(DemoFigures::measure(&sent.accepted, &receiver.arrivals(), rate, sender_peak))
}

/// Until the queue is empty, or patience ends.
async fn wait(receiver: &Receiver, running: &Running, accepted: usize, rate: u32) {
    let total = u64::try_from(accepted).unwrap_or(u64::MAX);
    let progress = Progress::new("delivering", total);
    let ample = Duration::from_secs(total / u64::from(rate.max(1))) + PATIENCE;
    let mut patience = Box::pin(tokio::time::sleep(ample));
    let mut redraw = tokio::time::interval(REDRAW);
    let mut idle = Box::pin(running.idle());
    loop {
        tokio::select! {
            () = &mut idle => break,
            () = &mut patience => break,
            _ = redraw.tick() => progress.set(receiver.count()),
        }
    }
    progress.done();
}

/// The limiter's own count of starts in any sliding second, where it publishes one.
async fn sender_peak(client: &mut Client) -> Result<Option<u64>, Failure> {
    let (_, text) = client.call(Method::GET, "/metrics", None).await?;
    let text = String::from_utf8_lossy(&text);
    let values = text
        .lines()
        .filter(|line| line.starts_with("tidegate_limit_window_peak{"))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse().ok());
    Ok(values.max())
}

/// The defaults, on the scratch directory and free to call this machine: settings of the user would change what the
/// demo shows.
fn config(arguments: &Arguments, scratch: &Scratch) -> Result<Config, Failure> {
    let set = |flag, setting, value: String| Flag { flag, setting, values: vec![value] };
    let flags = vec![
        set("demo", "store.data_dir", scratch.0.display().to_string()),
        // A temporary file system may have less room than the default keeps free.
        set("demo", "store.min_free_bytes", (16 * 1024 * 1024).to_string()),
        set("demo", "listen.address", "127.0.0.1:0".to_owned()),
        set("demo", "egress.allow", "127.0.0.0/8".to_owned()),
        set("--rate", "throttling.min", "1".to_owned()),
        set("--rate", "throttling.max", "20000".to_owned()),
        set("--log-level", "log.level", arguments.log_level.clone()),
    ];
    let inputs = Inputs { file: File::Absent, flags, ..Inputs::default() };
    Ok(Config::load(&inputs)?.config)
}

impl Scratch {
    fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("tidegate-demo-{}", std::process::id()));
        // A directory that is there already belongs to somebody else: this fails then.
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is left to the system's own tidying of its temporary directory.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
