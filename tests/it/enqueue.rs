//! `tidegate enqueue`: passes that are killed, tried again and resumed lose no line and hand none in twice.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::testkit::clock::Clock;

use crate::world::{Api, Choice, Receiver, eventually};

const LONG: Duration = Duration::from_secs(600);
const ENQUEUED: &str = "tidegate_events_enqueued_total";

/// A daemon on an address that it keeps over restarts. Ends with the value.
struct Daemon {
    child: Child,
    address: SocketAddr,
    api: Api,
    dir: PathBuf,
}

impl Daemon {
    async fn start(dir: &Path) -> Self {
        let address =
            TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
        let (child, api) = (serve(dir, address), Api::new(address));
        let daemon = Self { child, address, api, dir: dir.to_owned() };
        daemon.serves().await;
        daemon
    }

    async fn serves(&self) {
        let address = self.address;
        eventually("it serves", LONG, async || tokio::net::TcpStream::connect(address).await.is_ok()).await;
    }

    /// Ends it by a signal and starts it anew.
    async fn restart(&mut self, signal: &str) {
        self.restart_after(signal, || {}).await;
    }

    /// The same, and does something in between.
    async fn restart_after(&mut self, signal: &str, between: impl FnOnce()) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().expect("kill").success());
        self.child.wait().expect("its status");
        between();
        self.child = serve(&self.dir, self.address);
        self.serves().await;
    }

    fn enqueue(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["enqueue", "--listen", &self.address.to_string()]).args(arguments);
        command.current_dir(&self.dir).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(dir: &Path, address: SocketAddr) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["serve", "--listen", &address.to_string(), "--data-dir"]).arg(dir.join("data"));
    command.current_dir(dir).env_clear().env("TIDEGATE_QUEUE_UNMATCHED", "pass");
    command.env("TIDEGATE_EGRESS_ALLOW", "127.0.0.0/8");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("the program")
}

/// A file of events. They are long enough that only a part of them is under way at a time.
fn events(dir: &Path, receiver: &Receiver, count: u64) -> PathBuf {
    let path = dir.join("events.ndjson");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).expect("a file"));
    let padding = "x".repeat(400);
    for n in 0..count {
        let event = json!({"url": receiver.url("/x"), "body": {"n": n, "padding": padding}});
        writeln!(file, "{event}").expect("written");
    }
    file.into_inner().expect("written");
    path
}

/// Runs it until it has written so many answers, then kills it. Returns how many that were.
fn killed_after(mut command: Command, answers: u64) -> u64 {
    let mut child = command.spawn().expect("the program");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    let read = (0..answers).take_while(|_| {
        line.clear();
        out.read_line(&mut line).expect("text") > 0
    });
    let read = read.count() as u64;
    child.kill().expect("a living process");
    child.wait().expect("its status");
    read
}

async fn ended(mut command: Command, input: &str) -> (Output, String) {
    let input = input.to_owned();
    let waited = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().expect("the program");
        // It does not read on while its answers are not read, nor to the end what it refuses.
        let stdin = child.stdin.take();
        let feeding = std::thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(input.as_bytes())));
        let output = child.wait_with_output().expect("its end");
        drop(feeding.join().expect("no panic"));
        output
    });
    let output = waited.await.expect("no panic");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, said)
}

fn state(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).expect("a state file");
    serde_json::from_str(&text).expect("JSON")
}

/// Of each number that arrived how many different events carried it: above 1 where a line was accepted twice.
fn events_by_number(receiver: &Receiver) -> std::collections::HashMap<u64, usize> {
    let mut ids = std::collections::HashMap::<u64, std::collections::HashSet<String>>::new();
    for arrival in receiver.arrivals() {
        ids.entry(arrival.number.expect("a number")).or_default().insert(arrival.id);
    }
    ids.into_iter().map(|(number, ids)| (number, ids.len())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_that_is_killed_twice_loses_and_repeats_nothing() {
    let count = if Choice::of_environment().is_sample() { 30_000 } else { 1_000_000 };
    let dir = tempfile::tempdir().expect("a directory");
    let receiver = Receiver::start().await;
    let daemon = Daemon::start(dir.path()).await;
    let file = events(dir.path(), &receiver, count);
    let state_file = dir.path().join("events.ndjson.tidegate-enqueue");
    let clock = Clock::system();
    let begun = clock.now();
    let mut reached = 0;
    for _ in 0..2 {
        let answers = killed_after(daemon.enqueue(&["events.ndjson"]), count / 3);
        assert_eq!(answers, count / 3, "it was killed in the middle");
        let state = state(&state_file);
        let line = state["answered_lines"].as_u64().expect("a line");
        assert!(line >= reached && line < count, "{state}");
        reached = line;
    }
    assert!(reached > 0);
    let (output, said) = ended(daemon.enqueue(&["events.ndjson", "--quiet"]), "").await;
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains(&format!("going on after line {reached}")), "{said}");
    assert!(said.contains(&format!("{count} accepted (")) && said.contains(", 0 refused"), "{said}");
    assert!(!state_file.exists());
    println!("{count} lines, killed twice, in {:?}\n{said}", clock.now().since(begun));

    eventually("all arrive", LONG, async || receiver.count() as u64 >= count).await;
    let seen = events_by_number(&receiver);
    assert_eq!((seen.len() as u64, seen.values().filter(|times| **times > 1).count()), (count, 0));
    assert_eq!(daemon.api.metric(ENQUEUED, "").await, count as f64);

    // The control: without keys the same lines are accepted once more.
    let first: String = std::fs::read_to_string(file).expect("text").split_inclusive('\n').take(50).collect();
    let mut plain = daemon.enqueue(&["--quiet"]);
    plain.stdin(Stdio::piped());
    let (output, said) = ended(plain, &first).await;
    assert_eq!(output.status.code(), Some(0), "{said}");
    eventually("they arrive", LONG, async || receiver.count() as u64 >= count + 50).await;
    assert_eq!(events_by_number(&receiver).values().filter(|times| **times > 1).count(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_goes_on_by_itself_when_the_daemon_is_started_anew() {
    let count = 20_000;
    let dir = tempfile::tempdir().expect("a directory");
    let receiver = Receiver::start().await;
    let mut daemon = Daemon::start(dir.path()).await;
    events(dir.path(), &receiver, count);
    let mut child = daemon.enqueue(&["events.ndjson"]).spawn().expect("the program");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let mut numbers = Vec::new();
    for signal in ["-KILL", "-TERM"] {
        let mut line = String::new();
        for _ in 0..count / 4 {
            line.clear();
            assert!(out.read_line(&mut line).expect("text") > 0);
            numbers.push(serde_json::from_str::<Value>(&line).expect("an answer")["line"].as_u64());
        }
        daemon.restart(signal).await;
    }
    let rest = tokio::task::spawn_blocking(move || {
        let mut rest = String::new();
        out.read_to_string(&mut rest).expect("text");
        (rest, child.wait_with_output().expect("its end"))
    });
    let (rest, output) = rest.await.expect("no panic");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let answer = |line: &str| serde_json::from_str::<Value>(line).expect("an answer")["line"].as_u64();
    numbers.extend(rest.lines().map(answer));
    assert!(numbers.into_iter().eq((1..=count).map(Some)), "one answer for each line, in order: {said}");
    assert!(said.matches("trying again from line ").count() >= 2, "{said}");
    eventually("all arrive", LONG, async || events_by_number(&receiver).len() as u64 == count).await;
    assert_eq!(events_by_number(&receiver).values().filter(|times| **times > 1).count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn states_of_other_passes_are_refused_and_refused_lines_are_counted() {
    let dir = tempfile::tempdir().expect("a directory");
    let receiver = Receiver::start().await;
    let daemon = Daemon::start(dir.path()).await;
    let path = events(dir.path(), &receiver, 10);
    let text = std::fs::read_to_string(&path).expect("text");
    std::fs::write(&path, format!("{text}\nno json\n{{\"url\":1}}\n")).expect("written");
    let (output, said) = ended(daemon.enqueue(&["events.ndjson"]), "").await;
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("10 accepted, 2 refused; 13 lines"), "{said}");
    let answers = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        answers.contains("{\"line\":12,\"status\":400,") && answers.contains("{\"line\":13,\"status\":422,")
    );

    // The same file again within the life of its keys, and under a name of its own.
    let (output, said) = ended(daemon.enqueue(&["events.ndjson", "--quiet"]), "").await;
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("10 accepted (10 of them had been handed in before), 2 refused"), "{said}");
    let (_, said) = ended(daemon.enqueue(&["events.ndjson", "--quiet", "--resume-id", "again"]), "").await;
    assert!(said.contains("10 accepted, 2 refused"), "{said}");
    assert_eq!(daemon.api.metric(ENQUEUED, "").await, 20.0);

    // A state of the file before a change, one that is too old, one that does not read.
    let began = "2020-01-01T00:00:00.000Z";
    let kept = dir.path().join("kept");
    state_at_the_beginning(&daemon, &kept);
    let sound = std::fs::read_to_string(&kept).expect("a state file");
    let started = state(&kept)["started_at"].as_str().expect("a date").to_owned();
    let long_ago = sound.replace(&started, began);
    let elsewhere = sound.replace(&daemon.address.to_string(), "127.0.0.1:1");
    let other = sound.replace("\"digest\": \"", "\"digest\": \"0");
    for (text, more, code, told) in [
        (sound.as_str(), &[][..], 1, "10 accepted"),
        (&long_ago, &[], 2, "--accept-repeats"),
        (&long_ago, &["--accept-repeats"], 1, "10 accepted"),
        (&other, &[], 2, "another input"),
        (&elsewhere, &[], 2, "--listen 127.0.0.1:1"),
        (&sound, &["--resume-id", "x"], 2, "without --resume-id"),
        ("{", &[], 2, "does not read"),
    ] {
        std::fs::write(&kept, text).expect("written");
        let arguments = [&["events.ndjson", "--quiet", "--state", "kept"], more].concat();
        let (output, said) = ended(daemon.enqueue(&arguments), "").await;
        assert_eq!(output.status.code(), Some(code), "{more:?}: {said}");
        assert!(said.contains(told), "{more:?}: {told} is not in {said}");
    }
    assert_eq!(daemon.api.metric(ENQUEUED, "").await, 20.0);
}

/// Writes the state of a pass that reached no daemon, as if it had been meant for this one.
fn state_at_the_beginning(daemon: &Daemon, path: &Path) {
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args([
        "enqueue",
        "events.ndjson",
        "--retry-for",
        "0",
        "--listen",
        &nobody.to_string(),
        "--state",
    ]);
    let output = command.arg(path).current_dir(&daemon.dir).env_clear().output().expect("the program");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.contains("cannot reach tidegate") && said.contains("goes on after line 0"), "{said}");
    let text = std::fs::read_to_string(path).expect("a state file");
    std::fs::write(path, text.replace(&nobody.to_string(), &daemon.address.to_string())).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_input_is_resumed_under_its_id_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let receiver = Receiver::start().await;
    let daemon = Daemon::start(dir.path()).await;
    let file = events(dir.path(), &receiver, 5000);
    let whole = std::fs::read_to_string(file).expect("text");
    let resumable = || {
        let mut command = daemon.enqueue(&["--resume-id", "night"]);
        command.stdin(Stdio::piped());
        command
    };
    let mut child = resumable().spawn().expect("the program");
    let mut stdin = child.stdin.take().expect("piped");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let part: String = whole.split_inclusive('\n').take(3000).collect();
    let feeding = std::thread::spawn(move || drop((stdin.write_all(part.as_bytes()), stdin)));
    for _ in 0..2500 {
        assert!(out.read_line(&mut String::new()).expect("text") > 0);
    }
    child.kill().expect("a living process");
    child.wait().expect("its status");
    feeding.join().expect("no panic");
    let state_file = dir.path().join("night.tidegate-enqueue");
    let kept = std::fs::read_to_string(&state_file).expect("a state file");

    let (output, said) = ended(resumable(), &whole).await;
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("5000 accepted"), "{said}");
    eventually("all arrive", LONG, async || receiver.count() == 5000).await;
    assert_eq!(daemon.api.metric(ENQUEUED, "").await, 5000.0);

    // Other lines under the same id: those that are passed over are known by their digest, the others by their keys.
    let others = whole.replacen("\"n\":0,", "\"n\":100000,", 1);
    if serde_json::from_str::<Value>(&kept).expect("JSON")["answered_lines"] != 0 {
        std::fs::write(&state_file, &kept).expect("written");
        let (output, said) = ended(resumable(), &others).await;
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("are not those that were handed in before"), "{said}");
        std::fs::remove_file(&state_file).expect("there");
    }
    let (output, said) = ended(resumable(), &others).await;
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("idempotency_conflict"), "{said}");
    assert_eq!(daemon.api.metric(ENQUEUED, "").await, 5000.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_does_not_answer_is_given_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let receiver = Receiver::start().await;
    events(dir.path(), &receiver, 10);
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("its address").to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["enqueue", "events.ndjson", "--retry-for", "1", "--listen", &address]);
    command.current_dir(dir.path()).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ended = tokio::time::timeout(Duration::from_secs(60), ended(command, ""));
    let (output, said) = ended.await.expect("it ends");
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(said.contains("has not answered within 5 s; gave up after 1 s without progress"), "{said}");
    assert!(said.contains("goes on after line 0"), "{said}");
}

/// Answers `GET /v1/status` of each connection, then each of these to the first line of the stream that follows.
fn answering(answers: &'static [&'static str]) -> (SocketAddr, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let serving = std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().expect("a connection");
            read_to(&mut stream, b"\r\n\r\n");
            let status = "{\"store\":{\"id\":\"x\"}}";
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{status}", status.len());
            stream.write_all(head.as_bytes()).expect("taken");
            read_to(&mut stream, b"}\n");
            let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
            stream.write_all(format!("{head}{answer}\n").as_bytes()).expect("taken");
            read_to(&mut stream, b"0\r\n\r\n");
        }
    });
    (address, serving)
}

/// Reads until these bytes have come, or the end.
fn read_to(stream: &mut std::net::TcpStream, end: &[u8]) {
    let (mut seen, mut byte) = (Vec::new(), [0]);
    while !seen.ends_with(end) && stream.read(&mut byte).is_ok_and(|read| read > 0) {
        seen.push(byte[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_which_it_is_not_known_whether_it_was_kept_is_sent_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let receiver = Receiver::start().await;
    events(dir.path(), &receiver, 1);
    let (address, serving) = answering(&[
        r#"{"line":1,"status":500,"code":"internal","detail":"not known"}"#,
        r#"{"line":1,"status":202,"id":"x","duplicate":true}"#,
    ]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["enqueue", "events.ndjson", "--listen", &address.to_string()]);
    command.current_dir(dir.path()).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (output, said) = ended(command, "").await;
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("500 internal: not known; trying again from line 1"), "{said}");
    assert!(said.contains("1 accepted (1 of them had been handed in before), 0 refused"), "{said}");
    serving.join().expect("no panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_does_not_go_on_in_another_data_directory() {
    let dir = tempfile::tempdir().expect("a directory");
    let receiver = Receiver::start().await;
    let mut daemon = Daemon::start(dir.path()).await;
    events(dir.path(), &receiver, 20_000);
    assert_eq!(killed_after(daemon.enqueue(&["events.ndjson"]), 5000), 5000);
    let (data, before) = (dir.path().join("data"), dir.path().join("before"));
    let swap = |from: PathBuf, to: PathBuf| move || std::fs::rename(from, to).expect("renamed");
    daemon.restart_after("-TERM", swap(data.clone(), before.clone())).await;
    let (output, said) = ended(daemon.enqueue(&["events.ndjson", "--quiet"]), "").await;
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("another directory, or one that was restored"), "{said}");
    assert!(!said.contains("the same command goes on"), "{said}");
    assert_eq!(daemon.api.metric(ENQUEUED, "").await, 0.0);
    let back = move || {
        std::fs::remove_dir_all(&data).expect("removed");
        std::fs::rename(before, data).expect("renamed");
    };
    daemon.restart_after("-TERM", back).await;
    let (output, said) = ended(daemon.enqueue(&["events.ndjson", "--quiet"]), "").await;
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("20000 accepted"), "{said}");
}
