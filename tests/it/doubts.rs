//! What is in doubt: usages that were damaged count as spent until an operator states them; doubts are seen and decided
//! over the API and on the command line, with a daemon and without.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{Api, Configured, Receiver, Server, eventually};

const PATIENCE: Duration = Duration::from_secs(20);

/// What is done to the record of usages between two starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    None,
    CutAfterHead,
    CutInLastLine,
    FlipInLastLine,
    FlipInUsage,
    Empty,
    Delete,
}

impl Harm {
    const ALL: [Self; 7] = [
        Self::None,
        Self::CutAfterHead,
        Self::CutInLastLine,
        Self::FlipInLastLine,
        Self::FlipInUsage,
        Self::Empty,
        Self::Delete,
    ];

    fn does(self, path: &PathBuf) {
        let whole = std::fs::read(path).expect("a record");
        let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
        let flipped = |line: usize| {
            let start: usize = lines[..line].iter().map(|line| line.len()).sum();
            let mut bytes = whole.clone();
            bytes[start + lines[line].len() / 2] ^= 1;
            bytes
        };
        let bytes = match self {
            Self::None => return,
            Self::Delete => return std::fs::remove_file(path).expect("deletes"),
            Self::Empty => Vec::new(),
            Self::CutAfterHead => lines[0].to_vec(),
            Self::CutInLastLine => whole[..whole.len() - 7].to_vec(),
            Self::FlipInLastLine => flipped(lines.len() - 1),
            Self::FlipInUsage => flipped(1),
        };
        std::fs::write(path, bytes).expect("writes");
    }
}

/// A month's quota of ten, beyond which calls are turned away.
async fn world() -> Configured {
    let world = Configured::new(Receiver::start().await);
    world.write(&world.policy("q", "quota = { calls = 10, per = \"month\" }\nfamily = \"refuse\""));
    world
}

/// How many of so many events are taken; the others are over the quota.
async fn taken(world: &Configured, api: &Api, events: usize) -> usize {
    let before = world.receiver.count();
    let mut taken = 0;
    for _ in 0..events {
        let (status, answer) = world.event(api, "q").await;
        assert!(status == 202 || answer["code"] == "over_quota", "{status} {answer}");
        taken += usize::from(status == 202);
    }
    eventually("they arrive", PATIENCE, async || world.receiver.count() == before + taken).await;
    taken
}

async fn usages_in_doubt(api: &Api) -> usize {
    let (status, answer) = api.json("GET", "/v1/doubts", &Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    answer["doubts"].as_array().into_iter().flatten().filter(|doubt| doubt["kind"] == "usages").count()
}

/// Cases that run beside each other.
const AT_ONCE: usize = 4;

#[test]
fn a_quota_whose_record_was_harmed_is_spent_until_an_operator_states_it() {
    let cases = Harm::ALL.map(|harm| [(harm, false), (harm, true)]);
    for at_once in cases.as_flattened().chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            for (harm, killed) in at_once {
                let runtime = tokio::runtime::Runtime::new().expect("a runtime");
                scope.spawn(move || runtime.block_on(harmed(*harm, *killed)));
            }
        });
    }
}

/// After an orderly stop, or `killed`.
async fn harmed(harm: Harm, killed: bool) {
    let world = world().await;
    let server = Server::start(&world.options);
    assert_eq!(taken(&world, &server.api(), 4).await, 4);
    if killed {
        // A call whose end is not durable is repeated, and counts again.
        let delivered = "outcome=\"delivered\"";
        let api = server.api();
        let ended = async || api.metric("tidegate_events_completed_total", delivered).await == 4.0;
        eventually("the ends are durable", PATIENCE, ended).await;
        // A line that is not acknowledged may be torn by any kill: that is no harm.
        let dir = world.options.data_dir.join("limits");
        eventually("the last line is accounted for", PATIENCE, async || is_accounted_for(&dir)).await;
        server.kill();
    } else {
        assert_eq!(server.stop().code(), Some(0));
    }
    harm.does(&world.options.data_dir.join("limits/usage.log"));
    let server = Server::start(&world.options);
    let api = server.api();
    if harm == Harm::None {
        let rest = taken(&world, &api, 10).await;
        assert!(if killed { rest <= 6 } else { rest == 6 }, "the control: {rest}, killed {killed}");
        assert_eq!(usages_in_doubt(&api).await, 0);
        return;
    }
    let what = format!("{harm:?}, killed {killed}");
    assert_eq!(taken(&world, &api, 3).await, 0, "{what}");
    assert_eq!(usages_in_doubt(&api).await, 1, "{what}");
    let (status, ready) = api.get("/readyz?verbose").await;
    assert!(status == 200 && ready.contains("1 usages"), "{what}: {ready}");
    let body = json!({"limit": "quota", "used": 4});
    let (status, answer) = api.json("POST", "/v1/policies/q:set-usage", &body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(taken(&world, &api, 3).await, 3, "{what}");
    eventually("the doubt ends", PATIENCE, async || usages_in_doubt(&api).await == 0).await;
    assert_eq!(server.stop().code(), Some(0));
    let server = Server::start(&world.options);
    assert_eq!(taken(&world, &server.api(), 5).await, 3, "{what}: what was stated survives");
}

/// Whether the account of the record in `dir` vouches for all of its bytes.
fn is_accounted_for(dir: &Path) -> bool {
    let mark = std::fs::read_to_string(dir.join("usage.mark")).expect("an account");
    let line = mark.split('\n').next().expect("a line");
    let account: Value = serde_json::from_str(&line[9..]).expect("JSON behind the sum");
    let bytes = std::fs::metadata(dir.join("usage.log")).expect("a record").len();
    account["e"] == bytes
}

/// Runs the program on the same configuration.
fn tidegate(world: &Configured, server: Option<&Server>, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments).args(&world.options.args).arg("--data-dir").arg(&world.options.data_dir);
    let nobody = "127.0.0.1:1".to_owned();
    command.args(["--listen", &server.map_or(nobody, |server| server.addr.to_string())]);
    command.output().expect("the program")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_sees_and_decides_with_a_daemon_and_without() {
    let world = world().await;
    let server = Server::start(&world.options);
    assert_eq!(taken(&world, &server.api(), 1).await, 1);
    let nothing = tidegate(&world, Some(&server), &["doubts"]);
    assert_eq!(said(&nothing), "nothing is in doubt\n");
    server.kill();
    Harm::Delete.does(&world.options.data_dir.join("limits/usage.log"));

    let server = Server::start(&world.options);
    let listed = tidegate(&world, Some(&server), &["doubts", "list", "--json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    // A kill leaves other things in doubt, too.
    let mut listed = listed["doubts"].as_array().into_iter().flatten();
    let id = listed.find(|doubt| doubt["kind"] == "usages").expect("one")["id"].to_string();
    let shown = said(&tidegate(&world, Some(&server), &["doubts", "show", &id]));
    assert!(shown.contains("limits/usage.log") && shown.contains("way out:"), "{shown}");
    assert_eq!(taken(&world, &server.api(), 1).await, 0);
    let usage = ["policy", "set-usage", "q", "--limit", "quota", "--used", "9"];
    let set = tidegate(&world, Some(&server), &usage);
    assert!(set.status.success(), "{}", said(&set));
    assert_eq!(taken(&world, &server.api(), 3).await, 1);
    server.kill();

    Harm::Delete.does(&world.options.data_dir.join("limits/usage.log"));
    let server = Server::start(&world.options);
    eventually("it is on disk", PATIENCE, async || usages_in_doubt(&server.api()).await == 1).await;
    server.kill();
    let at_rest = said(&tidegate(&world, None, &["doubts"]));
    let line = at_rest.lines().find(|line| line.contains("usages")).expect("one");
    assert!(line.contains("  no "), "{at_rest}");
    let id = line.split_whitespace().next().expect("an id");
    let seen = tidegate(&world, None, &["doubts", "acknowledge", id]);
    assert!(seen.status.success(), "{}", said(&seen));
    let refused = tidegate(&world, None, &["doubts", "give-up", id, "--confirm", "0"]);
    assert!(refused.status.code() == Some(1) && said(&refused).contains("acknowledge"), "{}", said(&refused));
    assert_eq!(tidegate(&world, None, &["doubts", "show", "999"]).status.code(), Some(1));

    let server = Server::start(&world.options);
    let (_, ready) = server.api().get("/readyz?verbose").await;
    assert!(!ready.contains("usages"), "{ready}");
    assert_eq!(usages_in_doubt(&server.api()).await, 1);
}
