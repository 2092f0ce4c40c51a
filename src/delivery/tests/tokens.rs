//! Token servers on loopback: how they are asked, and what becomes of the calls.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::{Act, Endpoint, OK, call, deliverer, read_head};
use crate::clock::Timestamp;
use crate::delivery::testing::token_source;
use crate::delivery::{Call, CallOptions, Credentials, Deliver, HttpDeliverer, Readiness, TokenSource};
use crate::event::{CanonicalUrl, Cause, Outcome};

/// Answers with each of these in turn, the last one again and again; notes what it is asked.
struct TokenServer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl TokenServer {
    async fn start(answers: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut answers: VecDeque<String> = answers.iter().map(|answer| (*answer).to_owned()).collect();
        let log = asked.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let Some(head) = read_head(&mut stream).await else { continue };
                let length = head.to_ascii_lowercase();
                let length = length.split_once("content-length: ").and_then(|(_, rest)| rest.lines().next());
                let mut body = vec![0; length.and_then(|length| length.parse().ok()).unwrap_or(0)];
                let _ = stream.read_exact(&mut body).await;
                log.lock().await.push(format!("{head}{}", String::from_utf8_lossy(&body)));
                let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
                let _ = stream.write_all(answer.unwrap_or_default().as_bytes()).await;
            }
        });
        Self { address, asked }
    }

    async fn asked(&self) -> Vec<String> {
        self.asked.lock().await.clone()
    }
}

fn json(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn options(source: TokenSource) -> Arc<CallOptions> {
    let credentials = Some(Arc::new(Credentials::new("crm".into(), source)));
    Arc::new(CallOptions { credentials, ..CallOptions::default() })
}

fn source_at(address: SocketAddr) -> TokenSource {
    let url = CanonicalUrl::parse(&format!("http://{address}/token")).expect("valid");
    TokenSource { url, ..token_source() }
}

/// Asks until the first question has ended; returns whether there is a token then, and what is wrong.
async fn settled(client: &HttpDeliverer, options: &Arc<CallOptions>) -> (bool, Option<String>) {
    let cancelled = CancellationToken::new();
    let keeper = tokio::spawn(client.keep_tokens(cancelled.clone()));
    let credentials = options.credentials.as_ref().expect("credentials");
    let now = Timestamp::from_millis(784_111_777_000);
    for _ in 0..1_000 {
        let is_ready = client.readiness(options) == Readiness::Ready;
        let problem = credentials.problem(now);
        if is_ready || problem.is_some() {
            cancelled.cancel();
            keeper.await.expect("it ends");
            return (is_ready, problem);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no question has ended");
}

#[tokio::test]
async fn a_token_is_asked_for_as_rfc_6749_has_it_and_goes_with_the_call() {
    let server =
        TokenServer::start(&[&json(r#"{"access_token": "t1", "token_type": "Bearer", "expires_in": 60}"#)])
            .await;
    let endpoint = Endpoint::start(Act::Say("HTTP/1.1 204 No Content\r\n\r\n".to_owned())).await;
    let client = deliverer(&["127.0.0.0/8"]);
    let mut source = source_at(server.address);
    source.form.push(("scope".to_owned(), "a b".to_owned()));
    let options = options(source);
    assert_eq!(settled(&client, &options).await, (true, None));
    let mut made = Call { options: Some(options.clone()), ..call(&endpoint.url()) };
    made.headers.insert("authorization", http::HeaderValue::from_static("of the producer"));
    for _ in 0..3 {
        assert_eq!(client.attempt(made.clone()).await, Outcome::Delivered { status: 204 });
    }
    for head in endpoint.heads.lock().await.iter() {
        let values: Vec<_> = head.lines().filter(|line| line.starts_with("authorization")).collect();
        assert_eq!(values, ["authorization: Bearer t1"], "{head}");
    }
    let asked = server.asked().await;
    assert_eq!(asked.len(), 1, "{asked:?}");
    let lower = asked[0].to_ascii_lowercase();
    assert!(lower.starts_with("post /token http/1.1\r\n"), "{lower}");
    assert!(lower.contains("\r\ncontent-type: application/x-www-form-urlencoded\r\n"), "{lower}");
    // tidegate:CANARY
    assert!(asked[0].contains("Basic dGlkZWdhdGU6Q0FOQVJZ\r\n"), "{asked:?}");
    assert!(asked[0].ends_with("grant_type=client_credentials&scope=a+b"), "{asked:?}");
}

#[tokio::test]
async fn a_401_is_the_token_s_and_every_other_answer_the_call_s() {
    let server = TokenServer::start(&[&json(r#"{"access_token": "t1"}"#)]).await;
    let client = deliverer(&["127.0.0.0/8"]);
    let options = options(source_at(server.address));
    assert_eq!(settled(&client, &options).await, (true, None));
    let limit = r#"{"errorCode":"API_LIMIT_EXCEEDED"}"#;
    let limit = json(limit).replace("200 OK", "401 Unauthorized");
    for (answer, is_refused) in [
        ("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n", true),
        ("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", false),
        (&limit, false),
    ] {
        let endpoint = Endpoint::start(Act::Say(answer.to_owned())).await;
        let outcome = client.attempt(Call { options: Some(options.clone()), ..call(&endpoint.url()) }).await;
        assert_eq!(matches!(outcome, Outcome::TokenRefused { .. }), is_refused, "{answer}: {outcome:?}");
        // The control: without a token it is the call that is refused.
        let plain = client.attempt(call(&endpoint.url())).await;
        assert!(!matches!(plain, Outcome::TokenRefused { .. }), "{plain:?}");
    }
}

#[tokio::test]
async fn a_token_server_that_refuses_or_is_away_is_told_without_its_words() {
    let refuses = r#"{"error":"invalid_client","error_description":"CANARY"}"#;
    let refuses = json(refuses).replace("200 OK", "401 Unauthorized");
    let redirects = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n";
    let long = format!("HTTP/1.1 200 OK\r\ncontent-length: 70000\r\n\r\n{}", " ".repeat(70_000));
    for (answer, told) in [
        (refuses.as_str(), "the token server answers 401, invalid_client"),
        (redirects, "the token server answers 302"),
        ("HTTP/1.1 500 CANARY\r\ncontent-length: 0\r\n\r\n", "the token server answers 500"),
        (&json("CANARY"), "holds no token"),
        (&long, "holds no token"),
        ("CANARY", "cannot be reached"),
    ] {
        let server = TokenServer::start(&[answer]).await;
        let client = deliverer(&["127.0.0.0/8"]);
        let options = options(source_at(server.address));
        let (is_ready, problem) = settled(&client, &options).await;
        let problem = problem.unwrap_or_default();
        assert!(!is_ready && problem.contains(told) && !problem.contains("CANARY"), "{answer}: {problem}");
        assert!(problem.starts_with("crm: its calls wait for a token: "), "{problem}");
        assert!(!format!("{options:?} {:?}", options.credentials).contains("CANARY"));
        assert_eq!(server.asked().await.len(), 1, "asked once");
        // It is not called without one.
        let endpoint =
            Endpoint::start(Act::Say("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned())).await;
        let outcome = client.attempt(Call { options: Some(options), ..call(&endpoint.url()) }).await;
        assert_eq!(outcome, Outcome::Unprocessed { cause: Cause::Internal });
        assert_eq!(endpoint.connections(), 0);
        assert_eq!(client.attempt(call(&endpoint.url())).await, OK, "the control");
    }
}

#[tokio::test]
async fn a_token_server_inside_is_asked_only_where_it_is_allowed() {
    let server = TokenServer::start(&[&json(r#"{"access_token": "t1"}"#)]).await;
    let port = server.address.port();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"] {
        let url = CanonicalUrl::parse(&format!("http://{host}:{port}/token")).expect("valid");
        let options = options(TokenSource { url, ..token_source() });
        let (is_ready, problem) = settled(&deliverer(&[]), &options).await;
        assert!(
            !is_ready && problem.as_ref().is_some_and(|told| told.contains("egress.allow")),
            "{host}: {problem:?}"
        );
    }
    assert!(server.asked().await.is_empty());
    let options = options(source_at(server.address));
    assert_eq!(settled(&deliverer(&["127.0.0.0/8"]), &options).await, (true, None), "the control");
}
