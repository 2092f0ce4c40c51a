//! A small name server for tests: answers over UDP and TCP as it is told and counts the questions.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

/// Record types.
pub(crate) const A: u16 = 1;
pub(crate) const AAAA: u16 = 28;

/// What is answered to a question.
#[derive(Debug, Clone)]
pub(crate) enum Say {
    /// These addresses of the type asked for, with a TTL.
    Addresses(Vec<IpAddr>, u32),
    /// The first for the first question of each type, the second for all that follow; not to be kept.
    Flip(IpAddr, IpAddr),
    /// An alias of another name, with nothing beside it.
    Alias(String),
    /// A response code without records.
    Code(u8),
    /// Over UDP the answer is cut, over TCP it is complete.
    OverTcp(Vec<IpAddr>, u32),
    /// Bytes behind the identifier that are no message.
    Garbage,
    /// No answer.
    Nothing,
}

pub(crate) const NO_SUCH_NAME: Say = Say::Code(3);
pub(crate) const SERVER_FAILED: Say = Say::Code(2);
pub(crate) const REFUSED: Say = Say::Code(5);

/// One question: the name in lower case without the last dot, and the type.
pub(crate) type Asked = (String, u16);

#[derive(Default)]
struct Book {
    names: Mutex<HashMap<String, Say>>,
    asked: Mutex<Vec<Asked>>,
}

/// Serves until it is dropped. Names that it was not told of do not exist.
pub(crate) struct NameServer {
    book: Arc<Book>,
    pub(crate) addr: SocketAddr,
    tasks: [JoinHandle<()>; 2],
}

impl NameServer {
    /// On this address, such as `127.0.0.1:0` for any free port.
    pub(crate) async fn start(addr: &str) -> Self {
        // A port that is free for both kinds of sockets is found after a few attempts.
        for _ in 0..20 {
            let udp = UdpSocket::bind(addr).await.expect("a UDP port");
            let addr = udp.local_addr().expect("its address");
            let Ok(tcp) = TcpListener::bind(addr).await else { continue };
            let book = Arc::new(Book::default());
            let tasks =
                [tokio::spawn(serve_udp(udp, book.clone())), tokio::spawn(serve_tcp(tcp, book.clone()))];
            return Self { book, addr, tasks };
        }
        panic!("no port is free for UDP and TCP");
    }

    /// From now on.
    pub(crate) fn tell(&self, name: &str, say: Say) {
        self.book.names.lock().expect("no panic").insert(name.to_owned(), say);
    }

    pub(crate) fn addresses(&self, name: &str, addresses: &[&str], ttl: u32) {
        let addresses = addresses.iter().map(|text| text.parse().expect("an address")).collect();
        self.tell(name, Say::Addresses(addresses, ttl));
    }

    /// Every question so far, repetitions included.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.book.asked.lock().expect("no panic").clone()
    }

    /// How often a name was asked for, by type.
    pub(crate) fn times(&self, name: &str) -> [usize; 2] {
        let asked = self.asked();
        [A, AAAA].map(|kind| asked.iter().filter(|asked| asked.0 == name && asked.1 == kind).count())
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn serve_udp(socket: UdpSocket, book: Arc<Book>) {
    let mut buffer = [0; 2048];
    while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
        if let Some(answer) = book.answer(&buffer[..length], false) {
            let _ = socket.send_to(&answer, peer).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, book: Arc<Book>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve_stream(stream, book.clone()));
    }
}

async fn serve_stream(mut stream: TcpStream, book: Arc<Book>) -> Option<()> {
    loop {
        let length = stream.read_u16().await.ok()?;
        let mut question = vec![0; usize::from(length)];
        stream.read_exact(&mut question).await.ok()?;
        if let Some(answer) = book.answer(&question, true) {
            stream.write_u16(u16::try_from(answer.len()).ok()?).await.ok()?;
            stream.write_all(&answer).await.ok()?;
        }
    }
}

impl Book {
    fn answer(&self, question: &[u8], over_tcp: bool) -> Option<Vec<u8>> {
        let (name, kind, end) = parse(question)?;
        let asked = (name.clone(), kind);
        let is_first = !self.asked.lock().expect("no panic").contains(&asked);
        self.asked.lock().expect("no panic").push(asked);
        let say = self.names.lock().expect("no panic").get(&name).cloned().unwrap_or(NO_SUCH_NAME);
        let (code, is_cut, records) = match say {
            Say::Nothing => return None,
            Say::Garbage => return Some([&question[..2], &[0x81, 0x80, 0xff, 0xff, 0xff][..]].concat()),
            Say::Code(code) => (code, false, Vec::new()),
            Say::OverTcp(..) if !over_tcp => (0, true, Vec::new()),
            Say::Addresses(addresses, ttl) | Say::OverTcp(addresses, ttl) => {
                let records = addresses.into_iter().filter_map(|address| record(address, kind, ttl));
                (0, false, records.collect())
            }
            Say::Flip(first, then) => {
                let address = if is_first { first } else { then };
                (0, false, record(address, kind, 0).into_iter().collect())
            }
            Say::Alias(target) => (0, false, vec![(5, labels(&target), 60)]),
        };
        let mut answer = question[..2].to_vec();
        answer.extend([0x81 | (u8::from(is_cut) << 1), 0x80 | code, 0, 1, 0]);
        answer.extend([u8::try_from(records.len()).expect("few records"), 0, 0, 0, 0]);
        answer.extend(&question[12..end]);
        for (kind, data, ttl) in records {
            // The name is that of the question, at byte 12.
            answer.extend([0xc0, 12]);
            answer.extend(u16::to_be_bytes(kind));
            answer.extend([0, 1]);
            answer.extend(u32::to_be_bytes(ttl));
            answer.extend(u16::try_from(data.len()).expect("short").to_be_bytes());
            answer.extend(data);
        }
        Some(answer)
    }
}

fn record(address: IpAddr, kind: u16, ttl: u32) -> Option<(u16, Vec<u8>, u32)> {
    match address {
        IpAddr::V4(v4) if kind == A => Some((A, v4.octets().to_vec(), ttl)),
        IpAddr::V6(v6) if kind == AAAA => Some((AAAA, v6.octets().to_vec(), ttl)),
        _ => None,
    }
}

fn labels(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).expect("a short label"));
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// The name and type of the first question, and where it ends.
fn parse(message: &[u8]) -> Option<(String, u16, usize)> {
    let mut at = 12;
    let mut name = Vec::new();
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        name.push(String::from_utf8_lossy(message.get(at..at + length)?).to_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]);
    Some((name.join("."), kind, at + 4))
}
