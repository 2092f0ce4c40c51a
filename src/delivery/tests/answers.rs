//! Answers whose heads break the grammar: they count by their status, and their connection is not used again.

use super::{Act, Endpoint, OK, call, deliverer, ok_head, retry};
use crate::delivery::Deliver;
use crate::event::{Cause, Outcome};

/// Two calls, one after the other, to an endpoint that answers each with a head of these lines: what came of both, and
/// over how many connections.
async fn twice(act: Act) -> ([Outcome; 2], usize) {
    let endpoint = Endpoint::start(act).await;
    let client = deliverer(&["127.0.0.0/8"]);
    let mut outcomes = Vec::new();
    for _ in 0..2 {
        outcomes.push(client.attempt(call(&endpoint.url())).await);
    }
    assert_eq!(endpoint.heads.lock().await.len(), 2, "nothing is sent twice");
    (outcomes.try_into().expect("two"), endpoint.connections())
}

fn empty(lines: &str) -> Act {
    Act::Say(ok_head(&format!("content-length: 0\r\n{lines}")))
}

#[tokio::test]
async fn a_broken_line_costs_the_connection_and_not_the_answer() {
    for lines in [
        "x: one\r\n two\r\n",
        "x : y\r\n",
        "a b: c\r\n",
        "no colon\r\n",
        "x: a\0b\r\n",
        "x: a\rb\r\n",
        "x\u{1}: y\r\n",
        "transfer-encoding: chunked\r\n",
    ] {
        let body = if lines.starts_with("transfer") { "0\r\n\r\n" } else { "" };
        let act = Act::Say(ok_head(&format!("content-length: 0\r\n{lines}")) + body);
        assert_eq!(twice(act).await, ([OK, OK], 2), "{lines:?}");
    }
    // The control: sound heads leave it open.
    for lines in ["", "x:y\r\n", "odd: \u{e9}\r\n", "empty:\r\n"] {
        assert_eq!(twice(empty(lines)).await, ([OK, OK], 1), "{lines:?}");
    }
}

#[tokio::test]
async fn a_hundred_and_one_cookies_cost_nothing() {
    assert_eq!(twice(empty(&"set-cookie: a=b\r\n".repeat(101))).await, ([OK, OK], 1));
    assert_eq!(twice(empty(&"x: y\r\n".repeat(1_000))).await, ([OK, OK], 1));
    let busy = format!(
        "HTTP/1.1 503 Busy\r\n{}retry-after: 7\r\ncontent-length: 0\r\n\r\n",
        "set-cookie: a=b\r\n".repeat(500)
    );
    let ([first, _], _) = twice(Act::Say(busy)).await;
    assert!(matches!(first, Outcome::Retry { cause: Cause::Status(503), retry_after: Some(_) }), "{first:?}");
}

#[tokio::test]
async fn a_broken_framing_is_a_failed_attempt() {
    for lines in [
        "content-length: x\r\n",
        "content-length: 0\r\ncontent-length: 1\r\n",
        "content-length : 0\r\n",
        "content-length: 0\r\n 1\r\n",
        "transfer-encoding : chunked\r\n",
        "transfer-encoding: chunked\r\n\tx\r\n",
        "content-length: 0\u{1}\r\n",
    ] {
        let malformed = retry(Cause::Malformed);
        let (outcomes, connections) = twice(Act::Say(ok_head(lines))).await;
        assert_eq!((outcomes, connections), ([malformed.clone(), malformed], 2), "{lines:?}");
    }
}

#[tokio::test]
async fn a_broken_line_of_an_informational_answer_ends_the_connection_with_the_answer() {
    let hinted =
        |lines: &str| format!("HTTP/1.1 103 Early Hints\r\n{lines}\r\n{}", ok_head("content-length: 0\r\n"));
    assert_eq!(twice(Act::Say(hinted("link: </a>\r\n"))).await, ([OK, OK], 1), "the control");
    assert_eq!(twice(Act::Say(hinted("a b\r\n"))).await, ([OK, OK], 2));
}

/// The rest of a broken answer is never taken for the answer to the next call.
#[tokio::test]
async fn what_follows_a_broken_answer_answers_nothing() {
    let smuggled = ok_head("x : y\r\ncontent-length: 0\r\n") + "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(twice(Act::Say(smuggled)).await, ([OK, OK], 2));
}

/// Whatever stands before it, and however much of that: what decides is among the lines that are read.
#[tokio::test]
async fn what_decides_is_heard_behind_hundreds_of_other_lines() {
    let many = "x: y\r\n".repeat(150);
    let told = async |last: &str| twice(empty(&format!("{many}{last}"))).await;
    let (outcomes, connections) = told("x-mics-next-msg-delay: 5000\r\n").await;
    let waits = outcomes.iter().all(|outcome| matches!(outcome, Outcome::Paced { end, .. } if **end == OK));
    assert!(waits && connections == 1, "{outcomes:?} {connections}");
    let closing = format!("{many}content-length: 0\r\nconnection: close\r\n");
    assert_eq!(twice(Act::Say(ok_head(&closing))).await, ([OK, OK], 2), "the end of the connection is heard");
    assert_eq!(told("").await, ([OK, OK], 1), "the control");
}
