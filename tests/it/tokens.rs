//! Tokens that calls carry: they end under load without a failed call, a token server that is away holds its calls alone, and
//! no secret is found anywhere.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{Api, Configured, Receiver, Server, boot_ns, eventually, files_below};

const PATIENCE: Duration = Duration::from_secs(30);

/// An authorization server and the endpoint behind it, in one: it knows which of its tokens are good.
#[derive(Clone)]
struct Guarded {
    addr: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// When each token ends, on the line of the system's uptime.
    tokens: BTreeMap<String, u64>,
    /// The life of a token, and whether it is told.
    life: Duration,
    tells_life: bool,
    refuses: bool,
    /// Bodies of questions for tokens, with the header that shows the client.
    asked: Vec<String>,
    /// Attempts of calls that were taken.
    taken: Vec<String>,
    /// Tokens of the calls that were taken.
    carried: Vec<String>,
    unauthorized: usize,
}

impl Guarded {
    async fn start(life: Duration, tells_life: bool) -> Self {
        Self::at("127.0.0.1:0", life, tells_life).await
    }

    async fn at(addr: &str, life: Duration, tells_life: bool) -> Self {
        let listener = TcpListener::bind(addr).await.expect("the address is free");
        let addr = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State { life, tells_life, ..State::default() }));
        let guarded = Self { addr, state: state.clone() };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, state.clone()));
            }
        });
        guarded
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    fn state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().expect("no panic"))
    }

    /// A policy for its calls, and a block with these members.
    fn config(&self, members: &str) -> String {
        let url = self.url("/calls/*");
        format!(
            "[[policy]]\nname = \"guarded\"\nurl = \"{url}\"\npace = 400\n\
             [[endpoint]]\nname = \"crm\"\nurl = \"{url}\"\n{members}\n"
        )
    }

    fn oauth2(&self, secret: &Path) -> String {
        let (url, secret) = (self.url("/token"), secret.display().to_string());
        format!("oauth2 = {{ token_url = \"{url}\", client_id = \"tidegate\", client_secret = {secret:?} }}")
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>) {
    while let Some((head, body)) = request(&mut stream).await {
        let (status, answer) = answer(&head, &body, &mut state.lock().expect("no panic"));
        let text = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{answer}", answer.len());
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn request(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let length = header(&head, "content-length").parse().unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, String::from_utf8_lossy(&body).into_owned()))
}

fn header<'h>(head: &'h str, name: &str) -> &'h str {
    let named = |line: &&str| line.split(':').next().is_some_and(|own| own.eq_ignore_ascii_case(name));
    head.lines().find(named).and_then(|line| line.split_once(": ")).map_or("", |(_, value)| value)
}

fn answer(head: &str, body: &str, state: &mut State) -> (u16, String) {
    let authorization = header(head, "authorization").to_owned();
    if head.starts_with("POST /token") || head.starts_with("POST /login") {
        state.asked.push(format!("{authorization} {body}"));
        if state.refuses {
            // As bad as it gets: it repeats what it was told.
            return (
                401,
                json!({"error": "invalid_client", "error_description": format!("{head}{body}")}).to_string(),
            );
        }
        let token = format!("token-canary-{}", state.asked.len());
        state.tokens.insert(token.clone(), boot_ns() + u64::try_from(state.life.as_nanos()).expect("short"));
        let mut answer = json!({"access_token": token, "authToken": token, "token_type": "Bearer"});
        if state.tells_life {
            answer["expires_in"] = json!(state.life.as_secs());
        }
        return (200, answer.to_string());
    }
    let token = authorization.trim_start_matches("Bearer ").to_owned();
    if state.tokens.get(&token).is_none_or(|end| *end <= boot_ns()) {
        state.unauthorized += 1;
        return (401, String::new());
    }
    state.taken.push(header(head, "tidegate-attempt").to_owned());
    state.carried.push(token);
    // A dead letter whose endpoint repeats what came.
    if head.starts_with("POST /calls/bad") { (404, head.to_owned()) } else { (200, String::new()) }
}

fn secret(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, text).expect("written");
    path
}

async fn hand_in(api: &Api, url: &str, count: usize) {
    let lines: Vec<String> = (0..count).map(|n| json!({"url": url, "body": {"n": n}}).to_string()).collect();
    let (status, answer) =
        api.post("/v1/events", "application/x-ndjson", lines.join("\n")).await.expect("an answer");
    assert_eq!(status, 200, "{answer}");
}

async fn completed(api: &Api, outcome: &str) -> f64 {
    api.metric("tidegate_events_completed_total", &format!("policy=\"guarded\",outcome=\"{outcome}\"")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_end_under_load_and_no_call_fails() {
    const EVENTS: usize = 5_600;
    let guarded = Guarded::start(Duration::from_secs(4), true).await;
    let world = Configured::new(Receiver::start().await);
    let dir = tempfile::tempdir().expect("a directory");
    let secret = secret(dir.path(), "secret", "s");
    world.write(&guarded.config(&guarded.oauth2(&secret)));
    let server = Server::start(&world.options);
    let api = server.api();
    hand_in(&api, &guarded.url("/calls/x"), EVENTS).await;
    eventually("all are delivered", Duration::from_secs(60), async || {
        completed(&api, "delivered").await >= EVENTS as f64
    })
    .await;
    let (asked, unauthorized, taken, tokens) = guarded
        .state(|state| (state.asked.len(), state.unauthorized, state.taken.clone(), state.carried.clone()));
    assert_eq!((unauthorized, completed(&api, "dead").await), (0, 0.0), "no call has failed");
    assert!(taken.len() == EVENTS && taken.iter().all(|attempt| attempt == "1"), "{} calls", taken.len());
    // One question for each life of a token, and never one while another is under way.
    let used: std::collections::BTreeSet<&String> = tokens.iter().collect();
    assert!((4..=8).contains(&asked) && used.len() + 1 >= asked, "{asked} questions, {} used", used.len());
    assert_eq!(server.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_taken_back_costs_no_event_and_no_attempt() {
    // Its life is told by nobody, and it ends a good while before tidegate would renew it.
    let guarded = Guarded::start(Duration::from_secs(12), false).await;
    let world = Configured::new(Receiver::start().await);
    let dir = tempfile::tempdir().expect("a directory");
    let secret = secret(dir.path(), "secret", "s");
    world.write(&guarded.config(&guarded.oauth2(&secret)));
    let server = Server::start(&world.options);
    let api = server.api();
    const EVENTS: usize = 5_600;
    hand_in(&api, &guarded.url("/calls/x"), EVENTS).await;
    eventually("all are delivered", Duration::from_secs(60), async || {
        completed(&api, "delivered").await >= EVENTS as f64
    })
    .await;
    let (asked, unauthorized, taken) =
        guarded.state(|state| (state.asked.len(), state.unauthorized, state.taken.clone()));
    assert!(unauthorized > 0, "the control: it was refused");
    // A slow machine takes longer than two lives of a token.
    assert!((2..=4).contains(&asked), "{asked} questions");
    assert!(unauthorized < 100 * (asked - 1), "{unauthorized} calls before the next one");
    assert_eq!(completed(&api, "dead").await, 0.0);
    assert!(taken.iter().all(|attempt| attempt == "1"), "no attempt was spent");
    // An endpoint that refuses every token has its answer counted.
    guarded.state(|state| state.life = Duration::ZERO);
    guarded.state(|state| state.tokens.clear());
    hand_in(&api, &guarded.url("/calls/x"), 1).await;
    eventually("it is dead", PATIENCE, async || completed(&api, "dead").await == 1.0).await;
    assert_eq!(server.stop().code(), Some(0));
}

async fn token_check(api: &Api) -> String {
    let (status, answer) = api.json("GET", "/readyz?verbose", &json!(null)).await;
    assert_eq!(status, 200, "{answer}");
    let checks = answer["checks"].as_array().cloned().unwrap_or_default();
    let of_tokens = checks.iter().find(|check| check["name"] == "tokens");
    of_tokens.and_then(|check| check["detail"].as_str()).unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_wait_for_a_token_server_that_is_away_and_others_go_on() {
    let guarded = Guarded::start(Duration::from_secs(600), true).await;
    let port =
        TcpListener::bind("127.0.0.1:0").await.and_then(|port| port.local_addr()).expect("a free port");
    let world = Configured::new(Receiver::start().await);
    let dir = tempfile::tempdir().expect("a directory");
    let secret = secret(dir.path(), "secret", "first");
    let away = format!(
        "oauth2 = {{ token_url = \"http://{port}/token\", client_id = \"tidegate\", client_secret = {:?}, authentication = \
         \"body\" }}",
        secret.display().to_string()
    );
    let others =
        format!("[[policy]]\nname = \"others\"\nurl = \"{}\"\npace = 100\n", world.receiver.url("/*"));
    world.write(&format!("{others}{}", guarded.config(&away)));
    let server = Server::start(&world.options);
    let api = server.api();
    assert_eq!(token_check(&api).await, "no endpoint lacks a token");
    hand_in(&api, &guarded.url("/calls/x"), 5).await;
    hand_in(&api, &world.receiver.url("/x"), 5).await;
    eventually("others go on", PATIENCE, async || world.receiver.count() == 5).await;
    let missing = async || api.metric("tidegate_endpoints_without_token", "").await;
    eventually("it is counted", PATIENCE, async || missing().await == 1.0).await;
    eventually("its lane is held", PATIENCE, async || {
        api.metric("tidegate_lanes_held", "policy=\"guarded\",reason=\"token\"").await == 1.0
    })
    .await;
    let told = token_check(&api).await;
    assert_eq!(told, "warning: crm: its calls wait for a token: the token server cannot be reached");
    let path = format!("/v1/explain?url={}", guarded.url("/calls/x"));
    let (_, explained) = api.json("GET", &path, &json!(null)).await;
    let held: &Value = &explained["held"];
    assert_eq!((&held["by"], &held["reason"]), (&json!("hold"), &json!("token")), "{explained}");
    let warned = server.log().iter().filter(|line| line.contains("no token for the calls")).count();
    assert_eq!(warned, 1, "once");
    assert!(api.metric("tidegate_token_requests_total", "result=\"unreachable\"").await >= 1.0);
    assert!(guarded.state(|state| state.taken.is_empty() && state.unauthorized == 0), "nothing was sent");

    // It comes up, and knows the tokens of the endpoint.
    let back = Guarded { state: guarded.state.clone(), addr: port };
    let listener = TcpListener::bind(port).await.expect("still free");
    let state = back.state.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, state.clone()));
        }
    });
    eventually("all are delivered", Duration::from_secs(90), async || {
        completed(&api, "delivered").await == 5.0
    })
    .await;
    assert!(guarded.state(|state| state.taken.iter().all(|attempt| attempt == "1")), "no attempt was spent");
    eventually("none is missing", PATIENCE, async || missing().await == 0.0).await;
    assert_eq!(token_check(&api).await, "no endpoint lacks a token");

    // The same secret: its token stays. Another one: it is asked for anew.
    let asked = || guarded.state(|state| state.asked.clone());
    let reloads = async || api.metric("tidegate_config_reloads_total", "result=\"applied\"").await;
    for (text, questions) in [("first", 1), ("second", 2)] {
        fs::write(&secret, text).expect("written");
        world.write(&format!("{others}{}connection_max_age_seconds = {questions}\n", guarded.config(&away)));
        let (before, taken) = (reloads().await, guarded.state(|state| state.taken.len()));
        server.signal("HUP");
        eventually("it is applied", PATIENCE, async || reloads().await > before).await;
        hand_in(&api, &guarded.url("/calls/x"), 1).await;
        eventually("it is called", PATIENCE, async || guarded.state(|state| state.taken.len()) > taken).await;
        assert_eq!(asked().len(), questions, "{text}");
        assert!(asked().last().is_some_and(|asked| asked.ends_with(&format!("client_secret={text}"))));
    }
    assert_eq!(server.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_token_is_found_anywhere() {
    const CANARIES: [&str; 4] = ["client-canary", "user-canary", "password-canary", "token-canary"];
    let guarded = Guarded::start(Duration::from_secs(600), true).await;
    let login = Guarded { state: guarded.state.clone(), addr: guarded.addr };
    let mut world = Configured::new(Receiver::start().await);
    let dir = tempfile::tempdir().expect("a directory");
    let client = secret(dir.path(), "client", "client-canary");
    let user = secret(dir.path(), "user", "user-canary");
    let password = secret(dir.path(), "password", "password-canary");
    let url = login.url("/calls/login/*");
    let by_login = format!(
        "[[endpoint]]\nname = \"lists\"\nurl = \"{url}\"\nlogin = {{ url = \"{}\", form = {{ auth_type = \"password\" }}, \
         secret_form = {{ user_name = {:?}, password = {:?} }}, token = \"authToken\" }}\n",
        login.url("/login"),
        user.display().to_string(),
        password.display().to_string(),
    );
    let config = |more: &str| format!("{}{by_login}{more}", guarded.config(&guarded.oauth2(&client)));
    world.write(&config(""));
    world.options.args.extend(["--log-level", "trace"].map(str::to_owned));
    let server = Server::start(&world.options);
    let api = server.api();
    for path in ["/calls/good", "/calls/bad", "/calls/login/good"] {
        hand_in(&api, &guarded.url(path), 1).await;
    }
    eventually("two are delivered, one is dead", PATIENCE, async || {
        completed(&api, "delivered").await == 2.0 && completed(&api, "dead").await == 1.0
    })
    .await;
    let asked = guarded.state(|state| state.asked.clone());
    let form = "auth_type=password&user_name=user-canary&password=password-canary";
    assert!(asked.iter().any(|asked| asked.ends_with(form)), "{asked:?}");

    // From here on the token server refuses, and repeats what it was told.
    guarded.state(|state| state.refuses = true);
    fs::write(&client, "client-canary-2").expect("written");
    server.signal("HUP");
    let reloads = async || api.metric("tidegate_config_reloads_total", "result=\"applied\"").await;
    eventually("it is applied", PATIENCE, async || reloads().await >= 2.0).await;
    hand_in(&api, &guarded.url("/calls/waits"), 1).await;
    eventually("it is told", PATIENCE, async || token_check(&api).await.contains("401, invalid_client"))
        .await;

    let mut texts = Vec::new();
    let explain = format!("/v1/explain?url={}", guarded.url("/calls/x"));
    for path in ["/metrics", "/v1/status", "/readyz?verbose", "/v1/events", "/v1/dead-letters", "/", &explain]
    {
        texts.push((path.to_owned(), api.get(path).await.1));
    }
    let (_, letters) = api.json("GET", "/v1/dead-letters", &json!(null)).await;
    let letter = letters["dead_letters"][0]["id"].as_str().unwrap_or_default().to_owned();
    assert!(!letter.is_empty(), "{letters}");
    texts.push(("the letter".to_owned(), api.get(&format!("/v1/dead-letters/{letter}?body")).await.1));
    for verb in ["print-config", "check-config"] {
        let told =
            Command::new(env!("CARGO_BIN_EXE_tidegate")).arg(verb).arg("--config").arg(&world.file).output();
        let told = told.expect("it runs");
        let text =
            format!("{}{}", String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
        texts.push((verb.to_owned(), text));
    }
    texts.push(("log".to_owned(), server.log().join("\n")));
    assert_eq!(server.stop().code(), Some(0));
    for file in files_below(world.file.parent().expect("a directory")) {
        let bytes = fs::read(&file).unwrap_or_default();
        texts.push((file.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
    }
    let found = |text: &str| CANARIES.iter().find(|canary| text.contains(**canary));
    for (place, text) in &texts {
        assert_eq!(found(text), None, "in {place}");
    }
    // The control: it would be found.
    assert!(found(&fs::read_to_string(&client).expect("a file")).is_some());
}
