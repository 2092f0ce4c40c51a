//! A run in which everything happens that the dashboard shows: each end of an event, each reason to hold or refuse one, a
//! crash, reloads, drains, pauses.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::receiver::Arrival;
use crate::world::{Api, Configured, Receiver, Reply, Server, eventually};

/// How long it goes on; the first drain ends meanwhile, the second does not.
pub(super) const SECONDS: u64 = 45;
const DRAIN_SECONDS: u64 = 30;

const SETTINGS: &str = r#"
[retry]
min_delay_ms = 50
max_delay_ms = 400
max_attempts = 3

[breaker]
failures = 10
min_hold_ms = 20000

[names]
timeout_ms = 500
"#;

/// Every policy by name, with its limits and how many events it is given each second.
const POLICIES: &[(&str, &str, u64)] = &[
    ("steady", "pace = 20", 20),
    ("flaky", "pace = 20", 4),
    ("gone", "pace = 20", 2),
    ("late", "pace = 0.2", 1),
    ("quota", "quota = { calls = 20, per = \"day\" }", 2),
    ("window", "window = { calls = 3, per_ms = 1000 }", 4),
    ("capped", "window = { calls = 2, per_ms = 5000 }\nfamily = \"refuse\"", 2),
    ("slots", "slots = 2", 4),
    ("paused", "pace = 5", 2),
    ("after", "pace = 5", 1),
    ("busy", "pace = 5", 1),
    ("keyed", "pace = 2\nscope = [\"org\"]", 4),
    ("drains", "pace = 0.01", 0),
    ("drained", "pace = 0.01", 0),
];

/// The program with its world.
pub(super) struct Load {
    world: Configured,
    pub(super) server: Server,
    /// Where nobody listens.
    dead: String,
}

fn answer(arrival: &Arrival) -> Reply {
    let after = Reply { status: 429, retry_after_s: Some(20), ..Reply::default() };
    match arrival.path.split('/').nth(1) {
        Some("flaky") if arrival.attempt == 1 => (503, Duration::ZERO).into(),
        Some("gone") => (404, Duration::ZERO).into(),
        Some("slots") => (204, Duration::from_millis(700)).into(),
        Some("after") => after,
        Some("busy") => {
            let code = &[("X-Mashery-Error-Code", "ERR_403_DEVELOPER_OVER_QPS")];
            Reply { status: 403, retry_after_s: Some(20), headers: code, ..Reply::default() }
        }
        _ => (204, Duration::from_millis(20)).into(),
    }
}

impl Load {
    /// Starts it, lets it crash with calls under way, and starts it again.
    pub(super) async fn start() -> Self {
        let world = Configured::new(Receiver::answering(answer).await);
        let port = TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a free port");
        let dead = format!("http://{port}");
        write(&world, &dead, &[]);
        let server = Server::start(&world.options);
        let api = server.api();
        for _ in 0..6 {
            assert_eq!(world.event(&api, "slots").await.0, 202);
        }
        eventually("calls are under way", Duration::from_secs(10), async || world.receiver.count() >= 2)
            .await;
        server.kill();
        let server = Server::start(&world.options);
        Self { world, server, dead }
    }

    /// Everything that happens once, and events second by second.
    pub(super) async fn run(&self) {
        let api = self.server.api();
        self.prepare(&api).await;
        let mut second = tokio::time::interval(Duration::from_secs(1));
        for n in 0..SECONDS {
            second.tick().await;
            self.events(&api, n).await;
            match n {
                3 => self.reload(&["drained"]),
                5 => assert_eq!(verb(&api, "paused", "purge", &json!({"confirm": "paused"})).await, 200),
                12 => self.world.write("[limits]\nno = 1\n"),
                13 => self.server.signal("HUP"),
                35 => self.reload(&["drained", "drains"]),
                _ => {}
            }
        }
    }

    async fn prepare(&self, api: &Api) {
        assert_eq!(verb(api, "paused", "pause", &json!({"reason": "a test"})).await, 200);
        for name in ["drains", "drained"] {
            for _ in 0..4 {
                assert_eq!(self.world.event(api, name).await.0, 202);
            }
        }
        let idle = json!({"name": "idle", "urlPattern": "https://idle.test/*", "methods": ["POST"], "maxThroughput": 200});
        assert_eq!(api.json("POST", "/authoring/throttlingConfigs", &idle).await.0, 200);
        assert_eq!(api.get("/v1/policies").await.0, 200);
        assert_eq!(api.get("/no/such/path").await.0, 404);
    }

    async fn events(&self, api: &Api, second: u64) {
        let mut lines = Vec::new();
        for (name, _, each) in POLICIES {
            for n in 0..*each {
                let url = self.world.receiver.url(&format!("/{name}/x"));
                let mut event = json!({"url": url, "body": {"n": n}, "labels": {"org": format!("o{n}")}});
                if *name == "late" {
                    event["ttl_seconds"] = json!(3);
                }
                // Two thirds of their life are over when the run ends; the purge is before.
                if *name == "paused" && second == 6 {
                    event["ttl_seconds"] = json!(60);
                }
                lines.push(event);
            }
        }
        let hosts = self.world.receiver.url("/hosts/x").replace("127.0.0.1", "localhost");
        for url in [format!("{}/x", self.dead), hosts, "http://nowhere.invalid/x".to_owned()] {
            lines.push(json!({"url": url, "body": {"n": 0}}));
        }
        let both = self.world.receiver.url("/both/x");
        lines.push(json!({"url": both, "body": {"n": 0}, "labels": {"org": "both"}}));
        lines.push(json!({"url": both, "body": {"n": 0}, "delay_seconds": 600}));
        lines.push(json!({"url": "https://unmatched.test/", "body": {"n": second}}));
        lines.push(json!({"url": both, "colour": 1}));
        let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let (status, answers) =
            api.post("/v1/events", "application/x-ndjson", body).await.expect("an answer");
        assert_eq!(status, 200, "{answers}");
        let refused = answers.lines().filter(|line| !line.contains("\"status\":202"));
        let unexpected: Vec<_> = refused
            .filter(|line| {
                !["unmatched", "invalid_event", "over_window"].iter().any(|code| line.contains(code))
            })
            .collect();
        assert!(unexpected.is_empty(), "{unexpected:?}");
    }

    fn reload(&self, without: &[&str]) {
        write(&self.world, &self.dead, without);
        self.server.signal("HUP");
    }
}

async fn verb(api: &Api, policy: &str, verb: &str, request: &Value) -> u16 {
    api.json("POST", &format!("/v1/policies/{policy}:{verb}"), request).await.0
}

/// The configuration but for some policies.
fn write(world: &Configured, dead: &str, without: &[&str]) {
    let mut text = format!("{SETTINGS}\n[queue]\ndrain_seconds = {DRAIN_SECONDS}\n");
    for (name, limits, _) in POLICIES.iter().filter(|(name, ..)| !without.contains(name)) {
        text += &world.policy(name, limits);
    }
    // Two policies govern the same events; the quota of one holds them back.
    text += &world.policy("both", "pace = 50");
    text += &world
        .policy("both", "quota = { calls = 2, per = \"day\" }")
        .replace("name = \"both\"", "name = \"also\"");
    let hosts = world.receiver.url("/hosts/*").replace("127.0.0.1", "localhost");
    for (name, url) in
        [("down", &*format!("{dead}/*")), ("hosts", &*hosts), ("unnamed", "http://nowhere.invalid/*")]
    {
        text += &format!("[[policy]]\nname = \"{name}\"\nurl = \"{url}\"\npace = 10\n");
    }
    world.write(&text);
}
