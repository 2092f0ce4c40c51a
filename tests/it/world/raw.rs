//! Requests byte by byte over sockets of their own: what no HTTP client would send.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// One connection.
pub(crate) struct Raw(TcpStream);

impl Raw {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self(TcpStream::connect(addr).await.expect("a connection"))
    }

    /// From this address of the machine.
    pub(crate) async fn connect_from(from: IpAddr, addr: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((from, 0).into()).expect("an address of this machine");
        Self(socket.connect(addr).await.expect("a connection"))
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.expect("sent");
    }

    /// Ends this side; the other one may go on.
    pub(crate) async fn end(&mut self) {
        self.0.shutdown().await.expect("ended");
    }

    /// Waits for `100 Continue`.
    pub(crate) async fn told_to_go_on(&mut self) {
        let mut told = [0; 25];
        let read = tokio::time::timeout(PATIENCE, self.0.read_exact(&mut told)).await;
        read.expect("told in time").expect("told");
        assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    }

    /// The status and the body of an answer whose length is stated; the connection goes on.
    pub(crate) async fn answer(&mut self) -> (u16, String) {
        let whole = async {
            let mut answer = Vec::new();
            loop {
                if let Some(split) = whole_answer(&answer) {
                    return split;
                }
                let read = self.0.read_buf(&mut answer).await.expect("an answer");
                assert_ne!(read, 0, "closed after {}", String::from_utf8_lossy(&answer));
            }
        };
        tokio::time::timeout(PATIENCE, whole).await.expect("an answer in time")
    }

    /// All that comes until the connection is closed.
    pub(crate) async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        // A reset after the last byte is an end as well.
        let read = tokio::time::timeout(PATIENCE, self.0.read_to_end(&mut rest)).await;
        assert!(read.is_ok(), "not closed after {}", String::from_utf8_lossy(&rest));
        String::from_utf8_lossy(&rest).into_owned()
    }

    /// Whether the other side has closed it.
    pub(crate) fn is_closed(&self) -> bool {
        !matches!(self.0.try_read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }
}

fn whole_answer(answer: &[u8]) -> Option<(u16, String)> {
    let text = String::from_utf8_lossy(answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head.to_ascii_lowercase().split_once("content-length: ")?.1.lines().next()?.parse::<usize>();
    let is_whole = body.len() >= length.expect("a length");
    is_whole.then(|| (status(head), body.to_owned()))
}

/// The status of an answer; 0 where there is none.
pub(crate) fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
}

/// A request with a body of this type.
pub(crate) fn request(method: &str, path: &str, kind: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}
