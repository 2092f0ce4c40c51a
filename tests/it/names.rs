//! Names through the real program: its `resolv.conf` and `hosts` are files of the test, in a mount namespace of its own.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::world::name_server::{NameServer, Say};
use crate::world::{Api, Configured, Receiver, Server, eventually};

const SOON: Duration = Duration::from_secs(20);

/// Two files that stand in the place of the machine's.
struct Files(tempfile::TempDir);

impl Files {
    fn new(name_server: &NameServer) -> Self {
        let files = Self(tempfile::tempdir().expect("a directory"));
        // A question is not given up before a test ends.
        let text = format!("nameserver {}\noptions timeout:30\n", name_server.addr.ip());
        std::fs::write(files.path("resolv.conf"), text).expect("written");
        files.write_hosts("");
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// In place: the mount shows this very file.
    fn write_hosts(&self, text: &str) {
        std::fs::write(self.path("hosts"), text).expect("written");
    }

    fn wrapper(&self) -> Vec<String> {
        let bind = |name: &str| format!("mount --bind {} /etc/{name}", self.path(name).display());
        let script = format!("{} && {} && exec \"$@\"", bind("resolv.conf"), bind("hosts"));
        ["unshare", "-m", "sh", "-c", &script, "sh"].map(str::to_owned).to_vec()
    }
}

async fn started(files: &Files, settings: impl FnOnce(u16) -> String) -> (Configured, Server) {
    let mut world = Configured::new(Receiver::start().await);
    let port = world.receiver.url("").rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    world.write(&settings(port));
    world.options.wrapper = files.wrapper();
    let server = Server::start(&world.options);
    (world, server)
}

fn policy(name: &str, url: &str) -> String {
    format!("[[policy]]\nname = \"{name}\"\nurl = \"{url}\"\npace = 2000\n")
}

async fn hand_in(api: &Api, urls: impl Iterator<Item = String>) -> usize {
    let body: String = urls.map(|url| format!("{}\n", json!({"url": url, "body": {"n": 0}}))).collect();
    let (status, text) = api.post("/v1/events", "application/x-ndjson", body).await.expect("an answer");
    assert_eq!(status, 200, "{text}");
    text.matches("\"status\":202").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_hundred_names_that_nobody_answers_for_delay_neither_other_names_nor_the_doors() {
    let name_server = NameServer::start("127.53.0.1:53").await;
    name_server.addresses("good.example", &["127.0.0.1"], 1);
    for number in 0..600 {
        name_server.tell(&format!("n{number}.hang.example"), Say::Nothing);
    }
    let files = Files::new(&name_server);
    // Whatever hangs does so until the end of the test: the order is judged, not the speed.
    let (world, server) = started(&files, |port| {
        let slow =
            "[names]\ntimeout_ms = 60000\n[delivery]\nconnect_timeout_ms = 60000\nhead_timeout_ms = 60000\n";
        let good = policy("good", &format!("http://good.example:{port}/*"));
        format!("[queue]\nunmatched = \"pass\"\n{slow}{good}")
    })
    .await;
    let (api, receiver) = (server.api(), &world.receiver);
    let good = receiver.url("/x").replace("127.0.0.1", "good.example");
    assert_eq!(hand_in(&api, std::iter::once(good.clone())).await, 1);
    eventually("the name resolves", SOON, async || receiver.count() == 1).await;

    assert_eq!(hand_in(&api, (0..600).map(|n| format!("http://n{n}.hang.example/x"))).await, 600);
    let hang = async || api.metric("tidegate_calls_inflight", "policy=\"-\"").await;
    eventually("all hang", SOON, async || hang().await == 600.0).await;
    // Past its TTL: it has to be asked for beside all those.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(hand_in(&api, std::iter::repeat_n(good.clone(), 50)).await, 50);
    eventually("the good ones arrive", SOON, async || receiver.count() == 51).await;
    // Idle connections live for four seconds.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(hand_in(&api, std::iter::repeat_n(good, 50)).await, 50);
    eventually("over new connections too", SOON, async || receiver.count() == 101).await;
    assert!(name_server.times("good.example")[0] >= 2, "{:?}", name_server.times("good.example"));

    api.deploy_throttling("http://other.example/*", 200).await;
    let (status, ready) = api.get("/readyz?verbose").await;
    assert_eq!(status, 200, "{ready}");
    assert!(ready.contains("names are being resolved"), "{ready}");
    assert_eq!(hang().await, 600.0, "all that still hangs: nothing above waited for an end of it");
    assert_eq!(api.metric("tidegate_name_questions_total", "result=\"timeout\"").await, 0.0);
    let asked: std::collections::HashSet<_> =
        name_server.asked().into_iter().map(|asked| asked.0).filter(|name| name.contains("hang")).collect();
    assert_eq!(asked.len(), 48, "three quarters of 64 places");
    server.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_looked_up_in_the_systems_files_which_may_change() {
    let name_server = NameServer::start("127.53.0.2:53").await;
    name_server.addresses("asked.example", &["127.0.0.1"], 60);
    let files = Files::new(&name_server);
    files.write_hosts("127.0.0.1 listed.example\n");
    let (world, server) = started(&files, |_| {
        "[queue]\nunmatched = \"pass\"\n[retry]\nmin_delay_ms = 500\nmax_delay_ms = 500\nmax_attempts = 2\n"
            .to_owned()
    })
    .await;
    let (api, receiver) = (server.api(), &world.receiver);
    let url = |host: &str| receiver.url("/x").replace("127.0.0.1", host);
    let hosts = ["listed.example", "asked.example"];
    assert_eq!(hand_in(&api, hosts.iter().map(|host| url(host))).await, 2);
    eventually("both arrive", SOON, async || receiver.count() == 2).await;
    assert_eq!(name_server.times("listed.example"), [0, 0]);
    // Two hundred calls, one question for each kind of address.
    assert_eq!(hand_in(&api, std::iter::repeat_n(url("asked.example"), 200)).await, 200);
    eventually("all arrive", SOON, async || receiver.count() == 202).await;
    assert_eq!(name_server.times("asked.example"), [1, 1]);

    assert_eq!(hand_in(&api, std::iter::once(url("later.example"))).await, 1);
    // More often than it may be attempted: nothing was sent.
    eventually("it is tried", SOON, async || {
        api.metric("tidegate_retries_scheduled_total", "cause=\"dns\"").await >= 4.0
    })
    .await;
    assert_eq!(api.metric("tidegate_events_completed_total", "outcome=\"dead\"").await, 0.0);
    let (_, ready) = api.get("/readyz?verbose").await;
    assert!(ready.contains("the name later.example does not resolve: there is no such name"), "{ready}");

    files.write_hosts("127.0.0.1 listed.example later.example\n");
    eventually("it arrives", SOON, async || receiver.count() == 203).await;
    assert!(api.metric("tidegate_name_lookups_total", "from=\"hosts\"").await >= 2.0);
    assert_eq!(server.stop().code(), Some(0));
}
