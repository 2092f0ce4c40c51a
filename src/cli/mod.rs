//! The command line: one file per subcommand.
//!
//! Standard output carries answers and results, standard error log lines, progress and the one line that says
//! why tidegate ends.

mod backup;
mod changes;
mod check_config;
mod client;
mod completions;
mod daemon;
mod dead_letters;
mod demo;
mod dispatch;
mod doubts;
mod enqueue;
mod event;
mod events;
mod exit;
mod explain;
mod health;
mod man;
mod manual;
mod outcomes;
mod output;
mod policies;
mod policy;
mod print_config;
mod priority;
mod progress;
mod run;
mod serve;
mod signals;
mod status;
mod store;
mod threads;
mod top;
mod tried;
mod unit;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::app;
use crate::config::{Config, ConfigError, File, Flag, Inputs, LoadedConfig};
use exit::Failure;

/// Holds HTTP calls in a durable queue until every limit has room, and delivers them.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about, after_help = exit::HELP, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon
    Serve(serve::Arguments),
    /// Take events from standard input, deliver all of them, report and exit
    Run(run::Arguments),
    /// Send events from a file or standard input to a running daemon
    Enqueue(enqueue::Arguments),
    /// Show a running daemon at a glance
    Status(status::Arguments),
    /// Say whether a running daemon is ready, for health checks
    Health(health::Arguments),
    /// Show the policies of a running daemon live: rates, what waits, what holds it
    Top(top::Arguments),
    /// Look at single events of a running daemon, cancel or delay them, send them ahead of their turn
    Event(event::Arguments),
    /// Look at events that were parked for a person, hand them in again, purge them
    DeadLetters(dead_letters::Arguments),
    /// List the events of a running daemon that wait, by policy, state, labels, URL and age
    Events(events::Arguments),
    /// Print how events ended, in order, and follow the ends to come
    Outcomes(outcomes::Arguments),
    /// Look at changes of many events or dead letters, and stop one
    Changes(changes::Arguments),
    /// Say why an event, or a call that was not handed in, is or would be where it is
    Explain(explain::Arguments),
    /// Show the whole way at work: a real worker, a local receiver, figures measured there
    Demo(demo::Arguments),
    /// Check the configuration and name every problem
    CheckConfig(check_config::Arguments),
    /// Print the active configuration, each value with its origin
    PrintConfig(print_config::Arguments),
    /// Stop everything, the calls to a host or the events of an organisation in an emergency, and go on
    Dispatch(dispatch::Arguments),
    /// See and decide what is in doubt, through the daemon, or on its directory when it is stopped
    Doubts(doubts::Arguments),
    /// List the policies of a running daemon, and keep them as code: export, diff, apply
    Policies(policies::Arguments),
    /// Look at and steer one policy of a running daemon
    Policy(policy::Arguments),
    /// Look after a data directory that is not in use
    Store(store::Arguments),
    /// Print a chapter of the manual, or list them
    Manual(manual::Arguments),
    /// Copy the data directory, also while the daemon runs, and check the copy
    Backup(backup::BackupArguments),
    /// Make the data directory from a backup
    Restore(backup::RestoreArguments),
    /// Print the units of systemd for this program
    Unit(unit::Arguments),
    /// Print what makes a shell complete the command line
    Completions(completions::Arguments),
    /// Print the manual pages of the command line
    Man(man::Arguments),
}

/// Where the configuration comes from.
#[derive(Debug, Clone, Args)]
struct ConfigArguments {
    /// Configuration file [default: TIDEGATE_CONFIG, else tidegate.toml in the working directory, if there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data directory (store.data_dir)
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<String>,
    /// Loopback address and port of the HTTP doors (listen.address)
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Allow calls to this private block (egress.allow); may be repeated
    #[arg(long, value_name = "CIDR")]
    egress_allow: Vec<String>,
    /// error, warn, info, debug or trace (log.level)
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

impl ConfigArguments {
    fn load(&self) -> Result<LoadedConfig, Failure> {
        Ok(self.read()?)
    }

    fn read(&self) -> Result<LoadedConfig, ConfigError> {
        Config::load(&self.inputs())
    }

    /// For who has no use for how the policies are written.
    fn read_to_run(&self) -> Result<LoadedConfig, ConfigError> {
        Config::load_to_run(&self.inputs())
    }

    fn inputs(&self) -> Inputs {
        let file = self.config.clone().map_or(File::Usual, File::Named);
        Inputs::of_process(file, self.flags())
    }

    fn flags(&self) -> Vec<Flag> {
        let one = |flag, setting, value: &Option<String>| {
            value.clone().map(|value| Flag { flag, setting, values: vec![value] })
        };
        let mut flags: Vec<Flag> = [
            one("--data-dir", "store.data_dir", &self.data_dir),
            one("--listen", "listen.address", &self.listen),
            one("--log-level", "log.level", &self.log_level),
        ]
        .into_iter()
        .flatten()
        .collect();
        if !self.egress_allow.is_empty() {
            let values = self.egress_allow.clone();
            flags.push(Flag { flag: "--egress-allow", setting: "egress.allow", values });
        }
        flags
    }
}

/// Parses the process's arguments, runs what they ask for and says in one line why it failed, if it did.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(message) => {
            // Help and version are messages too, with code 0. A closed stream leaves nobody to tell.
            let _ = message.print();
            return ExitCode::from(if message.use_stderr() { exit::USAGE } else { exit::OK });
        }
    };
    let code = match run(cli.command) {
        Ok(()) => ExitCode::from(exit::OK),
        Err(failure) => failure.report(),
    };
    app::flush_lines();
    code
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(arguments) => block_on(serve::run(arguments)),
        Command::Run(arguments) => block_on(run::run(arguments)),
        Command::Enqueue(arguments) => block_on(enqueue::run(arguments)),
        Command::Status(arguments) => block_on(status::run(arguments)),
        Command::Health(arguments) => block_on(health::run(arguments)),
        Command::Top(arguments) => block_on(top::run(arguments)),
        Command::Event(arguments) => block_on(event::run(arguments)),
        Command::DeadLetters(arguments) => block_on(dead_letters::run(arguments)),
        Command::Events(arguments) => block_on(events::run(arguments)),
        Command::Outcomes(arguments) => block_on(outcomes::run(arguments)),
        Command::Changes(arguments) => block_on(changes::run(arguments)),
        Command::Explain(arguments) => block_on(explain::run(arguments)),
        Command::Demo(arguments) => block_on(demo::run(arguments)),
        Command::CheckConfig(arguments) => check_config::run(&arguments),
        Command::PrintConfig(arguments) => print_config::run(&arguments),
        Command::Dispatch(arguments) => block_on(dispatch::run(arguments)),
        Command::Doubts(arguments) => block_on(doubts::run(arguments)),
        Command::Policies(arguments) => block_on(policies::run(arguments)),
        Command::Policy(arguments) => block_on(policy::run(arguments)),
        Command::Store(arguments) => store::run(&arguments),
        Command::Manual(arguments) => manual::run(&arguments),
        Command::Backup(arguments) => backup::back_up(&arguments),
        Command::Restore(arguments) => backup::restore(&arguments),
        Command::Unit(arguments) => unit::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
    }
}

fn block_on<F: Future<Output = Result<(), Failure>>>(work: F) -> Result<(), Failure> {
    // Before the runtime, which panics where the system grants no thread.
    threads::check()?;
    let runtime = threads::runtime()?;
    let outcome = runtime.block_on(work);
    // A read from standard input cannot be interrupted; it must not keep the process alive.
    runtime.shutdown_background();
    outcome
}

/// Writes a result to standard output. Whoever reads no further, as `head`, has what was wanted: that is no failure.
fn print(text: &str) -> Result<(), Failure> {
    use std::io::{ErrorKind, Write};
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes a note for the person at the terminal to standard error.
fn note(text: &str) {
    app::write_line(text);
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_become_settings() {
        let line = "tidegate serve --listen 127.0.0.1:0 --egress-allow 127.0.0.0/8 --egress-allow ::1";
        let Command::Serve(arguments) = Cli::try_parse_from(line.split(' ')).expect("valid").command else {
            panic!("serve");
        };
        let flags = arguments.config.flags();
        let inputs = Inputs { file: File::Absent, flags, ..Inputs::default() };
        let config = Config::load(&inputs).expect("valid").config;
        assert_eq!(config.listen.address.port(), 0);
        assert_eq!(config.egress.allow.len(), 2);
    }
}
