//! Outputs that fail (full, without a reader, with a reader that stands still) cost lines, never events or the process.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::world::{Api, Receiver, eventually};

const LONG: Duration = Duration::from_secs(30);
const DROPPED: &str = "tidegate_output_dropped_lines_total";

/// Every write to it fails as on a full disk.
fn full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("the device").into()
}

/// An address that was free a moment ago: a daemon whose log cannot be read does not say where it listens.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port")
}

fn program(dir: &Path, address: SocketAddr, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments).args(["--listen", &address.to_string(), "--data-dir"]).arg(dir.join("data"));
    command.current_dir(dir).env_clear().env("TIDEGATE_QUEUE_UNMATCHED", "pass");
    command.env("TIDEGATE_EGRESS_ALLOW", "127.0.0.0/8");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A daemon that ends with the value.
struct Daemon {
    child: Child,
    address: SocketAddr,
    api: Api,
    _dir: tempfile::TempDir,
}

impl Daemon {
    async fn start(arguments: &[&str], outputs: impl FnOnce(&mut Command)) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let address = free_address();
        let mut command = program(dir.path(), address, arguments);
        outputs(&mut command);
        let child = command.spawn().expect("the program");
        let api = Api::new(address);
        eventually("it serves", LONG, async || tokio::net::TcpStream::connect(address).await.is_ok()).await;
        Self { child, address, api, _dir: dir }
    }

    async fn delivers(&self, receiver: &Receiver, count: u64) {
        let accepted = self.api.enqueue(&receiver.url("/x"), 0..count).await;
        assert_eq!(accepted.len() as u64, count);
        eventually("all arrive", LONG, async || receiver.times_seen().len() as u64 == count).await;
    }

    async fn dropped(&self, output: &str) -> f64 {
        self.api.metric(DROPPED, &format!("output=\"{output}\"")).await
    }

    /// Ends with 0 when it is asked to.
    fn stops_well(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
        let ended = (0..1000).find_map(|_| {
            std::thread::sleep(Duration::from_millis(10));
            self.child.try_wait().expect("its status")
        });
        assert_eq!(ended.and_then(|status| status.code()), Some(0));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_starts_delivers_and_stops_while_its_log_is_on_a_full_disk() {
    let receiver = Receiver::start().await;
    let daemon = Daemon::start(&["serve"], |command| {
        command.stderr(full());
    })
    .await;
    daemon.delivers(&receiver, 20).await;
    eventually("counted", LONG, async || daemon.dropped("stderr").await > 0.0).await;
    assert_eq!(daemon.dropped("stdout").await, 0.0);
    daemon.stops_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_goes_on_when_the_reader_of_its_log_leaves() {
    let receiver = Receiver::start().await;
    let mut daemon = Daemon::start(&["serve", "--log-level", "trace"], |command| {
        command.stderr(Stdio::piped());
    })
    .await;
    let mut log = BufReader::new(daemon.child.stderr.take().expect("piped"));
    let mut first = String::new();
    assert!(log.read_line(&mut first).expect("a line") > 0);
    drop(log);
    daemon.delivers(&receiver, 20).await;
    eventually("counted", LONG, async || daemon.dropped("stderr").await > 0.0).await;
    daemon.stops_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_goes_on_while_the_reader_of_its_log_stands_still() {
    for is_read in [false, true] {
        let receiver = Receiver::start().await;
        let mut daemon = Daemon::start(&["serve", "--log-level", "trace"], |command| {
            command.stderr(Stdio::piped());
        })
        .await;
        let mut log = daemon.child.stderr.take().expect("piped");
        let reader =
            is_read.then(|| std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink())));
        // More lines than the pipe and the queue in front of it hold.
        daemon.delivers(&receiver, 4000).await;
        if is_read {
            assert_eq!(daemon.dropped("stderr").await, 0.0, "the control: a reader gets every line");
        } else {
            eventually("counted", LONG, async || daemon.dropped("stderr").await > 0.0).await;
        }
        daemon.stops_well();
        assert!(reader.is_none_or(|reader| reader.join().is_ok()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_takes_standard_input_though_its_answers_cannot_be_written() {
    let receiver = Receiver::start().await;
    let mut daemon = Daemon::start(&["serve", "--stdin"], |command| {
        command.stdin(Stdio::piped()).stdout(full());
    })
    .await;
    let mut input = daemon.child.stdin.take().expect("piped");
    for half in [0..10, 10..20] {
        let seen = half.end;
        let lines: String = half.map(|n| event(&receiver, n)).collect();
        input.write_all(lines.as_bytes()).expect("reads");
        eventually("they arrive", LONG, async || receiver.times_seen().len() as u64 == seen).await;
    }
    eventually("counted", LONG, async || daemon.dropped("stdout").await >= 20.0).await;
    daemon.stops_well();
}

fn event(receiver: &Receiver, number: u64) -> String {
    format!("{}\n", json!({"url": receiver.url("/x"), "body": {"n": number}}))
}

/// Feeds twenty events to a command that ends by itself.
async fn fed(receiver: &Receiver, mut command: Command) -> Output {
    let lines: String = (0..20).map(|n| event(receiver, n)).collect();
    let mut child = command.stdin(Stdio::piped()).spawn().expect("the program");
    let mut stdin = child.stdin.take().expect("piped");
    let waited = tokio::task::spawn_blocking(move || {
        stdin.write_all(lines.as_bytes()).expect("reads");
        drop(stdin);
        child.wait_with_output().expect("its end")
    });
    waited.await.expect("no panic")
}

#[tokio::test(flavor = "multi_thread")]
async fn run_delivers_all_whichever_output_fails_and_says_which_answers_were_not_written() {
    for (fails, code) in [("", 0), ("stderr", 0), ("stdout", 1)] {
        let dir = tempfile::tempdir().expect("a directory");
        let receiver = Receiver::start().await;
        let mut command = program(dir.path(), free_address(), &["run"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        match fails {
            "stderr" => _ = command.stderr(full()),
            "stdout" => _ = command.stdout(full()),
            _ => {}
        }
        let output = fed(&receiver, command).await;
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((receiver.times_seen().len(), output.status.code()), (20, Some(code)), "{fails}: {log}");
        assert_eq!(log.contains("20 answers could not be written"), fails == "stdout", "{fails}: {log}");
        let answers = output.stdout.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(answers, if fails == "stdout" { 0 } else { 20 }, "{fails}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn enqueue_sends_all_though_its_answers_cannot_be_written() {
    let receiver = Receiver::start().await;
    let daemon = Daemon::start(&["serve"], |_| ()).await;
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["enqueue", "--listen", &daemon.address.to_string()]).current_dir(dir.path()).env_clear();
    command.stdout(full()).stderr(Stdio::piped());
    let output = fed(&receiver, command).await;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("20 accepted, 0 refused"), "{log}");
    assert!(log.contains("answers could not be written"), "{log}");
    eventually("all arrive", LONG, async || receiver.times_seen().len() == 20).await;
    daemon.stops_well();
}

#[test]
fn too_few_threads_are_a_line_and_an_exit_code() {
    let dir = tempfile::tempdir().expect("a directory");
    // The limit does not bind root, and another user has to reach the program.
    let copy = dir.path().join("tidegate");
    std::fs::copy(env!("CARGO_BIN_EXE_tidegate"), &copy).expect("copied");
    open_to_all(dir.path());
    for (limit, is_enough) in [("3", false), ("10000", true)] {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "61234", "--regid", "61234", "--clear-groups", "prlimit"]);
        command.arg(format!("--nproc={limit}")).arg(&copy).args(["enqueue", "--listen", "127.0.0.1:1"]);
        command.current_dir(dir.path()).env_clear().env("PATH", "/usr/bin:/bin");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("setpriv and prlimit (util-linux)");
        let mut log = String::new();
        child.stderr.take().expect("piped").read_to_string(&mut log).expect("text");
        // Nobody answers there.
        let code = if is_enough { 69 } else { 1 };
        assert_eq!(child.wait().expect("its status").code(), Some(code), "{log}");
        assert!(!log.contains("panicked"), "{log}");
        assert_eq!(log.contains("raise the limit on processes and threads"), !is_enough, "{log}");
        assert_eq!(log.contains("cannot reach tidegate"), is_enough, "the control: {log}");
    }
}

fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("its owner");
}
