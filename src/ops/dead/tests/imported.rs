//! Lines that no export of tidegate has: nobody gets by them what the door refuses.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::event::{EventId, LaneKey, Redriven};
use crate::store::{DeadLetter, record};

/// A letter as it could come from anywhere.
fn letter(tail: u64, change: impl FnOnce(&mut Event)) -> DeadLetter {
    let mut event = Event {
        method: Method::POST,
        url: url("https://api.test/orders"),
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"{}"),
        labels: labels(&[]),
        due_at: None,
        is_dated: false,
        expires_at: START + Duration::from_secs(1800),
        redriven: None,
    };
    change(&mut event);
    DeadLetter {
        id: EventId::new(START.as_millis(), tail.into()),
        lane: LaneKey::new("orders@1").expect("valid"),
        at: START,
        attempts: 1,
        reason: "http_404".to_owned(),
        record: record::encode(&event).expect("encodes"),
    }
}

fn line(letter: &DeadLetter) -> String {
    let line = json!({
        "id": letter.id.to_string(), "event": letter.name().to_string(), "lane": letter.lane.as_str(),
        "parked_at": letter.at.to_string(), "attempts": letter.attempts, "reason": letter.reason,
        "record": STANDARD.encode(&letter.record),
    });
    format!("{line}\n")
}

async fn import(world: &World, lines: String) -> Answer {
    let request = Request::post("/v1/dead-letters:import").header("content-type", "application/x-ndjson");
    world.ask(request.body(Body::from(lines)).expect("a request")).await
}

#[tokio::test]
async fn what_the_door_refuses_is_neither_imported_nor_redriven() {
    let world = world().await;
    let header = |name: &'static str| {
        move |event: &mut Event| drop(event.headers.insert(name, HeaderValue::from_static("1")))
    };
    let sound = letter(1, header("x-own"));
    let wrong = [
        (letter(2, header("content-length")), "content-length"),
        (letter(3, header("transfer-encoding")), "transfer-encoding"),
        (letter(4, header("host")), "host"),
        (letter(5, header("tidegate-attempt")), "tidegate-attempt"),
        (letter(6, |event| event.method = Method::CONNECT), "method"),
        (letter(7, |event| event.method = Method::from_bytes(b"post").expect("a token")), "method"),
    ];
    for (letter, told) in wrong {
        let refused = import(&world, line(&sound) + &line(&letter)).await;
        let detail = refused.body["detail"].as_str().unwrap_or_default();
        assert_eq!((refused.status, &refused.body["code"]), (422, &json!("invalid_request")), "{told}");
        assert!(detail.starts_with("line 2: ") && detail.contains(told), "{detail}");
        // One that came here before imports were held against it.
        let id = letter.name();
        world.desk.parked.turn().await.expect("a turn").import(vec![letter]).await.expect("added");
        let refused = world.post(&format!("/v1/dead-letters/{id}:redrive"), &json!({})).await;
        assert_eq!((refused.status, &refused.body["code"]), (422, &json!("not_redrivable")), "{told}");
        assert!(
            refused.body["detail"].as_str().is_some_and(|detail| detail.contains(told)),
            "{}",
            refused.body
        );
    }
    assert_eq!(world.listed("").await.len(), 6, "nothing of a refused request was added");
    // The control.
    let added = import(&world, line(&sound)).await;
    assert_eq!((added.status, &added.body), (200, &json!({"added": 1, "known": 0})));
    let redriven = world.post(&format!("/v1/dead-letters/{}:redrive", sound.name()), &json!({})).await;
    assert_eq!(redriven.status, 200, "{}", redriven.body);
}

/// Says of an event that it goes by `origin` and was redriven so often.
fn redriven(origin: EventId, count: u16) -> impl FnOnce(&mut Event) {
    move |event| {
        let (by, at) = (String::new(), START);
        event.redriven =
            Some(Box::new(Redriven { origin, is_renamed: false, count, at, by, from_url: None }));
    }
}

#[tokio::test]
async fn a_line_that_passes_for_another_letter_is_refused() {
    let world = world().await;
    let genuine = letter(1, redriven(EventId::new(5, 5), 2));
    assert_eq!(import(&world, line(&genuine)).await.body, json!({"added": 1, "known": 0}));
    let uncounted = letter(2, redriven(EventId::new(6, 6), 0));
    let twin = letter(3, redriven(EventId::new(5, 5), 2));
    let (one, other) =
        (letter(4, redriven(EventId::new(7, 7), 1)), letter(5, redriven(EventId::new(7, 7), 1)));
    for lines in [[&genuine, &uncounted], [&genuine, &twin], [&one, &other]] {
        let refused = import(&world, lines.map(line).concat()).await;
        assert_eq!(
            (refused.status, &refused.body["code"]),
            (422, &json!("invalid_request")),
            "{}",
            refused.body
        );
        let detail = refused.body["detail"].as_str().unwrap_or_default();
        assert!(detail.starts_with("line 2: "), "{detail}");
    }
    assert_eq!(
        world.listed("").await,
        [genuine.name().to_string()],
        "nothing of a refused request was added"
    );
    // The control: the same event after another redrive.
    let later = letter(6, redriven(EventId::new(5, 5), 3));
    assert_eq!(import(&world, line(&one) + &line(&later)).await.body, json!({"added": 2, "known": 0}));
}
