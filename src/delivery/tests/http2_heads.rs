//! Heads over HTTP/2, spoken by hand: an answer whose status can be read counts by its status, and what is wrong with one
//! stream concerns that one alone.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::http2::{HEADERS, PREFACE, RST_STREAM, SETTINGS, client, frame, next_request};
use super::{call, retry};
use crate::delivery::{Call, Deliver};
use crate::event::{Cause, Outcome};

const DATA: u8 = 0;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:status: 200` and `:status: 500` in HPACK's static table.
const STATUS_200: u8 = 0x88;
const STATUS_500: u8 = 0x8e;
const CANCEL: u32 = 8;

/// What the second request is answered with; the first one gets its 200 afterwards.
type Answer = fn(u32) -> Vec<u8>;

/// A header line as HPACK writes one that is in no table.
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![0];
    for text in [name, value] {
        assert!(text.len() < 127, "short enough for one byte of length");
        out.push(u8::try_from(text.len()).expect("short"));
        out.extend(text.as_bytes());
    }
    out
}

fn headers(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, block)
}

/// Takes two requests over one connection: the first waits until the second has its answer.
async fn endpoint(answer: Answer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = format!("http://{}/x", listener.local_addr().expect("address"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move { drop(serve(stream, answer).await) });
        }
    });
    url
}

async fn serve(mut stream: TcpStream, answer: Answer) -> std::io::Result<()> {
    stream.read_exact(&mut [0; PREFACE]).await?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
    let mut first = None;
    loop {
        let id = next_request(&mut stream).await?;
        match first {
            None => first = Some(id),
            Some(first) => {
                stream.write_all(&answer(id)).await?;
                stream.write_all(&headers(first, END_STREAM, &[STATUS_200])).await?;
            }
        }
    }
}

/// What comes of a call that is answered so, while another one on the same connection waits for its answer.
async fn beside_another(answer: Answer) -> Outcome {
    let (other, one) = both(answer).await;
    assert_eq!(other, Outcome::Delivered { status: 200 }, "the other stream is not concerned");
    one
}

/// What comes of the other call and of that one.
async fn both(answer: Answer) -> (Outcome, Outcome) {
    let url = endpoint(answer).await;
    let client = client();
    tokio::join!(client.attempt(call(&url)), async {
        // After the other one has its connection.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let call = Call { timeout: Some(std::time::Duration::from_secs(5)), ..call(&url) };
        client.attempt(call).await
    })
}

#[tokio::test]
async fn an_answer_whose_status_can_be_read_counts_by_it() {
    let many: Answer = |id| {
        let mut block = vec![STATUS_200];
        (0..101).for_each(|n| block.extend(field("set-cookie", &format!("c{n}=v"))));
        headers(id, END_STREAM, &block)
    };
    let large: Answer = |id| {
        // As much as is read over HTTP/1.
        let line = field("x-filler", &"f".repeat(120));
        let mut blocks: Vec<Vec<u8>> = (0..12).map(|_| line.repeat(120)).collect();
        blocks[0].insert(0, STATUS_200);
        let mut out = frame(HEADERS, END_STREAM, id, &blocks[0]);
        blocks[1..11].iter().for_each(|block| out.extend(frame(CONTINUATION, 0, id, block)));
        out.extend(frame(CONTINUATION, END_HEADERS, id, &blocks[11]));
        out
    };
    let cut_body: Answer = |id| {
        let reset = frame(RST_STREAM, 0, id, &CANCEL.to_be_bytes());
        [headers(id, 0, &[STATUS_200]), frame(DATA, 0, id, b"half"), reset].concat()
    };
    let lying_length: Answer = |id| {
        let block = [vec![STATUS_200], field("content-length", "50")].concat();
        [headers(id, 0, &block), frame(DATA, END_STREAM, id, b"five!")].concat()
    };
    for (answer, what) in [
        (many, "many lines"),
        (large, "a large head"),
        (cut_body, "half a body"),
        (lying_length, "another length"),
    ] {
        assert_eq!(beside_another(answer).await, Outcome::Delivered { status: 200 }, "{what}");
    }
    let cut_failure: Answer = |id| {
        let reset = frame(RST_STREAM, 0, id, &CANCEL.to_be_bytes());
        [headers(id, 0, &[STATUS_500]), reset].concat()
    };
    assert_eq!(beside_another(cut_failure).await, retry(Cause::Status(500)));
}

#[tokio::test]
async fn what_is_broken_in_one_stream_is_a_failed_attempt_of_that_one() {
    let of_connection: Answer =
        |id| headers(id, END_STREAM, &[vec![STATUS_200], field("connection", "close")].concat());
    let no_status: Answer = |id| headers(id, END_STREAM, &field("server", "x"));
    let twice: Answer = |id| headers(id, END_STREAM, &[STATUS_200, STATUS_500]);
    for (answer, what) in
        [(of_connection, "a header of the connection"), (no_status, "no status"), (twice, "two statuses")]
    {
        assert_eq!(beside_another(answer).await, retry(Cause::Malformed), "{what}");
    }
}

#[tokio::test]
async fn a_name_that_the_protocol_has_no_room_for_ends_the_connection() {
    // The library takes it for damage to the state that all streams share.
    let (other, one) =
        both(|id| headers(id, END_STREAM, &[vec![STATUS_200], field("X-Large", "a")].concat())).await;
    assert_eq!((other, one), (retry(Cause::Closed), retry(Cause::Closed)));
}
