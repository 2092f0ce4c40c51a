//! Calls through a proxy: it is told the address that was judged, and names stay what they are in TLS and `Host`.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::world::{Act, Api, Configured, Endpoint, Receiver, Server, eventually};

const PATIENCE: Duration = Duration::from_secs(20);

/// Connects wherever it is asked to; keeps what it was asked. One that is closed answers 407 instead.
struct Proxy {
    addr: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    async fn start(is_closed: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, heard.clone(), is_closed));
            }
        });
        Self { addr, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").clone()
    }
}

async fn serve(mut near: TcpStream, asked: Arc<Mutex<Vec<String>>>, is_closed: bool) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(near.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    asked.lock().expect("no panic").push(head.clone());
    let target = head.split(' ').nth(1)?.to_owned();
    let far = if is_closed { None } else { TcpStream::connect(&target).await.ok() };
    let Some(mut far) = far else {
        let status = if is_closed { "407 Who are you" } else { "502 Bad Gateway" };
        near.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await.ok()?;
        return None;
    };
    near.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
    copy_bidirectional(&mut near, &mut far).await.ok().map(drop)
}

async fn hand_in(api: &Api, url: &str) {
    let (status, answer) = api.json("POST", "/v1/events", &json!({"url": url, "body": {}})).await;
    assert_eq!(status, 202, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_is_told_the_address_that_was_judged() {
    let endpoint = Endpoint::start("127.0.0.1:0", |_| Act::Say("HTTP/1.1 204 No Content\r\n\r\n")).await;
    let port = endpoint.addr.port();
    let (open, trusted, closed) =
        (Proxy::start(false).await, Proxy::start(false).await, Proxy::start(true).await);
    let dir = tempfile::tempdir().expect("a directory");
    let user = dir.path().join("user");
    std::fs::write(&user, "me:proxy-canary\n").expect("written");
    let block = |name: &str, proxy: &Proxy, more: &str| {
        format!(
            "[[endpoint]]\nname = \"{name}\"\nurl = \"http://localhost:{port}/{name}*\"\n\
             proxy = {{ url = \"http://{}\"{more} }}\n",
            proxy.addr
        )
    };
    let mut world = Configured::new(Receiver::start().await);
    let credentials = format!(", credentials = {:?}", user.display().to_string());
    world.write(&format!(
        "[queue]\nunmatched = \"pass\"\n[log]\nlevel = \"trace\"\n[retry]\nmin_delay_ms = 50\nmax_delay_ms = 50\nmax_attempts = 1\n{}{}{}",
        block("judged", &open, &credentials),
        block("trusted", &trusted, ", resolves = true"),
        block("closed", &closed, "")
    ));
    world.options.args.extend(["--egress-allow", "::1/128"].map(str::to_owned));
    let server = Server::start(&world.options);
    let api = server.api();
    for path in ["judged", "trusted", "closed", "straight"] {
        hand_in(&api, &format!("http://localhost:{port}/{path}")).await;
    }
    eventually("three have arrived", PATIENCE, async || endpoint.seen().len() == 3).await;
    assert!(endpoint.seen().iter().all(|seen| seen.header("host") == format!("localhost:{port}")));
    assert!(endpoint.seen().iter().all(|seen| !seen.head.contains("proxy-")), "that is for the proxy alone");
    let asked = open.asked();
    let is_address = |head: &String| {
        head.starts_with(&format!("CONNECT 127.0.0.1:{port} "))
            || head.starts_with(&format!("CONNECT [::1]:{port} "))
    };
    assert!(!asked.is_empty() && asked.iter().all(is_address), "{asked:?}");
    assert!(asked[0].contains("\r\nproxy-authorization: Basic bWU6cHJveHktY2FuYXJ5\r\n"), "{asked:?}");
    assert!(trusted.asked()[0].starts_with(&format!("CONNECT localhost:{port} ")), "{:?}", trusted.asked());
    eventually("a proxy that refuses costs no attempt", PATIENCE, async || closed.asked().len() >= 3).await;
    assert_eq!(api.metric("tidegate_events_completed_total", "outcome=\"dead\"").await, 0.0);
    let (_, ready) = api.get("/readyz?verbose").await;
    assert!(ready.contains("trusted through") && !ready.contains("judged through"), "{ready}");
    let log = server.log().join("\n");
    assert!(!log.contains("proxy-canary") && !log.contains("bWU6cHJveHktY2FuYXJ5"));
    assert_eq!(server.stop().code(), Some(0));
}
