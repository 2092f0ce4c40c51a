//! The binary under test as a child process.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use crate::world::Api;

/// How to start it.
#[derive(Clone)]
pub(crate) struct ServerOptions {
    pub(crate) data_dir: PathBuf,
    pub(crate) args: Vec<String>,
    /// Whether loopback may be called whatever the file says.
    pub(crate) opens_loopback: bool,
    /// Put before the program, such as `strace …`.
    pub(crate) wrapper: Vec<String>,
}

impl ServerOptions {
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self { data_dir: data_dir.to_owned(), args: Vec::new(), opens_loopback: true, wrapper: Vec::new() }
    }
}

/// A running tidegate. Dropping it kills it.
pub(crate) struct Server {
    child: Child,
    pub(crate) addr: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

pub(crate) fn command(options: &ServerOptions) -> Command {
    let program = env!("CARGO_BIN_EXE_tidegate");
    let mut command = match options.wrapper.split_first() {
        Some((wrapper, rest)) => {
            let mut command = Command::new(wrapper);
            command.args(rest).arg(program);
            command
        }
        None => Command::new(program),
    };
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&options.data_dir);
    if options.opens_loopback {
        command.args(["--egress-allow", "127.0.0.0/8"]);
    }
    command.args(&options.args);
    // A file or variable of the machine must not change what is tested.
    command.current_dir(options.data_dir.parent().expect("a parent"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

impl Server {
    /// Starts it and waits until it says where it listens.
    pub(crate) fn start(options: &ServerOptions) -> Self {
        Self::try_start(options).unwrap_or_else(|log| panic!("did not start:\n{}", log.join("\n")))
    }

    /// The log lines when it ended instead of listening.
    pub(crate) fn try_start(options: &ServerOptions) -> Result<Self, Vec<String>> {
        Self::start_within(options, Duration::from_secs(60)).map_err(|(_, log)| log)
    }

    /// The status and the log lines when it ended instead of listening; no status when it did neither in time.
    pub(crate) fn start_within(
        options: &ServerOptions,
        limit: Duration,
    ) -> Result<Self, (Option<ExitStatus>, Vec<String>)> {
        let mut child = command(options).spawn().expect("the program");
        let stderr = child.stderr.take().expect("piped");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (found, address) = mpsc::channel();
        let lines = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Some(addr) = listening_addr(&line) {
                    let _ = found.send(addr);
                }
                lines.lock().expect("no panic").push(line);
            }
        });
        match address.recv_timeout(limit) {
            Ok(addr) => Ok(Self { child, addr, log }),
            Err(why) => {
                let is_late = why == mpsc::RecvTimeoutError::Timeout;
                if is_late {
                    let _ = child.kill();
                }
                let status = child.wait().ok().filter(|_| !is_late);
                Err((status, log.lock().expect("no panic").clone()))
            }
        }
    }

    pub(crate) fn api(&self) -> Api {
        Api::new(self.addr)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has in memory at present.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("a living process");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a figure");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
    }

    /// Sends a signal by name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(status.expect("kill").success());
    }

    /// The log lines so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().expect("no panic").clone()
    }

    /// Ends it without a chance to tidy up.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("a living process");
        self.child.wait().expect("its status");
    }

    /// Asks it to end and waits for its exit status.
    pub(crate) fn stop(self) -> ExitStatus {
        self.signal("TERM");
        self.ended()
    }

    /// Its exit status, if it ends within `limit` by itself.
    pub(crate) fn ended_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let waited = limit.as_millis() / 10 + 1;
        for _ in 0..waited {
            if let Some(status) = self.child.try_wait().expect("its status") {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }

    /// Waits for the exit status of one that was asked to end.
    pub(crate) fn ended(mut self) -> ExitStatus {
        self.child.wait().expect("its status")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listening_addr(line: &str) -> Option<SocketAddr> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    (line["message"] == "serving").then(|| line["address"].as_str()?.parse().ok())?
}
