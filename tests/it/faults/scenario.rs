//! The fixed scenario: start, a policy is deployed and paused, twenty events in three lanes, some of them delivered,
//! a new segment, an orderly stop, a start; then a start without faults, which must show everything that was
//! answered.
//!
//! Must not know: which call fails.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::block_in_place;

use super::shim::{Counters, Fault};
use crate::world::{Api, Receiver, Server, ServerOptions, figure};

/// Longer than any answer may take.
const ANSWER: Duration = Duration::from_secs(10);
const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(30);
/// How long one that answers no more may take to end.
const ENDS: Duration = Duration::from_secs(5);
/// How often, and how many times, it is looked whether events have arrived.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const LOOKS: usize = 200;
const EVENTS: u64 = 20;
/// Twenty of them do not fit into the smallest segment.
const BODY_BYTES: usize = 60_000;
/// So many of the last lines of the log are shown with a finding.
const LOG_LINES: usize = 6;
/// The store failed, or cannot be had.
const STORE_FAILED: i32 = 74;

/// What was answered, and what went wrong.
pub(super) struct Run {
    client: Api,
    receiver: Receiver,
    dir: tempfile::TempDir,
    options: ServerOptions,
    pub(super) counters: Counters,
    /// The ids that were answered with 202, and their numbers.
    accepted: BTreeMap<u64, String>,
    is_deployed: bool,
    is_paused: bool,
    pub(super) wrong: Vec<String>,
}

impl Run {
    /// Plays the scenario with this fault; `tamper` gets the data directory before the last start.
    pub(super) async fn play(client: &Api, fault: Option<Fault>, tamper: impl FnOnce(&Path)) -> Self {
        let mut run = Self::new(client.clone(), fault).await;
        if let Some(server) = run.start("first") {
            run.ask(&run.client.at(server.addr)).await;
            let server = run.look_alive(server).await;
            run.stop("first", server).await;
        }
        if let Some(server) = run.start("second") {
            let server = run.look_alive(server).await;
            run.stop("second", server).await;
        }
        run.options.wrapper.clear();
        tamper(&run.options.data_dir);
        match run.start("last") {
            Some(server) => {
                run.judge(&run.client.at(server.addr)).await;
                run.stop("last", server).await;
            }
            None => run.wrong.push("does not start although nothing fails any more".to_owned()),
        }
        run
    }

    async fn new(client: Api, fault: Option<Fault>) -> Self {
        let receiver = Receiver::start().await;
        let dir = super::place();
        let data = dir.path().join("data");
        let counters = Counters::new(dir.path());
        let config = dir.path().join("tidegate.toml");
        std::fs::write(&config, settings(&receiver)).expect("written");
        let mut options = ServerOptions::new(&data);
        options.args = vec!["--config".to_owned(), config.display().to_string()];
        options.wrapper = counters.wrapper(&data, fault);
        let (accepted, wrong) = (BTreeMap::new(), Vec::new());
        Self {
            client,
            receiver,
            dir,
            options,
            counters,
            accepted,
            is_deployed: false,
            is_paused: false,
            wrong,
        }
    }

    /// The running program, or a finding unless it said why it does not start and left with the right code.
    fn start(&mut self, which: &str) -> Option<Server> {
        // A worker that waits here would keep back the scenarios and connections of others that it is to drive.
        match block_in_place(|| Server::start_within(&self.options, START)) {
            Ok(server) => Some(server),
            Err((status, log)) => {
                let code = status.as_ref().and_then(ExitStatus::code);
                if code != Some(STORE_FAILED) || !log.iter().any(|line| line.contains("tidegate: ")) {
                    let last = log.last().cloned().unwrap_or_default();
                    let how = status.map_or(format!("HANG after {START:?}"), |status| status.to_string());
                    self.wrong.push(format!("the {which} start ended with {how}: {last}"));
                }
                None
            }
        }
    }

    /// Deploys, pauses, hands in. What fails is not answered; nothing may hang.
    async fn ask(&mut self, api: &Api) {
        let pattern = self.receiver.url("/b/*");
        let config = json!({"name": "b", "urlPattern": pattern, "methods": ["POST"], "maxThroughput": 500});
        let created =
            self.within("create", api.try_json("POST", "/authoring/throttlingConfigs", &config)).await;
        if let Some((200, created)) = created {
            let uid = created["uid"].as_str().unwrap_or_default().to_owned();
            let path = format!("/authoring/throttlingConfigs/{uid}/deploy");
            let deployed = self.within("deploy", api.try_json("POST", &path, &json!({}))).await;
            self.is_deployed = matches!(deployed, Some((204, _)));
        }
        if self.is_deployed
            && let Some(id) = self.policy_b(api).await
        {
            let path = format!("/v1/policies/{id}:pause");
            let paused = self.within("pause", api.try_json("POST", &path, &json!({"reason": "test"}))).await;
            self.is_paused = matches!(paused, Some((200..=299, _)));
        }
        for number in 0..EVENTS {
            let event = self.event(number);
            let answer = self.within("enqueue", api.try_json("POST", "/v1/events", &event)).await;
            if let Some((202, receipt)) = answer {
                let id = receipt["id"].as_str().expect("an id").to_owned();
                self.accepted.insert(number, id);
            }
        }
    }

    async fn policy_b(&mut self, api: &Api) -> Option<String> {
        let (_, list) = self.within("policies", api.try_json("GET", "/v1/policies", &Value::Null)).await?;
        let of_b = |policy: &&Value| policy["pattern"].as_str().is_some_and(|text| text.contains("/b/"));
        let found = list["policies"].as_array()?.iter().find(of_b)?;
        Some(found["id"].as_str()?.to_owned())
    }

    /// Even ones are sent at once, every fourth waits behind a pause, the others for a due time.
    fn event(&self, number: u64) -> Value {
        let mut rng = fastrand::Rng::with_seed(number);
        let noise: String = std::iter::repeat_with(|| rng.alphanumeric()).take(BODY_BYTES).collect();
        let body = json!({"n": number, "noise": noise});
        match number % 4 {
            0 | 2 => json!({"url": self.receiver.url("/a/x"), "body": body}),
            1 if self.is_deployed => json!({"url": self.receiver.url("/b/x"), "body": body}),
            _ => json!({"url": self.receiver.url("/c/x"), "body": body, "delay_seconds": 3600}),
        }
    }

    /// The answer, if there was one; a call that neither answers nor breaks is a finding.
    async fn within<T>(&mut self, what: &str, call: impl Future<Output = reqwest::Result<T>>) -> Option<T> {
        match tokio::time::timeout(ANSWER, call).await {
            Ok(answer) => answer.ok(),
            Err(_) => {
                self.wrong.push(format!("HANG: {what} is not answered within {ANSWER:?}"));
                None
            }
        }
    }

    /// It serves, it says that it does not and why, or it is ending: never alive and silent.
    async fn look_alive(&mut self, mut server: Server) -> Server {
        let api = self.client.at(server.addr);
        let due: Vec<u64> = self.accepted.keys().copied().filter(|number| number % 2 == 0).collect();
        let is_sent = |run: &Self| {
            let seen = run.receiver.times_seen();
            due.iter().all(|number| seen.contains_key(number))
        };
        for _ in 0..LOOKS {
            let ready = self.within("readyz", api.try_json("GET", "/readyz?verbose", &Value::Null)).await;
            match ready {
                None if block_in_place(|| server.ended_within(ENDS)).is_some() => return server,
                None => {
                    self.wrong.push("alive and does not answer".to_owned());
                    return server;
                }
                Some((200, _)) if is_sent(self) => return server,
                Some((200, _)) => {}
                Some((503, detail)) if detail.to_string().len() > 20 => return server,
                Some((status, detail)) => {
                    self.wrong.push(format!("readyz answers {status} {detail}"));
                    return server;
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let doubts = self.within("doubts", api.try_json("GET", "/v1/doubts", &Value::Null)).await;
        if doubts.is_none_or(|(_, doubts)| doubts["doubts"].as_array().is_none_or(Vec::is_empty)) {
            self.wrong.push("ready, nothing in doubt, and events are not sent".to_owned());
        }
        server
    }

    async fn stop(&mut self, which: &str, mut server: Server) {
        if server.ended_within(Duration::ZERO).is_none() {
            server.signal("TERM");
        }
        let (waited, log) = block_in_place(|| (server.ended_within(STOP), server.log()));
        // Nothing fails any more when the last one runs.
        let is_last = self.options.wrapper.is_empty();
        match waited.map(|status| status.code()) {
            Some(Some(0)) => {}
            Some(Some(STORE_FAILED)) if !is_last => {}
            Some(code) => self.wrong.push(format!("the {which} process ended with {code:?}")),
            None => self.wrong.push(format!("HANG: the {which} process does not stop within {STOP:?}")),
        }
        if !self.wrong.is_empty() {
            let tail = log.len().saturating_sub(LOG_LINES);
            self.wrong.push(format!("the {which} process said {:?}", &log[tail..]));
        }
    }

    /// Everything that was answered is there.
    async fn judge(&mut self, api: &Api) {
        if self.is_deployed {
            let id = self.policy_b(api).await;
            if id.is_none() {
                self.wrong.push("the deployed policy is gone".to_owned());
            }
            let seen = self.receiver.times_seen();
            if self.is_paused && seen.keys().any(|number| number % 4 == 1) {
                self.wrong.push("what was paused is sent".to_owned());
            }
            // A pause that was answered with an error may have been kept all the same.
            if let Some(id) = id {
                let path = format!("/v1/policies/{id}:resume");
                let resumed = self.within("resume", api.try_json("POST", &path, &json!({}))).await;
                if !matches!(resumed, Some((200..=299, _))) {
                    self.wrong.push(format!("resume is answered {resumed:?}"));
                }
            }
        }
        let mut lost = self.unaccounted(api).await;
        for _ in 0..LOOKS {
            if lost.is_empty() {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
            lost = self.unaccounted(api).await;
        }
        if !lost.is_empty() {
            self.wrong.push(format!("acknowledged and not accounted for: {}", lost.join(", ")));
        }
        // Nothing is damaged: whatever is reported as lost is a wrong report.
        match self.within("metrics", api.try_json("GET", "/metrics", &Value::Null)).await {
            Some((200, Value::String(metrics))) => {
                let lost = figure(&metrics, "tidegate_store_lost_events", "");
                if lost > 0.0 {
                    self.wrong.push(format!("{lost} events are reported lost and none is"));
                }
            }
            other => self.wrong.push(format!("the metrics are answered {other:?}")),
        }
    }

    /// What was acknowledged and neither arrived nor waits for its due time.
    async fn unaccounted(&mut self, api: &Api) -> Vec<String> {
        let seen = self.receiver.times_seen();
        let mut lost = Vec::new();
        for (number, id) in self.accepted.clone() {
            if seen.contains_key(&number) {
                continue;
            }
            let path = format!("/v1/events/{id}");
            let answer = self.within("lookup", api.try_json("GET", &path, &Value::Null)).await;
            let is_delayed = matches!(&answer, Some((200, state)) if state["due_at"].is_string());
            if number % 2 == 0 || !is_delayed {
                lost.push(format!("event {number}: {answer:?}"));
            }
        }
        lost
    }

    /// Keeps the directory for a look at it.
    pub(super) fn keep(self) -> std::path::PathBuf {
        self.dir.keep()
    }

    pub(super) fn data(&self) -> &Path {
        &self.options.data_dir
    }

    pub(super) fn accepted(&self) -> usize {
        self.accepted.len()
    }
}

fn settings(receiver: &Receiver) -> String {
    let policy = |name: &str| {
        format!(
            "[[policy]]\nname = \"{name}\"\nurl = \"{}\"\npace = 1000\n",
            receiver.url(&format!("/{name}/*"))
        )
    };
    format!(
        "[store]\nsegment_bytes = 1048576\nmin_free_bytes = 1048576\n[dispatch]\nshutdown_grace_seconds = 5\n{}{}",
        policy("a"),
        policy("c")
    )
}
