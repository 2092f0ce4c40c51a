//! Caps, half-closed clients, slow readers, and requests after which the connection is closed.

use super::*;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Asks for `/` and reads the answer; the connection stays open.
async fn ask(stream: &mut TcpStream) {
    stream.write_all(GET).await.expect("writes");
    let mut answer = Vec::new();
    let whole = async {
        while !answer.ends_with(b"hello") {
            let read = stream.read_buf(&mut answer).await.expect("reads");
            assert_ne!(read, 0, "closed after {}", String::from_utf8_lossy(&answer));
        }
    };
    tokio::time::timeout(Duration::from_secs(10), whole).await.expect("an answer");
}

/// A connection with a request under way: the body is still to come. What is accepted later is served later.
async fn busy(server: &Server) -> TcpStream {
    let mut stream = server.connect().await;
    let head = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head).await.expect("writes");
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.expect("the body is waited for");
    stream
}

fn caps(max_connections: usize, reserved_connections: usize) -> ListenOptions {
    ListenOptions { max_connections, reserved_connections, ..ListenOptions::default() }
}

#[tokio::test]
async fn at_the_cap_the_longest_idle_connection_is_closed_and_a_busy_one_never() {
    let server = server(caps(3, 1)).await;
    let mut first = server.connect().await;
    ask(&mut first).await;
    let mut working = busy(&server).await;
    let mut second = server.connect().await;
    ask(&mut second).await;
    let mut third = server.connect().await;
    ask(&mut third).await;
    assert_eq!(to_end(&mut first).await, "", "closed for the third");
    // The control: the one that was idle for less is still served, and so is the busy one.
    ask(&mut second).await;
    working.write_all(b"hello").await.expect("writes");
    let mut answer = [0; 12];
    working.read_exact(&mut answer).await.expect("answers");
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[tokio::test]
async fn a_connection_that_has_asked_nothing_is_closed_as_well() {
    let server = server(caps(1, 1)).await;
    let mut silent = server.connect().await;
    let mut next = server.connect().await;
    ask(&mut next).await;
    assert_eq!(to_end(&mut silent).await, "");
}

#[tokio::test]
async fn the_reserve_answers_all_but_events_and_then_there_is_no_room() {
    let server = server(caps(1, 2)).await;
    let _working = busy(&server).await;
    let mut probe = server.connect().await;
    ask(&mut probe).await;
    let events = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    let refused = server.raw(events).await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("too_many_connections"), "{refused}");
    assert!(refused.contains("connection: close") && refused.contains("retry-after: 1"), "{refused}");
    // An operator's verb for one event is none of them: it reaches the routes, which here take no other method.
    let cancel = b"DELETE /v1/events/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = server.raw(cancel).await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    // The probe's own connection is of the reserve too, and goes on serving probes.
    ask(&mut probe).await;
    let _first = busy(&server).await;
    let second = busy(&server).await;
    assert_eq!(to_end(&mut probe).await, "", "the idle one of the reserve makes room");
    let mut turned_away = server.connect().await;
    let refused = to_end(&mut turned_away).await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("all connections are busy"), "{refused}");
    // The control: with one of them gone there is room again.
    drop(second);
    server.until_served().await;
}

/// A client that ends its side after the request is still reading.
#[tokio::test]
async fn a_half_closed_client_gets_its_answer() {
    let server = server(ListenOptions::default()).await;
    for request in [
        &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
        b"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"GET /late HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        let mut stream = server.connect().await;
        stream.write_all(request).await.expect("writes");
        stream.shutdown().await.expect("ends its side");
        let answer = to_end(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
    }
    // The control: a request whose body is not complete is not answered as one that is.
    let mut stream = server.connect().await;
    let half = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhe";
    stream.write_all(half).await.expect("writes");
    stream.shutdown().await.expect("ends its side");
    let answer = to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "the echo's answer to any broken body: {answer}");
}

/// A reader that takes nothing is ended after the allowance, one that keeps the pace is not.
#[tokio::test]
async fn a_slow_reader_is_ended() {
    let options = ListenOptions { pace_allowance: Duration::from_millis(500), ..ListenOptions::default() };
    let server = server(options).await;
    let get = b"GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut quick = server.connect().await;
    quick.write_all(get).await.expect("writes");
    assert!(to_end(&mut quick).await.len() > LARGE_BYTES, "the control");
    let mut slow = server.connect().await;
    slow.write_all(get).await.expect("writes");
    slow.read_exact(&mut [0]).await.expect("reads");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut rest = Vec::new();
    // A reset is an end as well.
    let read = tokio::time::timeout(Duration::from_secs(10), slow.read_to_end(&mut rest)).await;
    assert!(read.is_ok() && rest.len() < LARGE_BYTES, "{} bytes were still sent", rest.len());
}

#[tokio::test]
async fn connect_and_unknown_expectations_are_answered_and_the_connection_closed() {
    let server = server(ListenOptions::default()).await;
    let post = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n";
    for (head, status, code) in [
        ("CONNECT localhost:1 HTTP/1.1\r\nHost: localhost:1\r\n", 501, "not_implemented"),
        ("CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n", 501, "not_implemented"),
        ("CONNECT evil.test:1 HTTP/1.1\r\n", 501, "not_implemented"),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nExpect: 200-ok\r\n", 417, "expectation_failed"),
        (&format!("{post}Expect: x\r\n"), 417, "expectation_failed"),
        (&format!("{post}Expect: 100-continue, x\r\n"), 417, "expectation_failed"),
    ] {
        let answer = server.raw(format!("{head}\r\n").as_bytes()).await;
        let is_right = answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(code);
        assert!(is_right && answer.contains("connection: close"), "{head}: {answer}");
    }
    assert_eq!(server.served.load(Ordering::SeqCst), 0);
    // The control: the one expectation that exists is met, and the request served.
    let mut stream = busy(&server).await;
    stream.write_all(b"hello").await.expect("writes");
    stream.shutdown().await.expect("ends its side");
    let answer = to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
}
