//! HTTP/2, spoken by hand: what the protocol proves unprocessed (RFC 9113 8.7), and what it does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{call, retry, unprocessed};
use crate::clock::{Clock, Timestamp};
use crate::delivery::client::Protocol;
use crate::delivery::{Call, Deliver, DeliveryOptions, EgressGuard, HttpDeliverer};
use crate::event::{Cause, Outcome};

pub(super) const PREFACE: usize = 24;
/// SETTINGS_MAX_CONCURRENT_STREAMS.
const ONE_STREAM_AT_A_TIME: [u8; 6] = [0, 3, 0, 0, 0, 1];
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM_AND_HEADERS: u8 = 5;

const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

/// What the endpoint does with the head of a request.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// Answers 200.
    Answer,
    /// Resets the stream with this code.
    Reset(u32),
    /// Says that this stream is the last one it will process, for this reason, and closes.
    GoAway { last: u32, reason: u32 },
    /// Closes without a word.
    Close,
    /// Says nothing.
    Hang,
}

/// Treats the n-th request of its life by `acts`, the last of them for all further ones; counts requests.
async fn endpoint(acts: &[Act]) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = format!("http://{}/x", listener.local_addr().expect("address"));
    let seen = Arc::new(AtomicUsize::new(0));
    let (count, acts) = (seen.clone(), acts.to_vec());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acts, count) = (acts.clone(), count.clone());
            tokio::spawn(async move {
                let _broken = serve(stream, &acts, &count).await;
            });
        }
    });
    (url, seen)
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut out = length[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// Reads to the next head of a request, and acknowledges settings on the way; returns the id of its stream.
pub(super) async fn next_request(stream: &mut TcpStream) -> std::io::Result<u32> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).await?;
        if kind == SETTINGS && flags == 0 {
            stream.write_all(&frame(SETTINGS, 1, 0, &[])).await?;
        }
        if kind == HEADERS {
            return Ok(u32::from_be_bytes(id));
        }
    }
}

async fn serve(mut stream: TcpStream, acts: &[Act], count: &AtomicUsize) -> std::io::Result<()> {
    stream.read_exact(&mut [0; PREFACE]).await?;
    stream.write_all(&frame(SETTINGS, 0, 0, &ONE_STREAM_AT_A_TIME)).await?;
    loop {
        let id = next_request(&mut stream).await?;
        let nth = count.fetch_add(1, Ordering::SeqCst);
        match acts[nth.min(acts.len() - 1)] {
            // `:status: 200` is number 8 of HPACK's static table.
            Act::Answer => {
                stream.write_all(&frame(HEADERS, END_STREAM_AND_HEADERS, id, &[0x88])).await?;
            }
            Act::Reset(code) => {
                stream.write_all(&frame(RST_STREAM, 0, id, &code.to_be_bytes())).await?;
            }
            Act::GoAway { last, reason } => {
                let payload = [last.to_be_bytes(), reason.to_be_bytes()].concat();
                stream.write_all(&frame(GOAWAY, 0, 0, &payload)).await?;
                stream.shutdown().await?;
                // What is unread when it closes would reset the connection.
                return tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(drop);
            }
            Act::Close => return Ok(()),
            Act::Hang => {}
        }
    }
}

/// A client that speaks HTTP/2 without TLS.
pub(super) fn client() -> HttpDeliverer {
    let options = DeliveryOptions {
        egress: EgressGuard::new(&["127.0.0.0/8".parse().expect("net")]),
        ..DeliveryOptions::default()
    };
    let clock = Clock::manual(Timestamp::from_millis(1_000_000));
    HttpDeliverer::over(options, clock, Protocol::Http2).expect("client")
}

async fn against(act: Act) -> Outcome {
    let (url, seen) = endpoint(&[act]).await;
    let outcome = client().attempt(call(&url)).await;
    assert_eq!(seen.load(Ordering::SeqCst), 1, "{act:?}: once, whatever the client library would retry");
    outcome
}

const OK: Outcome = Outcome::Delivered { status: 200 };

#[tokio::test]
async fn what_the_protocol_refuses_is_unprocessed() {
    assert_eq!(against(Act::Answer).await, OK);
    assert_eq!(against(Act::Reset(REFUSED_STREAM)).await, unprocessed(Cause::Refused));
    for reason in [NO_ERROR, ENHANCE_YOUR_CALM] {
        let goes_away = Act::GoAway { last: 0, reason };
        assert_eq!(against(goes_away).await, unprocessed(Cause::Refused), "{reason}");
    }
}

#[tokio::test]
async fn what_the_protocol_merely_breaks_is_an_attempt() {
    for code in [NO_ERROR, INTERNAL_ERROR, CANCEL, ENHANCE_YOUR_CALM] {
        assert_eq!(against(Act::Reset(code)).await, retry(Cause::Closed), "{code}");
    }
    for reason in [NO_ERROR, ENHANCE_YOUR_CALM] {
        // The first stream may have been processed.
        let goes_away = Act::GoAway { last: 1, reason };
        assert_eq!(against(goes_away).await, retry(Cause::Closed), "{reason}");
    }
    assert_eq!(against(Act::Close).await, retry(Cause::Closed));
}

#[tokio::test]
async fn a_connection_that_went_away_is_replaced() {
    let (url, seen) = endpoint(&[
        Act::Answer,
        Act::Reset(REFUSED_STREAM),
        Act::GoAway { last: 3, reason: NO_ERROR },
        Act::Answer,
    ])
    .await;
    let client = client();
    for wanted in [OK, unprocessed(Cause::Refused), unprocessed(Cause::Refused), OK, OK] {
        assert_eq!(client.attempt(call(&url)).await, wanted);
    }
    assert_eq!(seen.load(Ordering::SeqCst), 5);
}

#[tokio::test]
async fn a_call_that_waited_for_a_stream_in_vain_was_not_written() {
    let (url, seen) = endpoint(&[Act::Answer, Act::Hang]).await;
    let client = client();
    // From now on the client knows the settings.
    assert_eq!(client.attempt(call(&url)).await, OK);
    // Those that wait end long before the one that holds the stream: its end would free the stream for them.
    let within = |timeout_ms| {
        let call = Call { timeout: Some(Duration::from_millis(timeout_ms)), ..call(&url) };
        client.attempt(call)
    };
    let held = async { tokio::join!(within(2_000), within(2_000)) };
    let waiting = async {
        let ended = tokio::join!(within(300), within(300));
        (ended, seen.load(Ordering::SeqCst))
    };
    let (written, (unwritten, seen_meanwhile)) = tokio::join!(held, waiting);
    assert_eq!(seen_meanwhile, 2, "one stream at a time");
    assert_eq!(unwritten, (unprocessed(Cause::Timeout), unprocessed(Cause::Timeout)));
    // One is written; the next one has been taken over by the connection, which says no more about it.
    assert_eq!(written, (retry(Cause::Timeout), retry(Cause::Timeout)));
}
