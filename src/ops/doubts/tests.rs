//! Tests of the desk of the doubts over a registry in memory and decisions that are noted.

use std::sync::Mutex;

use axum::body::Body;
use futures_util::FutureExt;
use http::Request;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::clock::Timestamp;
use crate::store::doubts::NewDoubt;

/// Notes what it is asked for; fails when it is told to.
#[derive(Default)]
struct Noted {
    asked: Mutex<Vec<(&'static str, u64)>>,
    fails: bool,
    doubts: Doubts,
}

impl Noted {
    fn note(&self, what: &'static str, doubt: &Doubt) -> Result<(), DecisionError> {
        self.asked.lock().expect("no panic").push((what, doubt.id));
        if self.fails { Err(DecisionError::Other("the disk is gone".to_owned())) } else { Ok(()) }
    }
}

impl Decisions for Noted {
    fn retry<'a>(&'a self, doubt: &'a Doubt) -> BoxFuture<'a, Result<(), DecisionError>> {
        async move { self.note("retry", doubt) }.boxed()
    }

    fn give_up<'a>(&'a self, doubt: &'a Doubt) -> BoxFuture<'a, Result<u64, DecisionError>> {
        async move {
            self.note("give_up", doubt)?;
            self.doubts.remove(doubt.id);
            Ok(doubt.events)
        }
        .boxed()
    }

    fn confirm<'a>(&'a self, doubt: &'a Doubt) -> BoxFuture<'a, Result<(), DecisionError>> {
        async move {
            self.note("confirm", doubt)?;
            self.doubts.remove(doubt.id);
            Ok(())
        }
        .boxed()
    }
}

struct Stage {
    router: Router,
    doubts: Doubts,
    decisions: Arc<Noted>,
}

fn stage_that(fails: bool) -> Stage {
    let doubts = Doubts::default();
    let decisions = Arc::new(Noted { fails, doubts: doubts.clone(), ..Noted::default() });
    let router = doubt_routes(DoubtDesk { doubts: doubts.clone(), decisions: decisions.clone() });
    Stage { router, doubts, decisions }
}

fn stage() -> Stage {
    stage_that(false)
}

struct Answer {
    status: u16,
    link: Option<String>,
    allow: Option<String>,
    body: Value,
}

impl Stage {
    fn raise(&self, kind: DoubtKind, subject: &str, events: u64) -> u64 {
        let (detail, way_out) = ("found".to_owned(), "do something".to_owned());
        let doubt = NewDoubt { kind, subject: subject.to_owned(), detail, way_out, events };
        self.doubts.raise(doubt, Timestamp::from_millis(1_700_000_000_000))
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let (head, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.expect("in memory");
        let text = |name| head.headers.get(name).map(|value| value.to_str().expect("text").to_owned());
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Answer { status: head.status.as_u16(), link: text("link"), allow: text("allow"), body }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).expect("a request")).await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = Request::post(path).header("content-type", "application/json");
        self.send(request.body(body.to_string().into()).expect("a request")).await
    }

    /// The code of a refusal, having checked that nothing was decided.
    async fn refused(&self, path: &str, body: &Value) -> (u16, String) {
        let answer = self.post(path, body).await;
        assert!(self.decisions.asked.lock().expect("no panic").is_empty());
        (answer.status, answer.body["code"].as_str().expect("a code").to_owned())
    }
}

#[tokio::test]
async fn doubts_are_listed_page_by_page_with_all_that_is_known() {
    let stage = stage();
    let first = stage.raise(DoubtKind::Lost, "a", 3);
    let second = stage.raise(DoubtKind::Uncertain, "b", 4);
    let third = stage.raise(DoubtKind::Clock, "wall", 0);
    let page = stage.get("/v1/doubts?limit=2").await;
    assert_eq!(page.status, 200);
    assert_eq!(page.body["doubts"][0]["id"], first);
    assert_eq!(page.body["doubts"][1]["at_most"], true);
    let next = page.link.expect("a link");
    let next = next.trim_start_matches('<').trim_end_matches(">; rel=\"next\"");
    let rest = stage.get(next).await;
    assert_eq!(rest.body["doubts"].as_array().map(Vec::len), Some(1));
    assert_eq!((rest.body["doubts"][0]["id"].clone(), rest.link), (json!(third), None));
    let mut shown = stage.get(&format!("/v1/doubts/{second}")).await.body;
    let since = shown["since"].take();
    assert!(since.as_str().is_some_and(|since| since.starts_with("2023-11-14T22:13:20")), "{since}");
    let expected = json!({
        "id": second, "kind": "uncertain", "subject": "b", "detail": "found", "way_out": "do something",
        "events": 4, "at_most": true, "since": null, "holds": "nothing", "acknowledged": false,
        "verbs": ["acknowledge"],
    });
    assert_eq!(shown, expected);
    for wrong in ["limit=0", "cursor=x", "acknowledged=yes", "colour=1"] {
        assert_eq!(stage.get(&format!("/v1/doubts?{wrong}")).await.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn an_acknowledged_doubt_stays_and_is_told_apart() {
    let stage = stage();
    let id = stage.raise(DoubtKind::Usages, "limits/usage.log", 0);
    for _ in 0..2 {
        let answer = stage.post(&format!("/v1/doubts/{id}:acknowledge"), &json!({})).await;
        assert_eq!((answer.status, answer.body["acknowledged"].clone()), (200, json!(true)));
    }
    let open = stage.get("/v1/doubts?acknowledged=false").await;
    assert_eq!(open.body["doubts"], json!([]));
    let seen = stage.get("/v1/doubts?acknowledged=true").await;
    assert_eq!(seen.body["doubts"][0]["id"], id);
}

#[tokio::test]
async fn giving_up_needs_the_right_number_and_ends_the_doubt() {
    let stage = stage();
    let id = stage.raise(DoubtKind::Unread, "journal/1", 12);
    let path = format!("/v1/doubts/{id}:give-up");
    assert_eq!(stage.refused(&path, &json!({})).await, (422, "invalid_request".to_owned()));
    assert_eq!(stage.refused(&path, &json!({"confirm": "12"})).await, (422, "invalid_request".to_owned()));
    assert_eq!(
        stage.refused(&path, &json!({"confirm": 12, "x": 1})).await,
        (422, "invalid_request".to_owned())
    );
    assert_eq!(stage.refused(&path, &json!({"confirm": 11})).await, (409, "wrong_count".to_owned()));
    let detail = stage.post(&path, &json!({"confirm": 11})).await.body["detail"].to_string();
    assert!(detail.contains("12"), "{detail}");
    let done = stage.post(&path, &json!({"confirm": 12})).await;
    assert_eq!((done.status, done.body), (200, json!({"given_up": 12})));
    let again = stage.post(&path, &json!({"confirm": 12})).await;
    assert_eq!((again.status, again.body["code"].clone()), (404, json!("doubt_not_found")));
    assert_eq!(*stage.decisions.asked.lock().expect("no panic"), [("give_up", id)]);
}

#[tokio::test]
async fn each_verb_is_for_some_kinds_and_names_those_that_apply() {
    let stage = stage();
    for kind in DoubtKind::ALL {
        let id = stage.raise(kind, "a", 0);
        for verb in [DoubtVerb::Acknowledge, DoubtVerb::Retry, DoubtVerb::GiveUp, DoubtVerb::Confirm] {
            if verbs_of(kind).contains(&verb) {
                continue;
            }
            let path = format!("/v1/doubts/{id}:{}", verb.word());
            let body = if verb == DoubtVerb::GiveUp { json!({"confirm": 0}) } else { json!({}) };
            let answer = stage.post(&path, &body).await;
            assert_eq!((answer.status, answer.body["code"].clone()), (409, json!("not_applicable")));
            let detail = answer.body["detail"].as_str().expect("a detail");
            assert!(detail.contains(":acknowledge") && detail.contains("do something"), "{detail}");
        }
    }
    assert!(stage.decisions.asked.lock().expect("no panic").is_empty());
}

#[tokio::test]
async fn a_retry_says_whether_the_doubt_has_ended_and_a_word_ends_one_about_the_clock() {
    let stage = stage();
    let unread = stage.raise(DoubtKind::Unread, "a", 2);
    let retried = stage.post(&format!("/v1/doubts/{unread}:retry"), &json!({})).await;
    assert_eq!((retried.status, retried.body["ended"].clone()), (200, json!(false)));
    assert_eq!(retried.body["doubt"]["id"], unread);
    let clock = stage.raise(DoubtKind::Clock, "wall", 0);
    let confirmed = stage.post(&format!("/v1/doubts/{clock}:confirm"), &json!({})).await;
    assert_eq!((confirmed.status, confirmed.body), (200, json!({"ended": true, "doubt": null})));
}

#[tokio::test]
async fn a_decision_that_fails_leaves_the_doubt() {
    let stage = stage_that(true);
    let id = stage.raise(DoubtKind::Generation, "orders@1", 5);
    let answer = stage.post(&format!("/v1/doubts/{id}:give-up"), &json!({"confirm": 5})).await;
    assert_eq!((answer.status, answer.body["code"].clone()), (503, json!("storage_error")));
    assert!(stage.doubts.get(id).is_some());
}

#[tokio::test]
async fn methods_and_names_that_do_not_exist_are_refused() {
    let stage = stage();
    let id = stage.raise(DoubtKind::Lost, "a", 1);
    for unknown in ["0", "99", "x", "-1", "+1", "18446744073709551616"] {
        assert_eq!(stage.get(&format!("/v1/doubts/{unknown}")).await.status, 404, "{unknown}");
    }
    let put = Request::put(format!("/v1/doubts/{id}")).body(Body::empty()).expect("a request");
    let put = stage.send(put).await;
    assert_eq!((put.status, put.allow.as_deref()), (405, Some("GET,HEAD")));
    let get = stage.get(&format!("/v1/doubts/{id}:retry")).await;
    assert_eq!((get.status, get.allow.as_deref()), (405, Some("POST")));
    assert_eq!(stage.post(&format!("/v1/doubts/{id}:forget"), &json!({})).await.status, 404);
}
