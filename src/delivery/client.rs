//! Attempts over the network: one HTTP client for all calls, and the deadlines around each of them.
//!
//! One attempt is one call: no redirect is followed, nothing is sent twice. (A pooled connection that turns out
//! closed before a byte of the request is written is replaced by a fresh one; the endpoint has seen nothing.) What failed
//! before a byte was written, or was refused by the protocol, is told apart from what the endpoint may have acted on.
//!
//! Must not know: the queue, limits, policies.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use http::Response;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::aged::AgedClients;
use super::begun::{Begun, NotedBody};
use super::connect::{ConnectOptions, Connector};
use super::credentials::{Readiness, TokenRequests, TokenWay};
use super::guards::Guards;
use super::heads;
use super::hears::Answer;
use super::others::OtherClients;
use super::resolve::GuardedNames;
use super::shortages::Shortages;
use super::withheld::Withheld;
use super::{
    BlockedAddress, Call, CallOptions, Deliver, EgressGuard, Hears, ProxyOptions, Turnover, asked, classify,
    hears, request, tls,
};
use crate::clock::{Clock, Timestamp};
use crate::event::Outcome;
use crate::names::{NameOptions, Names};
use crate::telemetry::{AnswerAmended, AnswerTimeIgnored};

/// How long an unused connection is kept: below the five seconds after which common servers close theirs, so
/// that a connection is rarely closed under a request.
const POOL_IDLE: Duration = Duration::from_secs(4);
/// How much of a response body is read, so that its connection can be used again or its error code be known;
/// longer ones are cut.
const BODY_MAX_BYTES: u64 = 64 * 1024;
/// How long a response body is waited for. The status is known by then and a slow body must not hold a slot.
/// Only one that may turn a refusal into a wait has the rest of the attempt's time.
const BODY_WAIT: Duration = Duration::from_secs(2);
/// The largest response head over HTTP/2; over HTTP/1 see [`heads`].
const H2_HEAD_MAX_BYTES: u32 = 64 * 1024;

/// What the client is set up with, once for the life of the process.
#[derive(Debug, Clone)]
pub struct DeliveryOptions {
    /// Which addresses may be called, until another guard is applied.
    pub egress: EgressGuard,
    /// How names are resolved, and for how long.
    pub names: NameOptions,
    /// How long each attempt and its parts may take.
    pub deadlines: Deadlines,
    /// Unused connections kept per host; best as many as calls may be in flight to one.
    pub pool_max_idle_per_host: usize,
    /// Certificates in PEM form that are trusted beside those of the system: for private authorities.
    pub extra_ca_pem: Option<Vec<u8>>,
    /// Who is asked, in this order, whether an answer says that the endpoint is busy.
    pub hears: Arc<[&'static dyn Hears]>,
}

impl Default for DeliveryOptions {
    fn default() -> Self {
        Self {
            egress: EgressGuard::new(&[]),
            names: NameOptions::default(),
            deadlines: Deadlines::default(),
            pool_max_idle_per_host: 1024,
            extra_ca_pem: None,
            hears: Arc::default(),
        }
    }
}

/// How long one attempt and its parts may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// The longest for resolving, connecting and the TLS handshake together.
    pub connect: Duration,
    /// The longest from the start of the attempt to the complete response head.
    pub head: Duration,
    /// The longest for the whole attempt, unless the call says otherwise.
    pub total: Duration,
}

impl Default for Deadlines {
    /// 3 s to connect, 30 s for the head and for the whole attempt.
    fn default() -> Self {
        let whole = Duration::from_secs(30);
        Self { connect: Duration::from_secs(3), head: whole, total: whole }
    }
}

/// Why the client cannot be built; nothing of it is in use then.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The extra certificates are not a bundle in PEM form.
    #[error("the extra CA certificates are not PEM")]
    ExtraCa(#[source] BoxError),
    /// The client cannot be set up, for example because the system has no CA certificates.
    #[error("the HTTP client cannot be set up")]
    Client(#[source] BoxError),
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Makes calls over HTTP/1.1, or HTTP/2 where TLS negotiates it. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct HttpDeliverer {
    guarded: Arc<ArcSwap<Guarded>>,
    options: Arc<DeliveryOptions>,
    protocol: Protocol,
    names: Names,
    clock: Clock,
    shortages: Arc<Shortages>,
    withheld: Arc<Withheld>,
    tokens: Arc<TokenRequests>,
}

/// A client all of whose connections, the kept ones included, were made under the present guard.
struct Guarded {
    client: HttpClient,
    guards: Guards,
    /// Verifies certificates where nothing else is set.
    system: Arc<dyn ServerCertVerifier>,
    /// For endpoints that are reached in a way of their own, each with connections of its own.
    others: Arc<OtherClients>,
    aged: AgedClients,
}

/// Makes requests, over connections of its own.
pub(super) type HttpClient = Client<Connector, NotedBody>;

/// What is spoken to endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.1, or HTTP/2 where TLS negotiates it.
    Negotiated,
    /// HTTP/2, over plain connections too.
    #[cfg(test)]
    Http2,
}

impl HttpDeliverer {
    /// Sets up the client. The wall time of `clock` goes out with the calls and dates `Retry-After`.
    ///
    /// # Errors
    /// [`DeliveryError`] when certificates cannot be loaded.
    pub fn new(options: DeliveryOptions, clock: Clock) -> Result<Self, DeliveryError> {
        Self::over(options, clock, Protocol::Negotiated)
    }

    /// The same for endpoints that speak this.
    pub(super) fn over(
        options: DeliveryOptions,
        clock: Clock,
        protocol: Protocol,
    ) -> Result<Self, DeliveryError> {
        install_provider();
        let names = Names::new(options.names.clone(), clock.clone());
        let system = tls::system(options.extra_ca_pem.as_deref())?;
        let usual = tls::usual(&system)?;
        let client = guarded_client(&options, options.egress.clone(), &names, protocol, (usual, None));
        let guards = Guards::first(options.egress.clone(), clock.now());
        let guarded =
            Guarded { client, guards, system, others: Arc::default(), aged: AgedClients::default() };
        Ok(Self {
            guarded: Arc::new(ArcSwap::from_pointee(guarded)),
            options: Arc::new(options),
            protocol,
            names,
            clock,
            shortages: Arc::default(),
            withheld: Arc::default(),
            tokens: Arc::default(),
        })
    }

    async fn call(self, call: Call) -> Outcome {
        // One guard for the whole attempt: a denied address is judged by the guard that its connection was to be made
        // under.
        let guarded = self.guarded.load_full();
        let accepted_at = call.id.accepted_at();
        // The connector resolves names only: without this check an address in the url would be connected unseen.
        if let Err(blocked) = guarded.guards.present().check_literal(&call.url) {
            return self.denied(&guarded.guards, &blocked, accepted_at);
        }
        let Ok(client) = self.client_for(&guarded, call.options.as_ref()) else {
            return classify::without_tls();
        };
        let started = Instant::now();
        let total = call.timeout.unwrap_or(self.options.deadlines.total);
        let begun = Begun::default();
        if request::is_long_to_build(&call) {
            // The first poll of a call is made by the dispatcher's own task, which starts nothing else meanwhile.
            tokio::task::yield_now().await;
        }
        let credentials = call.options.as_ref().and_then(|options| options.credentials.clone());
        let Some(mut request) = request::build(call, self.clock.wall(), &begun) else {
            return classify::unbuildable();
        };
        let sent = match credentials.map(|credentials| credentials.add_to(request.headers_mut())) {
            Some(None) => return classify::without_token(),
            sent => sent.flatten(),
        };
        // A call with a shorter time of its own does not wait for the head beyond it.
        let head_end = started + self.options.deadlines.head.min(total);
        let head = timeout_at(head_end, client.request(request)).await;
        let response = match head {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                if let Some(blocked) = classify::blocked(&error) {
                    return self.denied(&guarded.guards, blocked, accepted_at);
                }
                let outcome = classify::failure(&error, begun.get());
                self.shortages.note(&outcome, self.clock.now());
                return outcome;
            }
            Err(_elapsed) => return classify::timed_out(begun.get()),
        };
        let outcome = self.judge(response, started + total).await;
        match sent {
            Some(sent) => sent.judged(outcome, self.clock.now()),
            None => outcome,
        }
    }

    /// The client that reaches an endpoint in this way, made when it is first asked for.
    fn client_for(
        &self,
        guarded: &Guarded,
        options: Option<&Arc<CallOptions>>,
    ) -> Result<HttpClient, DeliveryError> {
        let Some(options) = options else { return Ok(guarded.client.clone()) };
        if options.tls.is_none() && options.proxy.is_none() {
            let of_age = options.connection_max_age.and_then(|age| guarded.aged.get(age));
            return Ok(of_age.unwrap_or(&guarded.client).clone());
        }
        guarded.others.get(options, self.clock.now(), || {
            let tls = options.tls.as_ref();
            let config =
                tls.map_or_else(|| tls::usual(&guarded.system), |tls| tls.config(&guarded.system))?;
            let egress = guarded.guards.present().clone();
            let way = (config, options.proxy.clone());
            Ok(guarded_client(&self.options, egress, &self.names, self.protocol, way))
        })
    }

    /// How the token server of an endpoint is reached: as the endpoint itself.
    fn way_to_token(&self, options: &CallOptions) -> Result<TokenWay, DeliveryError> {
        let guarded = self.guarded.load();
        let system = &guarded.system;
        let tls = options.tls.as_ref().map_or_else(|| tls::usual(system), |tls| tls.config(system))?;
        let names = GuardedNames { names: self.names.clone(), egress: guarded.guards.present().clone() };
        Ok(TokenWay { tls, names, proxy: options.proxy.clone() })
    }

    fn denied(&self, guards: &Guards, blocked: &BlockedAddress, accepted_at: Timestamp) -> Outcome {
        let outcome = guards.denied(blocked.address, accepted_at);
        self.withheld.note(&outcome, blocked, self.clock.now());
        outcome
    }

    /// The wall time from which dates are measured. While it is in doubt they lie so far away that the wait is the
    /// longest there is.
    fn wall(&self) -> Timestamp {
        if self.clock.is_trusted() { self.clock.wall() } else { Timestamp::ZERO }
    }

    async fn judge(&self, response: Response<Incoming>, deadline: Instant) -> Outcome {
        let systems = &*self.options.hears;
        let (status, headers, wall) = (response.status(), response.headers(), self.wall());
        if !status.is_success() && asked::is_unreadable(headers) {
            AnswerTimeIgnored { why: "unreadable" }.emit();
        }
        let by_head = classify::answer(systems, &Answer { status, headers, body: b"", wall });
        // Never beyond the attempt's own time.
        let soon = deadline.min(Instant::now() + BODY_WAIT);
        if !hears::may_be_told_by_body(systems, status, headers) {
            // Whatever becomes of the body, the status stands.
            let _cut = timeout_at(soon, read(response, |_| {})).await;
            return by_head;
        }
        let end = if matches!(by_head.end(), Outcome::Reject { .. }) { deadline } else { soon };
        let headers = headers.clone();
        let mut body = Vec::new();
        let is_whole = timeout_at(end, read(response, |chunk| body.extend_from_slice(chunk))).await;
        // The code may stand in the part that is missing: the status alone decides.
        if is_whole != Ok(true) {
            return by_head;
        }
        // The time is read again: what an answer asks for counts from its end.
        classify::answer(systems, &Answer { status, headers: &headers, body: &body, wall: self.wall() })
    }
}

/// A client that connects to what `egress` allows, without any connection yet.
fn guarded_client(
    options: &DeliveryOptions,
    egress: EgressGuard,
    names: &Names,
    protocol: Protocol,
    (tls, proxy): (ClientConfig, Option<Arc<ProxyOptions>>),
) -> HttpClient {
    let speaks_http2 = protocol != Protocol::Negotiated;
    let connector = Connector::new(ConnectOptions {
        names: GuardedNames { names: names.clone(), egress },
        within: options.deadlines.connect,
        proxy,
        tls,
        speaks_http2,
        heard: options.hears.iter().flat_map(|system| system.headers()).copied().collect(),
        report: note_mended,
    });
    // The library follows no redirect, asks no proxy and repeats nothing that may have been written: no limit has been
    // asked for any of that. What it does repeat is a call whose kept connection turns out closed before a byte of it is
    // written.
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(options.pool_max_idle_per_host)
        .http2_only(speaks_http2)
        .http2_max_header_list_size(H2_HEAD_MAX_BYTES)
        .build(connector)
}

fn note_mended(host: &str, mended: heads::Mended) {
    AnswerAmended { host, broken: mended.broken, surplus: mended.surplus, closes: mended.closes() }.emit();
}

impl Deliver for HttpDeliverer {
    fn attempt(&self, call: Call) -> BoxFuture<'static, Outcome> {
        Box::pin(self.clone().call(call))
    }

    fn readiness(&self, options: &Arc<CallOptions>) -> Readiness {
        self.tokens.look(options, self.clock.now())
    }

    fn keep_tokens(&self, cancelled: CancellationToken) -> BoxFuture<'static, ()> {
        let client = self.clone();
        Box::pin(async move {
            let way = |options: &CallOptions| client.way_to_token(options);
            client.tokens.serve(&client.clock, way, cancelled).await;
        })
    }

    fn under(&self, egress: EgressGuard) -> Result<Turnover, DeliveryError> {
        // Before anything changes, so that an error leaves the present client as it is. A client of its own, because a
        // kept connection may lead to an address that the new guard denies.
        let system = tls::system(self.options.extra_ca_pem.as_deref())?;
        let usual = tls::usual(&system)?;
        let client = guarded_client(&self.options, egress.clone(), &self.names, self.protocol, (usual, None));
        let (place, clock) = (Arc::clone(&self.guarded), self.clock.clone());
        Ok(Box::new(move || {
            let guards = place.load().guards.then(egress, clock.now());
            // Idle connections of the client before it are closed with its last call.
            place.store(Arc::new(Guarded {
                client,
                guards,
                system,
                others: Arc::default(),
                aged: AgedClients::default(),
            }));
        }))
    }

    fn renew(&self, ages: &BTreeSet<Duration>) -> Result<Option<Turnover>, DeliveryError> {
        let (seen, now) = (self.guarded.load_full(), self.clock.now());
        let missing = seen.aged.missing(ages, now);
        if missing.is_empty() {
            // These are made anew by the next call, under the guard that they were made under.
            let is_due = seen.others.any_due(now);
            return Ok(is_due.then(|| Box::new(move || seen.others.give_up_due(now)) as Turnover));
        }
        let made = missing.into_iter().map(|age| {
            let egress = seen.guards.present().clone();
            let usual = tls::usual(&seen.system)?;
            Ok((age, guarded_client(&self.options, egress, &self.names, self.protocol, (usual, None))))
        });
        let made = made.collect::<Result<Vec<_>, DeliveryError>>()?;
        let renewed = Guarded {
            client: seen.client.clone(),
            guards: seen.guards.clone(),
            system: Arc::clone(&seen.system),
            others: Arc::clone(&seen.others),
            aged: seen.aged.with(made, ages, now),
        };
        let (place, renewed) = (Arc::clone(&self.guarded), Arc::new(renewed));
        // Not where another guard has come meanwhile: these clients connect by the one before.
        Ok(Some(Box::new(move || {
            drop(place.compare_and_swap(&seen, renewed));
            seen.others.give_up_due(now);
        })))
    }

    fn egress_state(&self) -> Option<String> {
        Some(self.withheld.state(self.clock.now()))
    }

    fn name_state(&self) -> Option<String> {
        Some(self.names.state())
    }
}

/// Reads a short body to its end, which gives the connection back to the pool; gives up on a longer one,
/// which closes it. Returns whether it was read to its end.
async fn read(response: Response<Incoming>, mut take: impl FnMut(&[u8])) -> bool {
    let mut body = response.into_body();
    let mut left = BODY_MAX_BYTES;
    // Reading up to the bound would be in vain: the connection is closed all the same.
    if body.size_hint().exact().is_some_and(|announced| announced > left) {
        return false;
    }
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        // Trailers say nothing here.
        let Ok(chunk) = frame.into_data() else { continue };
        match left.checked_sub(u64::try_from(chunk.len()).unwrap_or(u64::MAX)) {
            Some(rest) => left = rest,
            None => return false,
        }
        take(&chunk);
    }
    true
}

/// Makes ring the process's TLS provider unless there is one already. To be called before any HTTP client is set up.
pub(crate) fn install_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Losing a race here means that another client has just installed the same one.
        let _lost = rustls::crypto::ring::default_provider().install_default();
    }
}
