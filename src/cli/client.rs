//! A small HTTP/1.1 client for tidegate's own doors on this machine: one connection, answers as a stream. A daemon that
//! does not answer in time counts as one that cannot be reached.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, TryStreamExt};
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::cli::exit::Failure;
use crate::cli::priority::PriorityArgument;

/// The longest wait for a connection to the daemon.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// For a whole answer. The daemon itself answers sooner when its store is slow; a purge or a large page takes its time.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// Most bytes of an answer that is read whole: pages of policies and the metrics are the largest.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// Most bytes of one line of a streamed answer.
const MAX_LINE_BYTES: usize = 1024 * 1024;

/// Names the priority of the events of a request that name none.
const PRIORITY: HeaderName = HeaderName::from_static("tidegate-priority");
const JSON: (HeaderName, &str) = (header::CONTENT_TYPE, "application/json");

type Body = BoxBody<Bytes, std::io::Error>;

/// One connection to the daemon, and the task that drives it.
pub(super) struct Client {
    address: SocketAddr,
    sender: SendRequest<Body>,
    /// Drives the connection; ends with the client.
    _connection: JoinSet<()>,
}

/// The lines of a streamed answer.
pub(super) struct AnswerLines {
    body: Incoming,
    buffer: BytesMut,
}

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::passing(format!(
                "cannot reach tidegate at {address}: {error}; is `tidegate serve` running?"
            ))
        };
        let stream = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(address));
        let stream = stream.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
        // Requests are small and waited for: without it they would linger.
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            // Its error is returned by the call that waits for an answer.
            let _ = connection.await;
        });
        Ok(Self { address, sender, _connection: tasks })
    }

    /// Sends a JSON body, or none, and reads the whole answer.
    pub(super) async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let is_change = method != Method::GET;
        self.exchange(method, path, &[JSON], text(body), is_change).await
    }

    /// Asks for a JSON answer. Any status but 200 is a failure in the daemon's words.
    pub(super) async fn get(&mut self, path: &str) -> Result<serde_json::Value, Failure> {
        self.ask(Method::GET, path, &[], Bytes::new()).await
    }

    /// Asks for a JSON answer, with headers of the caller and with the text of a JSON body or none. Any status but 200 is a
    /// failure in the daemon's words.
    pub(super) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> Result<serde_json::Value, Failure> {
        let given = headers.iter().map(|(name, value)| (name.clone(), value.as_bytes()));
        let headers: Vec<_> = [(JSON.0, JSON.1.as_bytes())].into_iter().chain(given).collect();
        let (status, answer) = self.exchange(method, path, &headers, body, false).await?;
        if status != StatusCode::OK {
            return Err(refusal("it was refused", status, &answer));
        }
        serde_json::from_slice(&answer)
            .map_err(|error| Failure::new(format!("the answer does not read: {error}")))
    }

    /// Streams lines of events to the door, which have this priority if they name none, and gives the stream of answers. Nothing limits how long this takes: only
    /// the caller knows whether an answer is due.
    pub(super) async fn enqueue<S>(
        &mut self,
        lines: S,
        priority: Option<PriorityArgument>,
    ) -> Result<AnswerLines, Failure>
    where
        S: Stream<Item = std::io::Result<Bytes>> + Send + Sync + 'static,
    {
        let body = StreamBody::new(lines.map_ok(Frame::data)).boxed();
        let mut headers = vec![(header::CONTENT_TYPE, "application/x-ndjson")];
        headers.extend(priority.map(|priority| (PRIORITY, priority.word())));
        let response = self.send(Method::POST, "/v1/events", &headers, body).await?;
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(AnswerLines { body: response.into_body(), buffer: BytesMut::new() });
        }
        let answer = whole(response.into_body()).await?;
        Err(refusal("the events were refused", status, &answer))
    }

    /// Asks for an answer of lines, which may take as long as it takes.
    pub(super) async fn lines(&mut self, path: &str) -> Result<AnswerLines, Failure> {
        let body = Full::new(Bytes::new()).map_err(|never| match never {}).boxed();
        let response = self.send::<&str>(Method::GET, path, &[], body).await?;
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(AnswerLines { body: response.into_body(), buffer: BytesMut::new() });
        }
        let answer = whole(response.into_body()).await?;
        Err(refusal("it was refused", status, &answer))
    }

    /// The same, with the request that goes on as the answer names it.
    pub(super) async fn page_of_lines(
        &mut self,
        path: &str,
    ) -> Result<(AnswerLines, Option<String>), Failure> {
        let body = Full::new(Bytes::new()).map_err(|never| match never {}).boxed();
        let response = self.send::<&str>(Method::GET, path, &[], body).await?;
        let status = response.status();
        if status != StatusCode::OK {
            let answer = whole(response.into_body()).await?;
            return Err(refusal("it was refused", status, &answer));
        }
        let link = response.headers().get(header::LINK).and_then(|link| link.to_str().ok());
        let next =
            link.and_then(|link| link.strip_prefix('<')?.split_once('>')).map(|(next, _)| next.to_owned());
        Ok((AnswerLines { body: response.into_body(), buffer: BytesMut::new() }, next))
    }

    /// Sends lines of JSON and reads the whole answer. Any status but 200 is a failure in the daemon's words.
    pub(super) async fn post_lines(
        &mut self,
        path: &str,
        lines: Bytes,
    ) -> Result<serde_json::Value, Failure> {
        let body = Full::new(lines).map_err(|never| match never {}).boxed();
        let headers = [(header::CONTENT_TYPE, "application/x-ndjson")];
        let response = self.send(Method::POST, path, &headers, body).await?;
        let status = response.status();
        let answer = whole(response.into_body()).await?;
        if status != StatusCode::OK {
            return Err(refusal("it was refused", status, &answer));
        }
        serde_json::from_slice(&answer)
            .map_err(|error| Failure::new(format!("the answer does not read: {error}")))
    }

    /// Sends a JSON body, or none, that is to be taken only under a condition, and reads the whole answer.
    pub(super) async fn change(
        &mut self,
        method: Method,
        path: &str,
        condition: (HeaderName, &str),
        body: Option<&serde_json::Value>,
    ) -> Result<(StatusCode, Bytes), Failure> {
        self.exchange(method, path, &[JSON, condition], text(body), true).await
    }

    async fn exchange<V: AsRef<[u8]>>(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, V)],
        body: Bytes,
        is_change: bool,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let address = self.address;
        let body = Full::new(body).map_err(|never| match never {}).boxed();
        let exchange = async {
            let response = self.send(method, path, headers, body).await?;
            let status = response.status();
            Ok((status, whole(response.into_body()).await?))
        };
        let answered = tokio::time::timeout(ANSWER_LIMIT, exchange).await;
        answered.unwrap_or_else(|_| {
            let failure = silent(address, ANSWER_LIMIT);
            Err(if is_change { failure.with("the change may have been made all the same") } else { failure })
        })
    }

    async fn send<V: AsRef<[u8]>>(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(HeaderName, V)],
        body: Body,
    ) -> Result<Response<Incoming>, Failure> {
        let start =
            Request::builder().method(method).uri(path).header(header::HOST, self.address.to_string());
        let request = headers
            .iter()
            .fold(start, |request, (name, value)| request.header(name, value.as_ref()))
            .body(body)
            .map_err(|error| Failure::new(error.to_string()))?;
        self.sender.ready().await.map_err(broken)?;
        self.sender.send_request(request).await.map_err(broken)
    }
}

impl AnswerLines {
    /// Whether another whole line is already here.
    pub(super) fn ready(&self) -> bool {
        self.buffer.contains(&b'\n')
    }

    /// The next whole line without its end; `None` after the last one.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let mut line = self.buffer.split_to(end + 1);
                line.truncate(end);
                return Ok(Some(line.freeze()));
            }
            if self.buffer.len() > MAX_LINE_BYTES {
                return Err(Failure::new("an answer of the daemon has no end"));
            }
            match self.body.frame().await {
                Some(frame) => {
                    if let Ok(data) = frame.map_err(broken)?.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                None if self.buffer.is_empty() => return Ok(None),
                // The last line may lack its end.
                None => return Ok(Some(self.buffer.split().freeze())),
            }
        }
    }
}

/// A JSON body, empty for none.
fn text(body: Option<&serde_json::Value>) -> Bytes {
    body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()))
}

/// The failure of a daemon that has not answered within `limit`.
pub(super) fn silent(address: SocketAddr, limit: Duration) -> Failure {
    Failure::passing(format!("tidegate at {address} has not answered within {} s", limit.as_secs()))
}

/// What a refusing answer says, in one line.
pub(super) fn refusal(what: &str, status: StatusCode, answer: &[u8]) -> Failure {
    let detail = serde_json::from_slice::<serde_json::Value>(answer)
        .ok()
        .and_then(|problem| Some(problem.get("detail")?.as_str()?.to_owned()))
        // What is no problem document may be a page of a proxy, of which the beginning is enough.
        .unwrap_or_else(|| String::from_utf8_lossy(answer).chars().take(300).collect());
    let text = format!("{what}: {status}: {detail}");
    if status == StatusCode::SERVICE_UNAVAILABLE { Failure::passing(text) } else { Failure::new(text) }
}

async fn whole(body: Incoming) -> Result<Bytes, Failure> {
    let limited = http_body_util::Limited::new(body, MAX_ANSWER_BYTES);
    let collected = limited.collect().await.map_err(|error| Failure::new(error.to_string()))?;
    Ok(collected.to_bytes())
}

fn broken(error: hyper::Error) -> Failure {
    Failure::passing(format!("the connection to tidegate broke: {error}"))
}
