//! What is proven unprocessed over HTTP/1 and TLS, and what is not.

use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::{Act, Endpoint, OK, against, attempt, call, deliverer, ok_head, retry, unprocessed};
use crate::delivery::{Call, Deliver};
use crate::event::{Cause, Outcome};

/// Does this to every connection; returns where.
async fn listener<F: Future<Output = ()> + Send>(
    serve: impl Fn(TcpStream) -> F + Send + Sync + 'static,
) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            serve(stream).await;
        }
    });
    address
}

#[tokio::test]
async fn without_a_connection_nothing_was_processed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let refused = listener.local_addr().expect("address");
    drop(listener);
    assert_eq!(attempt(&format!("http://{refused}/")).await, unprocessed(Cause::Connect));
    assert_eq!(attempt(&format!("https://{refused}/")).await, unprocessed(Cause::Connect));
}

/// A queue of connections that is full: further ones get no answer.
async fn full_queue() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().expect("socket");
    socket.bind("127.0.0.1:0".parse().expect("address")).expect("bind");
    let listener = socket.listen(1).expect("listen");
    let address = listener.local_addr().expect("address");
    let mut waiting = Vec::new();
    while let Ok(stream) = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await
    {
        waiting.push(stream.expect("connects"));
    }
    (listener, waiting)
}

#[tokio::test]
async fn time_that_runs_out_while_connecting_proves_it_too() {
    let (full, _waiting) = full_queue().await;
    let full = full.local_addr().expect("address");
    let silent = listener(|stream| async move {
        let _kept = stream;
        pending().await
    })
    .await;
    let client = deliverer(&["127.0.0.0/8"]);
    for (url, outcome) in [
        (format!("http://{full}/"), unprocessed(Cause::Timeout)),
        (format!("https://{full}/"), unprocessed(Cause::Timeout)),
        // The handshake does not end.
        (format!("https://{silent}/"), unprocessed(Cause::Timeout)),
        // The control: there the request has gone out.
        (format!("http://{silent}/"), retry(Cause::Timeout)),
    ] {
        for body in ["", "a body"] {
            let short = Some(Duration::from_millis(400));
            let call = Call { timeout: short, body: Bytes::from_static(body.as_bytes()), ..call(&url) };
            assert_eq!(client.attempt(call).await, outcome, "{url} {body}");
        }
    }
}

#[tokio::test]
async fn a_handshake_that_fails_proves_it() {
    let garbage = listener(|mut stream| async move {
        let _ = stream.write_all(b"220 mail.example ESMTP\r\n").await;
        pending().await
    })
    .await;
    assert_eq!(attempt(&format!("https://{garbage}/")).await, unprocessed(Cause::Tls));
    // It hangs up in the middle.
    let closing = listener(|stream| async move { drop(stream.peek(&mut [0]).await) }).await;
    let outcome = attempt(&format!("https://{closing}/")).await;
    assert!(matches!(outcome, Outcome::Unprocessed { cause: Cause::Connect | Cause::Tls }), "{outcome:?}");
}

/// The request lies in the buffers of an endpoint that has read none of it: nobody here can know that.
#[tokio::test]
async fn a_request_that_was_written_and_not_read_proves_nothing() {
    let unread = listener(|stream| async move {
        stream.peek(&mut [0]).await.expect("the request is there");
        stream.set_zero_linger().expect("linger");
    })
    .await;
    let client = deliverer(&["127.0.0.0/8"]);
    for body in ["", "a body"] {
        let call = Call { body: Bytes::from_static(body.as_bytes()), ..call(&format!("http://{unread}/")) };
        assert_eq!(client.attempt(call).await, retry(Cause::Closed), "{body}");
    }
    // Nor does an answer that is lost, cut or unreadable.
    assert_eq!(against(Act::Reset).await, retry(Cause::Closed));
    assert_eq!(
        against(Act::SayAndClose("HTTP/1.1 200 OK\r\ncontent-le".to_owned())).await,
        retry(Cause::Closed)
    );
    assert_eq!(against(Act::SayAndClose("hello\r\n\r\n".to_owned())).await, retry(Cause::Malformed));
    let misdirected = "HTTP/1.1 421 Misdirected Request\r\ncontent-length: 0\r\n\r\n".to_owned();
    assert_eq!(against(Act::Say(misdirected)).await, Outcome::Reject { cause: Cause::Status(421) });
}

/// An endpoint that has closed an idle connection costs nothing: a new one takes its place.
#[tokio::test]
async fn an_idle_connection_that_was_closed_costs_no_attempt() {
    let endpoint = Endpoint::start(Act::SayAndClose(ok_head("content-length: 0\r\n"))).await;
    let client = deliverer(&["127.0.0.0/8"]);
    for nth in 1..=5 {
        assert_eq!(client.attempt(call(&endpoint.url())).await, OK);
        // Its end is seen before the next call.
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(endpoint.connections(), nth);
    }
    assert_eq!(endpoint.heads.lock().await.len(), 5, "nothing is sent twice");
}
