//! The limits of Responsys accounts through the real binary: turned away in its words, by account, function and user.

mod client;

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{Api, Configured, Receiver, Server, eventually, server};

const PATIENCE: Duration = Duration::from_secs(20);
const LOGIN: &str = "/rest/api/v1.3/auth/token";
const BLOCKED: &str = "The login is currently not available to this user. Please contact tech support.";

/// `acme` may log in `logins` times a minute, its user `u` never.
fn config(logins: u32, more: &str) -> String {
    format!(
        "[labels]\naccount = \"acme\"\n[responsys]\naccounts = [{{ name = \"acme\", limits = {{ login = {logins} }}, \
         blocked = [{{ user = \"u\", apis = [\"login\"] }}] }}]\n{more}"
    )
}

async fn hand_in(api: &Api, url: &str, labels: Value) -> (u16, Value) {
    api.json("POST", "/v1/events", &json!({"url": url, "labels": labels, "body": {"n": 0}})).await
}

#[track_caller]
fn assert_refused((status, problem): &(u16, Value), code: &str, message: &str) {
    // A block is not cured by waiting.
    let expected = if code == "API_BLOCKED" { 403 } else { 429 };
    assert_eq!((*status, &problem["code"]), (expected, &json!(code)), "{problem}");
    assert_eq!(problem["detail"], json!(message), "{problem}");
}

fn exceeded(api: &str) -> String {
    format!("You exceeded your allowable limit to call the {api} API function. Please try again in a minute.")
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_have_limits_of_their_own_and_users_are_blocked() {
    let world = Configured::new(Receiver::start().await);
    world.write(&config(2, ""));
    let server = Server::start(&world.options);
    let (api, login) = (server.api(), world.receiver.url(LOGIN));
    let other = world.receiver.url("/elsewhere");
    for _ in 0..2 {
        assert_eq!(hand_in(&api, &login, json!({})).await.0, 202, "the default account, known by its path");
    }
    // As long as they have not started, nobody knows when there will be room again.
    eventually("both have started", PATIENCE, async || world.receiver.count() == 2).await;
    let refused = hand_in(&api, &login, json!({})).await;
    assert_refused(&refused, "API_LIMIT_EXCEEDED", &exceeded("login"));
    let seconds = refused.1["retry_after_seconds"].as_u64().expect("seconds");
    assert!((50..=60).contains(&seconds), "{}", refused.1);
    let refused = hand_in(&api, &other, json!({"api": "login"})).await;
    assert_refused(&refused, "API_LIMIT_EXCEEDED", &exceeded("login"));
    let refused = hand_in(&api, &login, json!({"user": "u"})).await;
    assert_refused(&refused, "API_BLOCKED", BLOCKED);
    assert!(refused.1.get("retry_after_seconds").is_none(), "there is no time to wait for: {}", refused.1);
    assert_eq!(hand_in(&api, &other, json!({"user": "u", "api": "createFolder"})).await.0, 202);

    let (status, unknown) = hand_in(&api, &login, json!({"account": "beta"})).await;
    assert_eq!((status, &unknown["code"]), (422, &json!("unmatched")), "{unknown}");
    let limits = json!({"limits": {"login": 1}});
    assert_eq!(api.json("PUT", "/v1/responsys/accounts/beta", &limits).await.0, 201);
    assert_eq!(hand_in(&api, &login, json!({"account": "beta", "user": "u"})).await.0, 202);
    let refused = hand_in(&api, &login, json!({"account": "beta"})).await;
    assert_refused(&refused, "API_LIMIT_EXCEEDED", &exceeded("login"));
    eventually("what was taken arrives", PATIENCE, async || world.receiver.count() == 4).await;

    let (status, listed) = api.get("/rest/api/ratelimit").await;
    assert!(status == 200 && listed.starts_with(r#"[{"limit":"2","api":"login","#), "{listed:.80}");
    assert_eq!(server.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_read_again_changes_accounts_and_what_they_have_used_stays_used() {
    let world = Configured::new(Receiver::start().await);
    world.write(&config(2, ""));
    let server = Server::start(&world.options);
    let (api, login) = (server.api(), world.receiver.url(LOGIN));
    let accepted = async || hand_in(&api, &login, json!({})).await.0 == 202;
    assert!(accepted().await && accepted().await && !accepted().await);
    let reloaded = async |result: &str, times: f64| {
        server.signal("HUP");
        let label = format!("result=\"{result}\"");
        eventually("it is read again", PATIENCE, async || {
            api.metric("tidegate_config_reloads_total", &label).await >= times
        })
        .await;
    };
    world.write(&config(3, ""));
    reloaded("applied", 2.0).await;
    assert!(accepted().await && !accepted().await, "one more, not three");
    assert!(!server.log().iter().any(|line| line.contains("with a restart")), "{:#?}", server.log());

    world.write("[labels]\naccount = \"acme\"\n[responsys]\naccounts = [{ name = \"acme\", limits = { nothing = 1 } }]\n");
    reloaded("refused", 1.0).await;
    let told = "account \\\"acme\\\": /limits/nothing is no function";
    assert!(server.log().iter().any(|line| line.contains(told)), "{:#?}", server.log());
    assert!(!accepted().await);
    assert_eq!(server.stop().code(), Some(0));

    let output = server::command(&world.options).output().expect("the program");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(64) && said.contains("/limits/nothing is no function"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_told_as_responsys_would_when_that_is_wanted() {
    let world = Configured::new(Receiver::start().await);
    world.write(&config(1, "[manage]\nrefusals = \"dialect\"\nrequire_headers = true\n"));
    let server = Server::start(&world.options);
    let (api, login) = (server.api(), world.receiver.url(LOGIN));
    assert_eq!(hand_in(&api, &login, json!({})).await.0, 202);
    let body = |title: &str, code: &str, detail: &str| json!({"type": "", "title": title, "errorCode": code, "detail": detail, "errorDetails": []});
    let limit = body("Request limit exceeded.", "API_LIMIT_EXCEEDED", &exceeded("login"));
    assert_eq!(hand_in(&api, &login, json!({})).await, (429, limit));
    let blocked = body("Request blocked.", "API_BLOCKED", BLOCKED);
    assert_eq!(hand_in(&api, &login, json!({"user": "u"})).await, (400, blocked));
    let (status, answer) = api.json("GET", "/rest/api/ratelimit", &Value::Null).await;
    assert_eq!((status, &answer["errorCode"]), (500, &json!("UNEXPECTED_EXCEPTION")), "{answer}");
    assert_eq!(server.stop().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_elsewhere_is_turned_away_when_its_turn_comes() {
    let world = Configured::new(Receiver::start().await);
    world.write(&config(1, &world.policy("rest", "pace = 100")));
    let server = Server::start(&world.options);
    let (api, url) = (server.api(), world.receiver.url("/rest/api/v1.3/auth/token"));
    let mut ids = Vec::new();
    for labels in [json!({}), json!({}), json!({"user": "u"})] {
        let (status, receipt) = hand_in(&api, &url, labels).await;
        assert_eq!(status, 202, "{receipt}");
        ids.push(receipt["id"].as_str().expect("an id").to_owned());
    }
    for (id, outcome) in ids.iter().zip(["delivered", "dead", "dead"]) {
        let mut told = Value::Null;
        eventually("it has its end", PATIENCE, async || {
            told = serde_json::from_str(&api.get(&format!("/v1/events/{id}")).await.1).expect("JSON");
            told["outcome"].is_string()
        })
        .await;
        assert_eq!(told["outcome"], json!(outcome), "{told}");
    }
    assert_eq!(world.receiver.count(), 1);
    assert_eq!(server.stop().code(), Some(0));
}

/// The published main example without a label of tidegate, in five spellings: each uses one of the calls that the account
/// has, and so nothing is left for the sixth.
#[tokio::test(flavor = "multi_thread")]
async fn five_spellings_of_a_call_without_labels_meet_its_limit() {
    let world = Configured::new(Receiver::start().await);
    world.write(
        "[responsys]\naccount_in = \"header x-account\"\naccounts = [{ name = \"acme\", \
         limits = { mergeListRecipients = 5 } }, { name = \"other\" }]\n",
    );
    let server = Server::start(&world.options);
    let api = server.api();
    let merge = json!({"recordData": {"fieldNames": ["EMAIL_ADDRESS_"], "records": [["a@example.org"]]}, "mergeRule": {}});
    let hand_in = async |path: &str, body: &Value| {
        let event = json!({
            "url": world.receiver.url(path), "headers": {"x-account": "acme"}, "body": body,
        });
        api.json("POST", "/v1/events", &event).await
    };
    let plain = "/rest/api/v1.3/lists/L/members";
    for path in [
        plain,
        "/rest/api/v1.1/lists/L/members/",
        "//rest/api/v1.3//lists/L/members?fs=all&x=1",
        "/gateway/rest/asyncApi/v1.3/lists/L/members",
        "/%72est/api/v1.3/lists/a%20b;v=1/%6Dembers",
    ] {
        let (status, receipt) = hand_in(path, &merge).await;
        assert_eq!(
            (status, &receipt["policies"]),
            (202, &json!(["responsys.mergeListRecipients"])),
            "{path} {receipt}"
        );
    }
    assert_refused(&hand_in(plain, &merge).await, "API_LIMIT_EXCEEDED", &exceeded("mergeListRecipients"));
    let (status, receipt) = hand_in("/rest/api/v1.3/lists/L/members?action=delete", &merge).await;
    assert_eq!(
        (status, &receipt["policies"]),
        (202, &json!(["responsys.deleteMultipleListRecipients"])),
        "{receipt}"
    );
    // What the call does not say counts for the tightest limit.
    let open = hand_in(plain, &json!("no object")).await;
    assert_refused(&open, "API_LIMIT_EXCEEDED", &exceeded("mergeListRecipients"));
    let event = json!({"url": world.receiver.url(plain), "body": merge});
    let (status, refused) = api.json("POST", "/v1/events", &event).await;
    assert_eq!((status, &refused["code"]), (422, &json!("unmatched")), "the control: of no account");
    assert_eq!(server.stop().code(), Some(0));
}
