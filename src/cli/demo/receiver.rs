//! The demo's endpoint: answers every call with 204 and writes down when it came and under which id.
//!
//! It has a thread of its own, so that it does not wait behind the worker that it measures.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::clock::{Clock, Timestamp};

/// One call that arrived at the receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arrival {
    /// When the head of the request was complete.
    pub(super) at: Timestamp,
    /// Its `webhook-id`; empty when it had none.
    pub(super) id: String,
}

type Arrivals = Arc<Mutex<Vec<Arrival>>>;

/// The endpoint of the demo; it stops when it is dropped.
pub(super) struct Receiver {
    address: SocketAddr,
    arrivals: Arrivals,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    /// Listens on a free port of 127.0.0.1.
    pub(super) fn start(clock: Clock) -> std::io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let arrivals = Arrivals::default();
        let (stop, stopped) = oneshot::channel();
        let record = arrivals.clone();
        let thread = std::thread::Builder::new().name("receiver".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let Ok(listener) = TcpListener::from_std(listener) else { return };
                tokio::select! {
                    () = accept(listener, &clock, &record) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { address, arrivals, stop: Some(stop), thread: Some(thread) })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many calls have arrived so far.
    pub(super) fn count(&self) -> u64 {
        u64::try_from(lock(&self.arrivals).len()).unwrap_or(u64::MAX)
    }

    /// All calls in the order of their arrival.
    pub(super) fn arrivals(&self) -> Vec<Arrival> {
        lock(&self.arrivals).clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic over there shows as missing arrivals.
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, clock: &Clock, arrivals: &Arrivals) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    let (clock, arrivals) = (clock.clone(), arrivals.clone());
                    connections.spawn(async move {
                        let service = service_fn(|request| answer(request, &clock, &arrivals));
                        // A connection that breaks is the worker's to notice.
                        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                    });
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    clock: &Clock,
    arrivals: &Arrivals,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let at = clock.now();
    let id = request.headers().get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or("").to_owned();
    lock(arrivals).push(Arrival { at, id });
    // Read to its end, so that the connection can be used again.
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

fn lock(arrivals: &Arrivals) -> std::sync::MutexGuard<'_, Vec<Arrival>> {
    // Nothing panics while holding it; a pushed arrival is whole in any case.
    arrivals.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::cli::client::Client;

    #[tokio::test]
    async fn it_records_each_call_and_stops_when_dropped() {
        let receiver = Receiver::start(Clock::system()).expect("a free port");
        let address = receiver.address();
        let mut client = Client::connect(address).await.expect("listening");
        for _ in 0..2 {
            let (status, _) = client.call(Method::POST, "/x", None).await.expect("an answer");
            assert_eq!(status, StatusCode::NO_CONTENT);
        }
        let arrivals = receiver.arrivals();
        assert_eq!(receiver.count(), 2);
        assert!(arrivals[0].at <= arrivals[1].at);
        drop(receiver);
        assert!(Client::connect(address).await.is_err());
    }
}
