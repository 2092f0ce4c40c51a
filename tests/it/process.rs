//! Signals, exit codes and streams of the real program.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::testkit::clock::Clock;

use crate::world::{Receiver, Server, ServerOptions, eventually};

/// The program on its own directory, with nothing of the environment.
fn tidegate(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments).args(["--listen", "127.0.0.1:0", "--data-dir"]).arg(dir.join("data"));
    command.current_dir(dir).env_clear().env("TIDEGATE_QUEUE_UNMATCHED", "pass");
    command.env("TIDEGATE_EGRESS_ALLOW", "127.0.0.0/8");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Writes `input`, closes it and waits for the end.
fn fed(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.spawn().expect("the program");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_owned();
    // What does not read to the end breaks the pipe.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("its end");
    writer.join().expect("written");
    output
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_in_flight_end_before_an_asked_for_stop() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = ServerOptions::new(&dir.path().join("data"));
    let receiver = Receiver::answering(|_| (204, Duration::from_millis(1500))).await;
    let server = Server::start(&options);
    let api = server.api();
    api.deploy_throttling(&receiver.url("/*"), 200).await;
    assert_eq!(api.enqueue(&receiver.url("/x"), 0..5).await.len(), 5);
    eventually("all are under way", Duration::from_secs(10), async || receiver.count() == 5).await;
    let clock = Clock::system();
    let asked = clock.now();
    assert_eq!(server.stop().code(), Some(0));
    assert!(clock.now().since(asked) < Duration::from_secs(6), "{:?}", clock.now().since(asked));

    let server = Server::start(&options);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(receiver.count(), 5, "nothing that ended is repeated");
    assert_eq!(server.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once_and_nothing_is_lost() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = ServerOptions::new(&dir.path().join("data"));
    let receiver =
        Receiver::answering(|arrival| (204, Duration::from_secs(if arrival.attempt == 1 { 8 } else { 0 })))
            .await;
    let server = Server::start(&options);
    let api = server.api();
    api.deploy_throttling(&receiver.url("/*"), 200).await;
    assert_eq!(api.enqueue(&receiver.url("/x"), 0..1).await.len(), 1);
    eventually("it is under way", Duration::from_secs(10), async || receiver.count() == 1).await;
    let clock = Clock::system();
    let asked = clock.now();
    server.signal("TERM");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(server.stop().code(), Some(1));
    assert!(clock.now().since(asked) < Duration::from_secs(4), "{:?}", clock.now().since(asked));

    let server = Server::start(&options);
    eventually("it is called again", Duration::from_secs(10), async || receiver.count() == 2).await;
    assert_eq!(receiver.arrivals()[0].id, receiver.arrivals()[1].id);
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_does_not_hold_up_a_stop_and_outlasts_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = ServerOptions::new(&dir.path().join("data"));
    let receiver = Receiver::start().await;
    let server = Server::start(&options);
    let api = server.api();
    api.deploy_throttling(&receiver.url("/*"), 2500).await;
    assert_eq!(api.enqueue(&receiver.url("/x"), 0..10_000).await.len(), 10_000);
    let clock = Clock::system();
    let asked = clock.now();
    assert_eq!(server.stop().code(), Some(0));
    assert!(clock.now().since(asked) < Duration::from_secs(3), "{:?}", clock.now().since(asked));
    assert!(receiver.count() < 10_000, "nothing waited");
    let server = Server::start(&options);
    eventually("all arrive", Duration::from_secs(30), async || receiver.times_seen().len() == 10_000).await;
    assert_eq!(receiver.count(), 10_000, "an orderly stop repeats nothing");
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn run_answers_each_line_delivers_the_good_ones_and_says_that_not_all_were() {
    let dir = tempfile::tempdir().expect("a directory");
    let receiver = Receiver::start().await;
    let good = json!({"url": receiver.url("/x"), "body": {"n": 1}}).to_string();
    let mut input = format!("{good}\nnot json\n\n{}\n", "x".repeat(600_000)).into_bytes();
    input.extend_from_slice(b"{\"url\":\"\xc3\n");
    input.extend_from_slice(good.as_bytes());
    let all = tidegate(dir.path(), &["run"]);
    let output = tokio::task::spawn_blocking(move || fed(all, &input)).await.expect("no panic");
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{log}");
    let answers: Vec<_> =
        lines(&output).iter().map(|line| (line["line"].as_u64(), line["status"].as_u64())).collect();
    let expected = [(1, 202), (2, 400), (4, 413), (5, 400), (6, 202)].map(|(n, s)| (Some(n), Some(s)));
    assert_eq!(answers, expected);
    assert_eq!(receiver.count(), 2);
    assert!(log.contains("2 delivered") && log.contains("events refused: 3"), "{log}");

    let good = format!("{good}\n");
    let well = tidegate(dir.path(), &["run"]);
    let output = tokio::task::spawn_blocking(move || fed(well, good.as_bytes())).await.expect("no panic");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let none = tidegate(dir.path(), &["run"]);
    let output = tokio::task::spawn_blocking(move || fed(none, b"")).await.expect("no panic");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn enqueue_and_standard_input_feed_a_daemon() {
    let dir = tempfile::tempdir().expect("a directory");
    let receiver = Receiver::start().await;
    let server = Server::start(&ServerOptions::new(&dir.path().join("data")));
    server.api().deploy_throttling(&receiver.url("/*"), 200).await;
    let good = json!({"url": receiver.url("/x"), "body": {"n": 1}}).to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["enqueue", "--listen", &server.addr.to_string()]).current_dir(dir.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let input = format!("{good}\nbad\n{good}");
    let output = tokio::task::spawn_blocking(move || fed(command, input.as_bytes())).await.expect("no panic");
    assert_eq!(output.status.code(), Some(1));
    let statuses: Vec<_> = lines(&output).iter().map(|line| line["status"].as_u64()).collect();
    assert_eq!(statuses, [Some(202), Some(400), Some(202)]);
    eventually("both arrive", Duration::from_secs(10), async || receiver.count() == 2).await;
    drop(server);

    // Beside the doors; its end does not end the daemon, an open one does not hold up the stop.
    let other = dir.path().join("other");
    std::fs::create_dir(&other).expect("a directory");
    let mut child = tidegate(&other, &["serve", "--stdin"]).spawn().expect("the program");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(format!("{good}\n").as_bytes()).expect("read");
    eventually("it arrives", Duration::from_secs(10), async || receiver.count() == 3).await;
    assert_eq!(terminate(child), Some(0));
    drop(stdin);
}

fn terminate(mut child: Child) -> Option<i32> {
    let status = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(status.expect("kill").success());
    child.wait().expect("its status").code()
}

#[test]
fn a_directory_that_cannot_be_used_is_told_with_74_or_77() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("data"), "a file").expect("written");
    let output = fed(tidegate(dir.path(), &["serve"]), b"");
    assert_eq!(output.status.code(), Some(74), "{}", String::from_utf8_lossy(&output.stderr));
    for verb in ["verify", "rebuild"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["store", verb, "--data-dir", "nowhere"]).current_dir(dir.path());
        let output = command.output().expect("the program");
        assert_eq!(output.status.code(), Some(74), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(!dir.path().join("nowhere").exists(), "{verb} made a directory");
    }

    // Someone else's directory; the program must be reachable for them.
    let program = std::env::temp_dir().join(format!("tidegate-{}", std::process::id()));
    std::fs::copy(env!("CARGO_BIN_EXE_tidegate"), &program).expect("a copy");
    let closed = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(&program);
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(closed.path().join("data"));
    let output = command.current_dir("/").uid(65_534).gid(65_534).output();
    std::fs::remove_file(&program).expect("removed");
    let output = output.expect("this test needs root");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(77), "{said}");
    assert!(said.contains("Permission denied"), "{said}");
}
