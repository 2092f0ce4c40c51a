//! One question to the name servers: over UDP, and over TCP when the answer was cut. IPv4 and IPv6 addresses are asked for
//! at the same time.
//!
//! A server that does not answer, fails or answers garbage is passed over for the next one; the one that answered last is
//! asked first the next time. Names of the search list are tried in turn as long as the answer is that they do not exist.
//! As in the C library, SERVFAIL for one of them does not end the search; no answer at all does.
//!
//! Must not know: what is cached, which addresses may be called.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::time::timeout;

use super::system::Servers;
use crate::event::{NameFailure, Shortage};
use crate::telemetry::defect;

/// How long the addresses of the other kind are waited for once those of one kind are there. A server that drops the
/// questions of one kind must not cost every call its whole timeout.
const OTHER_KIND_WAIT: Duration = Duration::from_millis(300);

/// What the servers said about one name, or why they said nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    /// The addresses; never an empty list, which would be [`NameFailure::NoAddress`].
    pub(super) answer: Result<Vec<IpAddr>, NameFailure>,
    /// How long it holds, where they said so.
    pub(super) ttl: Option<Duration>,
}

impl Reply {
    pub(super) const fn failed(failure: NameFailure) -> Self {
        Self { answer: Err(failure), ttl: None }
    }

    fn is_failure(&self, failure: NameFailure) -> bool {
        self.answer == Err(failure)
    }
}

/// A name server of `resolv.conf` with its sockets.
pub(super) struct ConfiguredServer {
    /// `None` when it could not be set up.
    resolver: Option<TokioResolver>,
}

/// Asks for a name as an application gives it.
pub(super) async fn ask(servers: &Servers, first: &AtomicUsize, name: &str) -> Reply {
    let mut whole = Reply::failed(NameFailure::NoSuchName);
    for candidate in servers.candidates(name) {
        let reply = ask_any(&servers.list, first, &candidate).await;
        match reply.answer {
            // What is known of a name that exists says more than that another does not.
            Err(NameFailure::NoSuchName) if !whole.is_failure(NameFailure::NoSuchName) => {}
            Err(NameFailure::NoAddress) if whole.is_failure(NameFailure::ServerFailed) => {}
            Err(NameFailure::NoSuchName | NameFailure::NoAddress | NameFailure::ServerFailed) => {
                whole = reply;
            }
            Ok(_) | Err(_) => return reply,
        }
    }
    whole
}

/// Asks the servers in turn, the one that answered last before the others.
async fn ask_any(servers: &[ConfiguredServer], first: &AtomicUsize, name: &Name) -> Reply {
    let start = first.load(Ordering::Relaxed);
    let mut failed = Reply::failed(NameFailure::Unreachable);
    // Only what a server answers is final: after a failure the next one may know more.
    for step in 0..servers.len() {
        // `start` may come from a question to an older, longer list.
        let index = (start + step) % servers.len();
        let Some(server) = servers.get(index) else {
            defect!("a name server beyond the end of the list");
            continue;
        };
        let reply = server.ask(name).await;
        match reply.answer {
            Err(
                NameFailure::Timeout
                | NameFailure::Unreachable
                | NameFailure::Refused
                | NameFailure::ServerFailed
                | NameFailure::Garbled,
            ) => failed = reply,
            Ok(_) | Err(_) => {
                // A server that is down costs its timeout once and not for every name.
                first.store(index, Ordering::Relaxed);
                return reply;
            }
        }
    }
    failed
}

impl ConfiguredServer {
    /// `timeout` is the longest for one question, repetitions included.
    pub(super) fn new(
        mut server: NameServerConfig,
        port: u16,
        options: &ResolverOpts,
        timeout: Duration,
    ) -> Self {
        for connection in &mut server.connections {
            connection.port = port;
        }
        let config = ResolverConfig::from_name_servers(vec![server]);
        let provider = TokioRuntimeProvider::default();
        let mut builder = TokioResolver::builder_with_config(config, provider);
        let own = builder.options_mut();
        own.timeout = timeout;
        own.edns0 = options.edns0;
        // Repetitions of the question go out within `timeout`; the next server is tried by `ask_any`.
        own.attempts = 0;
        // Answers are kept by the table, and hosts are looked up before it.
        own.cache_size = 0;
        own.use_hosts_file = ResolveHosts::Never;
        Self { resolver: builder.build().ok() }
    }

    async fn ask(&self, name: &Name) -> Reply {
        let Some(resolver) = &self.resolver else { return Reply::failed(NameFailure::Shortage) };
        let of = async |kind| reply(resolver.lookup(name.clone(), kind).await);
        let (v6, v4) = (pin!(of(RecordType::AAAA)), pin!(of(RecordType::A)));
        match select(v6, v4).await {
            Either::Left((v6, v4)) => merge(v6.clone(), other(&v6, v4).await),
            Either::Right((v4, v6)) => merge(other(&v4, v6).await, v4),
        }
    }
}

/// The reply to the other question: waited for to its end only when the first one brought no address.
async fn other(first: &Reply, other: impl Future<Output = Reply>) -> Reply {
    if first.answer.is_err() {
        return other.await;
    }
    timeout(OTHER_KIND_WAIT, other).await.unwrap_or(Reply::failed(NameFailure::Timeout))
}

/// The reply for a name from those for its two kinds of addresses.
fn merge(v6: Reply, v4: Reply) -> Reply {
    // The reply holds only as long as both of its parts.
    let ttl = match (v6.ttl, v4.ttl) {
        (Some(v6), Some(v4)) => Some(v6.min(v4)),
        (one, other) => one.or(other),
    };
    let answer = match (v6.answer, v4.answer) {
        (Ok(mut addresses), Ok(more)) => {
            addresses.extend(more);
            Ok(addresses)
        }
        (Ok(addresses), Err(_)) => return Reply { answer: Ok(addresses), ttl: v6.ttl },
        (Err(_), Ok(addresses)) => return Reply { answer: Ok(addresses), ttl: v4.ttl },
        // What is not known of one kind weighs more than the absence of the other.
        (Err(one), Err(other)) if one.is_an_answer() && other.is_an_answer() => {
            let exists = NameFailure::NoAddress;
            Err(if one == exists || other == exists { exists } else { one })
        }
        (Err(one), Err(other)) => Err(if one.is_an_answer() { other } else { one }),
    };
    Reply { answer, ttl }
}

fn reply(result: Result<Lookup, NetError>) -> Reply {
    let lookup = match result {
        Ok(lookup) => lookup,
        Err(error) => return Reply { answer: Err(failure(&error)), ttl: absence_ttl(&error) },
    };
    let addresses: Vec<IpAddr> = lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect();
    // Over all records of the answer, aliases on the way included: one that ends sooner may lead elsewhere then.
    let ttl = lookup.answers().iter().map(|record| record.ttl).min();
    let answer = if addresses.is_empty() { Err(NameFailure::NoAddress) } else { Ok(addresses) };
    Reply { answer, ttl: ttl.map(|seconds| Duration::from_secs(seconds.into())) }
}

fn failure(error: &NetError) -> NameFailure {
    match error {
        NetError::Timeout => NameFailure::Timeout,
        NetError::Busy => NameFailure::Shortage,
        // Before other failures of a socket: without a descriptor of ours no server was asked.
        NetError::Io(error) if Shortage::of(error).is_some() => NameFailure::Shortage,
        NetError::Io(_) | NetError::NoConnections => NameFailure::Unreachable,
        NetError::Dns(DnsError::NoRecordsFound(_)) if error.is_nx_domain() => NameFailure::NoSuchName,
        NetError::Dns(DnsError::NoRecordsFound(_)) => NameFailure::NoAddress,
        NetError::Dns(DnsError::ResponseCode(ResponseCode::Refused)) => NameFailure::Refused,
        NetError::Dns(_) => NameFailure::ServerFailed,
        _ => NameFailure::Garbled,
    }
}

/// The negative TTL of the zone (RFC 2308).
fn absence_ttl(error: &NetError) -> Option<Duration> {
    let NetError::Dns(DnsError::NoRecordsFound(found)) = error else { return None };
    found.negative_ttl.map(|seconds| Duration::from_secs(seconds.into()))
}

#[cfg(test)]
mod tests {
    use std::io;

    use rustix::io::Errno;

    use super::*;

    fn found(addresses: &[&str], seconds: u64) -> Reply {
        let addresses = addresses.iter().map(|text| text.parse().expect("an address")).collect();
        Reply { answer: Ok(addresses), ttl: Some(Duration::from_secs(seconds)) }
    }

    fn absent(failure: NameFailure, seconds: u64) -> Reply {
        Reply { answer: Err(failure), ttl: Some(Duration::from_secs(seconds)) }
    }

    #[test]
    fn both_kinds_of_addresses_make_one_reply() {
        use NameFailure::{NoAddress, NoSuchName, ServerFailed, Timeout};
        let failed = Reply::failed;
        for (v6, v4, wanted) in [
            (found(&["::1"], 9), found(&["10.0.0.1"], 5), found(&["::1", "10.0.0.1"], 5)),
            (absent(NoAddress, 3), found(&["10.0.0.1"], 60), found(&["10.0.0.1"], 60)),
            (found(&["::1"], 60), failed(Timeout), found(&["::1"], 60)),
            (absent(NoAddress, 3), absent(NoSuchName, 4), absent(NoAddress, 3)),
            (absent(NoSuchName, 3), absent(NoSuchName, 4), absent(NoSuchName, 3)),
            (failed(Timeout), failed(ServerFailed), failed(Timeout)),
        ] {
            assert_eq!(merge(v6, v4), wanted);
        }
        // That there is no address of one kind proves nothing about the other.
        assert_eq!(merge(absent(NoAddress, 3), failed(Timeout)).answer, Err(Timeout));
        assert_eq!(merge(failed(ServerFailed), absent(NoSuchName, 3)).answer, Err(ServerFailed));
    }

    #[test]
    fn a_shortage_of_ours_is_told_apart() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL] {
            assert_eq!(failure(&NetError::from(io::Error::from(errno))), NameFailure::Shortage, "{errno}");
        }
        for errno in [Errno::NETUNREACH, Errno::CONNREFUSED, Errno::ACCESS] {
            assert_eq!(failure(&NetError::from(io::Error::from(errno))), NameFailure::Unreachable, "{errno}");
        }
    }
}
