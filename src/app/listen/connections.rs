//! The open connections: the table behind a lock, a signal that closes each one, and what is counted about them.
//!
//! Must not know: sockets, what is asked for.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use crate::app::listen::table::{Admitted, Caps, Class, ConnectionRefusal, ConnectionTable, Id};
use crate::telemetry::{ConnectionsClosed, ConnectionsOpen, ConnectionsRefused, defect};

/// Why a connection ended, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CloseCause {
    /// One of the two sides had nothing more to say.
    Done,
    /// No request came within the idle time.
    Idle,
    /// It was closed to make room for another connection.
    Evicted,
    /// A request head took too long.
    SlowHead,
    /// A request body came too slowly.
    SlowBody,
    /// An answer was taken too slowly.
    SlowReader,
    /// The connection or the protocol broke.
    Broken,
    /// The daemon stops: requests under way are finished, then it is closed.
    Stopping,
}

impl CloseCause {
    const ALL: [Self; 8] = [
        Self::Done,
        Self::Idle,
        Self::Evicted,
        Self::SlowHead,
        Self::SlowBody,
        Self::SlowReader,
        Self::Broken,
        Self::Stopping,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Idle => "idle",
            Self::Evicted => "evicted",
            Self::SlowHead => "slow_head",
            Self::SlowBody => "slow_body",
            Self::SlowReader => "slow_reader",
            Self::Broken => "broken",
            Self::Stopping => "stopping",
        }
    }
}

impl ConnectionRefusal {
    const ALL: [Self; 4] = [Self::Peer, Self::Full, Self::Reserved, Self::Evicted];

    const fn label(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Full => "full",
            Self::Reserved => "reserved",
            Self::Evicted => "evicted",
        }
    }

    fn count(self, count: u64) {
        ConnectionsRefused { cause: self.label(), count }.emit();
    }
}

/// All open connections of the listener.
#[derive(Debug)]
pub(super) struct Connections(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    table: ConnectionTable,
    /// Cancelled to have the connection closed for another one.
    evictions: HashMap<Id, CancellationToken>,
}

impl Inner {
    fn evict(&mut self, id: Id) {
        // Its task ends by itself once it sees the signal; nobody waits for it here.
        let eviction = self.evictions.remove(&id);
        defect!(unless eviction.is_some(), "a connection that is to be closed and has no signal for it");
        if let Some(eviction) = eviction {
            eviction.cancel();
        }
    }

    fn show(&self) {
        let [ordinary, reserved] = [Class::Ordinary, Class::Reserved].map(|class| self.table.count_of(class));
        defect!(unless self.evictions.len() == ordinary + reserved, "an open connection that cannot be closed");
        ConnectionsOpen { ordinary, reserved }.emit();
    }
}

impl Connections {
    pub(super) fn new(caps: Caps) -> Arc<Self> {
        for cause in CloseCause::ALL {
            ConnectionsClosed { cause: cause.label(), count: 0 }.emit();
        }
        for refusal in ConnectionRefusal::ALL {
            refusal.count(0);
        }
        let this = Self(Mutex::new(Inner { table: ConnectionTable::new(caps), evictions: HashMap::new() }));
        this.lock().show();
        Arc::new(this)
    }

    /// Takes in a connection that was accepted from `peer`.
    ///
    /// # Errors
    /// The [`ConnectionRefusal`], counted, when there is no room for it.
    pub(super) fn admit(
        self: &Arc<Self>,
        peer: IpAddr,
        now: Instant,
    ) -> Result<Arc<Connection>, ConnectionRefusal> {
        let mut inner = self.lock();
        let Admitted { id, evicted } =
            inner.table.admit(counted(peer), now).inspect_err(|refusal| refusal.count(1))?;
        if let Some(evicted) = evicted {
            inner.evict(evicted);
        }
        let eviction = CancellationToken::new();
        inner.evictions.insert(id, eviction.clone());
        inner.show();
        Ok(Arc::new(Connection {
            all: self.clone(),
            id,
            eviction,
            has_served: OnceLock::new(),
            cause: OnceLock::new(),
        }))
    }

    /// Closes up to `count` connections, those that have been idle longest, because the system has none to give.
    /// Returns how many.
    pub(super) fn make_room(&self, count: usize) -> usize {
        let mut inner = self.lock();
        let closed: Vec<Id> = std::iter::from_fn(|| inner.table.make_room()).take(count).collect();
        closed.iter().for_each(|id| inner.evict(*id));
        inner.show();
        closed.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic ends the connection of its own task: the table is still needed for all the others.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A peer whose connections are counted: any but this machine's loopback, which many callers share.
fn counted(peer: IpAddr) -> Option<IpAddr> {
    let peer = peer.to_canonical();
    (!peer.is_loopback()).then_some(peer)
}

/// An open connection. It is in the table until it is dropped or closed for another one.
#[derive(Debug)]
pub(super) struct Connection {
    all: Arc<Connections>,
    id: Id,
    eviction: CancellationToken,
    has_served: OnceLock<()>,
    cause: OnceLock<CloseCause>,
}

impl Connection {
    /// Returns when another connection needs the room.
    pub(super) fn evicted(&self) -> WaitForCancellationFuture<'_> {
        self.eviction.cancelled()
    }

    /// Whether a request has ever been read from it.
    pub(super) fn has_served(&self) -> bool {
        self.has_served.get().is_some()
    }

    /// Notes why it ends; the first reason counts.
    pub(super) fn ends_because(&self, cause: CloseCause) {
        // Set before: it stays as it was.
        let _ = self.cause.set(cause);
    }

    /// Why it ends, once that is known.
    pub(super) fn cause(&self) -> Option<CloseCause> {
        self.cause.get().copied()
    }

    /// The first byte of a request head has come.
    pub(super) fn head_started(&self, now: Instant) {
        self.all.lock().table.head_started(self.id, now);
    }

    /// The head of a request is complete: the connection is busy until the returned value is dropped.
    ///
    /// # Errors
    /// The [`ConnectionRefusal`], counted, when the request must not be served.
    pub(super) fn request_started(self: &Arc<Self>, is_for_events: bool) -> Result<Busy, ConnectionRefusal> {
        let _ = self.has_served.set(());
        let mut inner = self.all.lock();
        let started = inner.table.request_started(self.id, is_for_events);
        let evicted = started.inspect_err(|refusal| refusal.count(1))?;
        if let Some(evicted) = evicted {
            inner.evict(evicted);
        }
        inner.show();
        Ok(Busy(self.clone()))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut inner = self.all.lock();
        inner.table.closed(self.id);
        inner.evictions.remove(&self.id);
        inner.show();
        // Without a reason of ours both sides had simply nothing more to say.
        let cause = self.cause.get().copied().unwrap_or(CloseCause::Done);
        ConnectionsClosed { cause: cause.label(), count: 1 }.emit();
    }
}

/// A request under way: its connection is idle again once this is dropped.
pub(super) struct Busy(Arc<Connection>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.all.lock().table.request_ended(self.0.id, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_not_counted_however_it_is_spelt() {
        for peer in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(counted(peer.parse().expect("an address")), None, "{peer}");
        }
        let same = ["192.0.2.1", "::ffff:192.0.2.1"].map(|peer| counted(peer.parse().expect("an address")));
        assert!(same[0].is_some() && same[0] == same[1], "{same:?}");
    }
}
