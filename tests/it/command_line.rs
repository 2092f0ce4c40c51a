//! What the subcommands that look at a daemon show of a real one, to people and to programs.

use std::io::{Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{Configured, Receiver, Server, eventually};

const PATIENCE: Duration = Duration::from_secs(30);

fn command(server: &Server, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments).args(["--listen", &server.addr.to_string()]).current_dir("/").env_clear();
    command.stdin(Stdio::null());
    command
}

fn output(server: &Server, arguments: &[&str]) -> Output {
    command(server, arguments).output().expect("the program")
}

/// What it prints when all goes well.
fn shown(server: &Server, arguments: &[&str]) -> String {
    let output = output(server, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn read(server: &Server, arguments: &[&str]) -> Value {
    serde_json::from_str(&shown(server, &[arguments, &["--json"]].concat())).expect("JSON")
}

/// A daemon with a policy that is paused and has three events waiting, and one that has delivered two.
async fn busy() -> (Configured, Server, String) {
    let configured = Configured::new(Receiver::start().await);
    let slow = configured.policy("slow", "pace = 5");
    configured.write(&format!("{slow}{}", configured.policy("fast", "pace = 200\nslots = 8")));
    let server = Server::start(&configured.options);
    let api = server.api();
    let (status, answer) = api.json("POST", "/v1/policies/slow:pause", &json!({"reason": "rebuilt"})).await;
    assert_eq!(status, 200, "{answer}");
    let mut id = String::new();
    for name in ["slow", "slow", "slow", "fast", "fast"] {
        let (status, answer) = configured.event(&api, name).await;
        assert_eq!(status, 202, "{answer}");
        if name == "slow" {
            id = answer["id"].as_str().expect("an id").to_owned();
        }
    }
    eventually("two are delivered", PATIENCE, async || {
        let (_, status) = api.get("/v1/status").await;
        let status: Value = serde_json::from_str(&status).expect("JSON");
        status["ended"]["delivered"] == 2 && status["events"]["ready"] == 3 && !status["rates"].is_null()
    })
    .await;
    (configured, server, id)
}

#[tokio::test(flavor = "multi_thread")]
async fn status_health_event_and_explain_show_a_daemon() {
    let (_configured, server, id) = busy().await;
    let status = read(&server, &["status"]);
    assert_eq!(
        status["events"],
        json!({"ready": 3, "delayed": 0, "inflight": 0, "oldest": status["events"]["oldest"]})
    );
    assert_eq!((&status["ready"], &status["policies"]["deployed"]), (&json!(true), &json!(2)));
    assert_eq!((&status["policies"]["paused"], &status["doubts"]["open"]), (&json!(1), &json!(0)));
    assert_eq!((&status["held"][0]["reason"], &status["held"][0]["lanes"]), (&json!("paused"), &json!(1)));
    let screen = shown(&server, &["status"]);
    for line in [
        format!("tidegate {} at {}, up ", env!("CARGO_PKG_VERSION"), server.addr),
        "\nready      yes\n".to_owned(),
        "\nevents     3 ready, 0 delayed, 0 inflight; the oldest is ".to_owned(),
        "\nended      2 delivered, 0 dead, 0 expired, 0 dropped, 0 lost\n".to_owned(),
        "\nheld       1 lane by paused\n".to_owned(),
    ] {
        assert!(screen.contains(&line), "{line} is not in\n{screen}");
    }
    assert!(!screen.contains('\x1b'), "colours are for terminals");
    assert_eq!(shown(&server, &["health"]), "ready\n");
    assert_eq!(shown(&server, &["health", "--live"]), "live\n");
    assert_eq!(read(&server, &["health"])["ready"], true);

    let event = read(&server, &["event", "show", &id]);
    // What was read ahead counts as taken up.
    let state = event["state"].as_str().expect("a word");
    assert!(event["id"] == json!(id) && ["ready", "inflight"].contains(&state), "{event}");
    assert!(shown(&server, &["event", "show", &id]).contains(&format!("\nstate      {state}\n")));
    let explained = shown(&server, &["explain", &id]);
    assert!(explained.contains("\nheld by    hold: ") && explained.contains("rebuilt"), "{explained}");
    assert!(explained.contains("\nahead      2 events of its lane\n"), "{explained}");
    assert!(explained.contains("\nslow    applies  It applies.\n"), "{explained}");
    let call = ["explain", "--url", "http://127.0.0.1:1/x?a=b&c", "--method", "GET", "--label", "org=A&B"];
    let explained = read(&server, &call);
    assert_eq!((&explained["held"]["by"], &explained["method"]), (&json!("unmatched"), &json!("GET")));
    for arguments in [&["event", "show", "0198c4f0-5f3a-7c00-8000-000000000001"][..], &["explain", "0198"]] {
        let output = output(&server, arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.starts_with("tidegate: it was refused: 40") && said.lines().count() == 1, "{said}");
    }
    let addr = server.addr;
    assert_eq!(server.stop().code(), Some(0));
    nobody_answers(&addr.to_string());
}

/// Each says so in one line, with its code.
fn nobody_answers(address: &str) {
    for (arguments, code) in [
        (&["status"][..], 69),
        (&["top", "--once"], 69),
        (&["event", "show", "0198"], 69),
        (&["explain", "--url", "http://a.test/"], 69),
        (&["health"], 1),
        (&["health", "--live"], 1),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        let output =
            command.args(arguments).args(["--listen", address]).env_clear().current_dir("/").output();
        let output = output.expect("the program");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.starts_with(&format!("tidegate: cannot reach tidegate at {address}: ")), "{said}");
        assert_eq!((said.lines().count(), output.stdout.len()), (1, 0), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_fails_while_the_daemon_takes_nothing() {
    // Connections are taken by the system, and nobody answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("bound").to_string();
    let mut health = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    health.args(["health", "--timeout", "1", "--listen", &address]).current_dir("/").env_clear();
    let output = health.output().expect("the program");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("does not answer within 1 s"));

    let dir = tempfile::tempdir().expect("a directory");
    let mut options = crate::world::ServerOptions::new(&dir.path().join("data"));
    let file = dir.path().join("full.toml");
    std::fs::write(&file, "[store]\nmin_free_bytes = 1125899906842624\n").expect("written");
    options.args = ["--config".to_owned(), file.display().to_string()].to_vec();
    let server = Server::start(&options);
    let output = command(&server, &["health"]).output().expect("the program");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("not ready: store_writable: the disk is nearly full"), "{said}");
    assert_eq!(shown(&server, &["health", "--live"]), "live\n");
    assert!(shown(&server, &["status"]).contains("\nready      no: store_writable: "));
}

#[tokio::test(flavor = "multi_thread")]
async fn top_shows_what_waits_and_what_holds_it() {
    let (_configured, server, _) = busy().await;
    let rows = read(&server, &["top"]);
    let slow = &rows["policies"][0];
    assert_eq!(
        (&slow["policy"], &slow["waiting"], &slow["limit"]),
        (&json!("slow"), &json!(3), &json!("5/s"))
    );
    assert!(slow["held_by"].as_str().is_some_and(|held| held.starts_with("paused: rebuilt")), "{slow}");
    assert_eq!(rows["policies"][1]["policy"], "fast");
    let table = shown(&server, &["top", "--once", "--sort", "name"]);
    let lines: Vec<_> = table.lines().map(|line| line.split_whitespace().next()).collect();
    assert_eq!(lines, [Some("POLICY"), Some("fast"), Some("slow")], "{table}");
    let mut terminal = Terminal::with_top(&server);
    terminal.seen.until("paused: rebuilt");
    terminal.press(b"n");
    terminal.seen.until("sorted by [n]ame");
    terminal.press(b"q");
    terminal.ends_and_gives_back();
}

#[tokio::test(flavor = "multi_thread")]
async fn top_ends_by_keys_and_signals_while_the_daemon_does_not_answer() {
    let (_configured, server, _) = busy().await;
    // Control-C, -Z and -\ come as keys: as signals they would leave the terminal as it is.
    let keys = [&b"q"[..], b"\x03", b"\x1a", b"\x1c"];
    let signals = ["TERM", "INT", "QUIT", "HUP"];
    // All of them beside each other: each waits some seconds until it shows that nobody answers.
    let mut of_keys = keys.map(|_| Terminal::with_top(&server));
    let mut of_signals = signals.map(|_| Terminal::with_top(&server));
    server.signal("STOP");
    for terminal in of_keys.iter_mut().chain(&mut of_signals) {
        terminal.seen.until("no answer since 2");
        terminal.seen.until("paused: rebuilt");
    }
    for (key, mut terminal) in keys.into_iter().zip(of_keys) {
        terminal.press(key);
        terminal.ends_and_gives_back();
    }
    for (signal, terminal) in signals.into_iter().zip(of_signals) {
        terminal.signal(signal);
        terminal.ends_and_gives_back();
    }
    server.signal("CONT");
}

#[tokio::test(flavor = "multi_thread")]
async fn top_gives_the_terminal_back_while_it_is_stopped() {
    let (_configured, server, _) = busy().await;
    let mut terminal = Terminal::with_top(&server);
    let taken = terminal.modes();
    for _ in 0..2 {
        terminal.signal("TSTP");
        terminal.seen.until("\x1b[?25h\x1b[?1049l");
        eventually("it stands still", PATIENCE, async || terminal.state() == 'T').await;
        let given_back = terminal.modes();
        assert!(given_back.contains(" icanon ") && given_back.contains(" echo "), "{given_back}");
        assert_ne!(given_back, taken);
        terminal.signal("CONT");
        terminal.seen.until("\x1b[?1049h\x1b[?25l");
        terminal.seen.until("sorted by [w]aiting");
        assert_eq!(terminal.modes(), taken);
    }
    // Of this one it does not hear before it goes on.
    terminal.signal("STOP");
    eventually("it stands still", PATIENCE, async || terminal.state() == 'T').await;
    terminal.signal("CONT");
    terminal.seen.until("\x1b[?1049h\x1b[?25l");
    // And one that ends it while it stands still.
    terminal.signal("TSTP");
    eventually("it stands still", PATIENCE, async || terminal.state() == 'T').await;
    terminal.signal("TERM");
    terminal.signal("CONT");
    terminal.ends_and_gives_back();
}

/// `tidegate top` in a terminal.
struct Terminal {
    child: Child,
    /// Of `tidegate top`.
    pid: String,
    keys: std::process::ChildStdin,
    seen: Seen,
}

impl Terminal {
    /// Returns when it has shown what is there.
    fn with_top(server: &Server) -> Self {
        // The modes of the terminal are shown before and after.
        let top = format!(
            "stty -g; sh -c 'echo pid $$ .; exec {} top --listen {}'; echo ended $?; stty -g",
            env!("CARGO_BIN_EXE_tidegate"),
            server.addr
        );
        let mut command = Command::new("script");
        command
            .args(["-qec", &top, "/dev/null"])
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("script (bsdutils)");
        let (keys, mut seen) = (child.stdin.take().expect("piped"), Seen::of(&mut child));
        seen.until("sorted by [w]aiting");
        let pid = seen
            .all
            .split_once("pid ")
            .and_then(|(_, rest)| rest.split_once(" ."))
            .expect("shown")
            .0
            .to_owned();
        Self { child, pid, keys, seen }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.pid]).status();
        assert!(sent.expect("kill").success(), "{name}");
    }

    /// Its state as proc(5) names it.
    fn state(&self) -> char {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).expect("it runs");
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).expect("a state")
    }

    /// The modes of its terminal.
    fn modes(&self) -> String {
        let terminal = std::fs::File::open(format!("/proc/{}/fd/0", self.pid)).expect("its terminal");
        let output = Command::new("stty").arg("-a").stdin(terminal).output().expect("stty");
        String::from_utf8(output.stdout).expect("text")
    }

    fn press(&mut self, key: &[u8]) {
        self.keys.write_all(key).expect("taken");
    }

    /// It ends well, and the screen and the modes are what they were.
    fn ends_and_gives_back(mut self) {
        self.seen.until("\x1b[?25h\x1b[?1049l");
        self.seen.until("ended 0");
        assert_eq!(self.child.wait().expect("its status").code(), Some(0));
        let modes = self.seen.rest();
        let before = self.seen.first_line();
        assert_eq!(modes.trim(), before, "the modes of the terminal");
    }
}

/// What a child writes.
struct Seen {
    out: std::process::ChildStdout,
    all: String,
    /// Where to look on.
    at: usize,
}

impl Seen {
    fn of(child: &mut Child) -> Self {
        Self { out: child.stdout.take().expect("piped"), all: String::new(), at: 0 }
    }

    /// Reads until `text` comes.
    fn until(&mut self, text: &str) {
        let mut buffer = [0; 4096];
        loop {
            if let Some(found) = self.all[self.at..].find(text) {
                self.at += found + text.len();
                return;
            }
            let read = self.out.read(&mut buffer).expect("readable");
            assert!(read > 0, "{text:?} never came in {}", self.all);
            self.all.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    }

    /// What comes until the end.
    fn rest(&mut self) -> String {
        self.out.read_to_string(&mut self.all).expect("text");
        self.all[self.at..].to_owned()
    }

    fn first_line(&self) -> &str {
        self.all.lines().next().unwrap_or_default()
    }
}
