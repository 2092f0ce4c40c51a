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
use super::excerpt::{self, Mask};
use super::guards::Guards;
use super::heads;
use super::hears::Answer;
use super::others::OtherClients;
use super::resolve::GuardedNames;
use super::setup::{DeliveryError, DeliveryOptions};
use super::shortages::Shortages;
use super::withheld::Withheld;
use super::{
    BlockedAddress, Call, CallOptions, Deliver, EgressGuard, Ended, ProxyOptions, Turnover, classify, hears,
    noticed, request, tls,
};
use crate::clock::{Clock, Timestamp};
use crate::event::Outcome;
use crate::names::Names;
use crate::telemetry::AnswerAmended;

/// How long an unused connection is kept: below the five seconds after which common servers close theirs, so
/// that a connection is rarely closed under a request.
const POOL_IDLE: Duration = Duration::from_secs(4);
/// How much of a response body is read, so that its connection can be used again or its error code be known;
/// longer ones are cut.
const BODY_MAX_BYTES: u64 = 64 * 1024;
/// How long a response body is waited for. The status is known by then and a slow body must not hold a slot.
/// Only one that may turn a refusal into a wait has the rest of the attempt's time.
const BODY_WAIT: Duration = Duration::from_secs(2);
/// The largest response head over HTTP/2: the same as over HTTP/1.
const H2_HEAD_MAX_BYTES: u32 = 256 * 1024;
const _: () = assert!(H2_HEAD_MAX_BYTES as usize == heads::HEAD_MAX_BYTES, "both read as much");

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

    async fn call(self, call: Call) -> Ended {
        // One guard for the whole attempt: a denied address is judged by the guard that its connection was to be made
        // under.
        let guarded = self.guarded.load_full();
        let accepted_at = call.id.accepted_at();
        // The connector resolves names only: without this check an address in the url would be connected unseen.
        if let Err(blocked) = guarded.guards.present().check_literal(&call.url) {
            return self.denied(&guarded.guards, &blocked, accepted_at).into();
        }
        let Ok(client) = self.client_for(&guarded, call.options.as_ref()) else {
            return classify::without_tls().into();
        };
        let started = Instant::now();
        let total = call.timeout.unwrap_or(self.options.deadlines.total);
        let begun = Begun::default();
        if request::is_long_to_build(&call) {
            // The first poll of a call is made by the dispatcher's own task, which starts nothing else meanwhile.
            tokio::task::yield_now().await;
        }
        let kept = call.options.clone().filter(|options| options.keep_answers);
        let kept = kept.map(|options| (call.url.clone(), options));
        let credentials = call.options.as_ref().and_then(|options| options.credentials.clone());
        let Some(mut request) = request::build(call, self.clock.wall(), &begun) else {
            return classify::unbuildable().into();
        };
        let sent = match credentials.map(|credentials| credentials.add_to(request.headers_mut())) {
            Some(None) => return classify::without_token().into(),
            sent => sent.flatten(),
        };
        let mask = kept.map(|(url, options)| Mask::of(&url, request.headers(), &options));
        // A call with a shorter time of its own does not wait for the head beyond it.
        let head_end = started + self.options.deadlines.head.min(total);
        let head = timeout_at(head_end, client.request(request)).await;
        let response = match head {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                if let Some(blocked) = classify::blocked(&error) {
                    return self.denied(&guarded.guards, blocked, accepted_at).into();
                }
                let outcome = classify::failure(&error, begun.get());
                self.shortages.note(&outcome, self.clock.now());
                return outcome.into();
            }
            Err(_elapsed) => return classify::timed_out(begun.get()).into(),
        };
        let ended = self.judge(response, started + total, mask).await;
        match sent {
            Some(sent) => Ended { outcome: sent.judged(ended.outcome, self.clock.now()), ..ended },
            None => ended,
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

    /// What an answer means, with what is remarkable about it; with `mask` its beginning, too.
    async fn judge(&self, response: Response<Incoming>, deadline: Instant, mask: Option<Mask>) -> Ended {
        let systems = &*self.options.hears;
        // Before the body is read: afterwards another call may use the connection.
        let mended = heads::mended_of(&response);
        let (parts, body) = response.into_parts();
        let (status, headers, wall) = (parts.status, &parts.headers, self.wall());
        let by_head = classify::answer(systems, &Answer { status, headers, body: b"", wall });
        let decides = hears::may_be_told_by_body(systems, status, headers);
        // Never beyond the attempt's own time.
        let soon = deadline.min(Instant::now() + BODY_WAIT);
        let is_refusal = matches!(by_head.end(), Outcome::Reject { .. });
        let end = if decides && is_refusal { deadline } else { soon };
        let most = match (decides, &mask) {
            (true, _) => usize::MAX,
            (false, Some(_)) => excerpt::READ_BYTES,
            (false, None) => 0,
        };
        let mut came = Vec::new();
        let keep = |chunk: &[u8]| {
            let room = most.saturating_sub(came.len()).min(chunk.len());
            came.extend_from_slice(chunk.get(..room).unwrap_or_default());
        };
        let is_whole = timeout_at(end, read(body, keep)).await == Ok(true);
        let outcome = if decides && is_whole {
            // The time is read again: what an answer asks for counts from its end.
            classify::answer(systems, &Answer { status, headers, body: &came, wall: self.wall() })
        } else {
            // Whatever becomes of the body, the status stands: a code may be in the part that is missing.
            by_head
        };
        let answer = mask.map(|mask| {
            let first = came.get(..excerpt::READ_BYTES).unwrap_or(&came);
            mask.excerpt(&parts, first, is_whole && came.len() < excerpt::READ_BYTES)
        });
        let noticed = noticed::of(headers, &outcome, wall, mended, answer);
        Ended { outcome, noticed }
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
        let call = self.clone().call(call);
        Box::pin(async move { call.await.outcome })
    }

    fn attempt_noticing(&self, call: Call) -> BoxFuture<'static, Ended> {
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
async fn read(mut body: Incoming, mut take: impl FnMut(&[u8])) -> bool {
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
