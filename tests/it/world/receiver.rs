//! The recording receiver: an HTTP server on loopback that writes down every call.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tidegate::testkit::clock::Clock;
use tokio::net::TcpListener;

/// One call as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    pub(crate) at_ns: u64,
    pub(crate) id: String,
    pub(crate) attempt: u32,
    pub(crate) path: String,
    /// The member `n` of the JSON body, if there is one.
    pub(crate) number: Option<u64>,
    /// The headers of the trace it belongs to: `traceparent` and `tracestate`.
    pub(crate) trace: (String, String),
}

/// What is answered to one call.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// The answer comes so much later.
    pub(crate) delay: Duration,
    pub(crate) retry_after_s: Option<u64>,
    pub(crate) headers: &'static [(&'static str, &'static str)],
    pub(crate) body: &'static str,
}

impl From<(u16, Duration)> for Reply {
    fn from((status, delay): (u16, Duration)) -> Self {
        Self { status, delay, ..Self::default() }
    }
}

type Answer = dyn Fn(&Arrival) -> Reply + Send + Sync;

/// Serves until it is dropped.
pub(crate) struct Receiver {
    addr: SocketAddr,
    seen: Arc<Mutex<Vec<Arrival>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Receiver {
    /// Answers every call with 204 at once.
    pub(crate) async fn start() -> Self {
        Self::answering(|_| (204, Duration::ZERO)).await
    }

    /// Answers by call, such as with a status after a delay.
    pub(crate) async fn answering<R: Into<Reply>>(
        answer: impl Fn(&Arrival) -> R + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Self::on(listener, answer)
    }

    /// The same on a port of the test's choice.
    pub(crate) fn on<R: Into<Reply>>(
        listener: TcpListener,
        answer: impl Fn(&Arrival) -> R + Send + Sync + 'static,
    ) -> Self {
        let answer = move |arrival: &Arrival| answer(arrival).into();
        let addr = listener.local_addr().expect("an address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(accept(listener, seen.clone(), Arc::new(answer)));
        Self { addr, seen, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.lock().expect("no panic").len()
    }

    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        self.seen.lock().expect("no panic").clone()
    }

    /// How often each number arrived.
    pub(crate) fn times_seen(&self) -> HashMap<u64, usize> {
        let mut times = HashMap::new();
        for arrival in self.seen.lock().expect("no panic").iter() {
            *times.entry(arrival.number.expect("a number")).or_default() += 1;
        }
        times
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, seen: Arc<Mutex<Vec<Arrival>>>, answer: Arc<Answer>) {
    let clock = Clock::system();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let (seen, answer, clock) = (seen.clone(), answer.clone(), clock.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request: hyper::Request<Incoming>| {
                let at_ns = clock.now().as_nanos();
                let (seen, answer) = (seen.clone(), answer.clone());
                async move {
                    let arrival = read(request, at_ns).await;
                    let reply = answer(&arrival);
                    seen.lock().expect("no panic").push(arrival);
                    if reply.delay > Duration::ZERO {
                        tokio::time::sleep(reply.delay).await;
                    }
                    let mut response = hyper::Response::builder().status(reply.status);
                    if let Some(seconds) = reply.retry_after_s {
                        response = response.header("retry-after", seconds);
                    }
                    for (name, value) in reply.headers {
                        response = response.header(*name, *value);
                    }
                    let response = response.body(Full::new(Bytes::from_static(reply.body.as_bytes())));
                    Ok::<_, Infallible>(response.expect("a response"))
                }
            });
            // A connection that the sender breaks is the sender's business.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn read(request: hyper::Request<Incoming>, at_ns: u64) -> Arrival {
    let header = |name: &str| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned()
    };
    let path = request.uri().path().to_owned();
    let trace = (header("traceparent"), header("tracestate"));
    let (id, attempt) = (header("webhook-id"), header("tidegate-attempt").parse().unwrap_or(0));
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let number = serde_json::from_slice::<serde_json::Value>(&body).ok().and_then(|body| body["n"].as_u64());
    Arrival { at_ns, id, attempt, path, number, trace }
}
