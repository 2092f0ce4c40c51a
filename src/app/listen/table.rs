//! The table of open connections: how many there are, what each is doing, and which is closed when there is no room.
//!
//! ```text
//! accepted -> an ordinary connection; at the cap in the place of the one that has been idle longest;
//!             when all of these are busy, a connection of the reserve, which serves everything but events
//! ```
//!
//! A busy connection is never closed for another one. In the reserve a connection whose request head is not complete
//! may be, because the requests that the reserve is for are short. A peer that counts has few connections in all.
//!
//! Pure: time is an argument. There are a few thousand connections at most, so that each search may look at all.
//!
//! Must not know: sockets, tasks, routes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use tokio::time::Instant;

use crate::telemetry::defect;

/// How many connections there may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caps {
    /// Most connections that serve every request.
    pub(super) ordinary: usize,
    /// Connections beyond those that serve everything but events.
    pub(super) reserved: usize,
    /// Connections of one peer, where the peer counts.
    pub(super) per_peer: usize,
}

/// Names a connection; no two have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Id(u64);

/// Which cap a connection falls under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// It serves every request, those for events included.
    Ordinary,
    /// It serves probes, metrics and management.
    Reserved,
}

/// Why a connection or a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionRefusal {
    /// The peer is at its cap and all its connections are busy.
    Peer,
    /// All connections are busy, those of the reserve too.
    Full,
    /// The connection is of the reserve and the request hands in or asks for events.
    Reserved,
    /// The connection is being closed for another one.
    Evicted,
}

/// A connection that was taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Admitted {
    pub(super) id: Id,
    /// Has to be closed for it, and is not in the table any more.
    pub(super) evicted: Option<Id>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ConnectionState {
    /// Between requests since then: it may be closed for another one.
    Idle(Instant),
    /// A request head has been arriving since then.
    Head(Instant),
    /// A request is under way: it is not closed for another one.
    Busy,
}

#[derive(Debug)]
struct OpenConnection {
    peer: Option<IpAddr>,
    class: Class,
    state: ConnectionState,
}

/// The open connections of the doors: which are idle, since when, and how many each peer has.
#[derive(Debug)]
pub(super) struct ConnectionTable {
    caps: Caps,
    open: BTreeMap<Id, OpenConnection>,
    next: u64,
}

impl ConnectionTable {
    pub(super) const fn new(caps: Caps) -> Self {
        Self { caps, open: BTreeMap::new(), next: 0 }
    }

    /// A connection was accepted. `peer` is `None` where the cap per peer does not apply.
    ///
    /// # Errors
    /// The [`ConnectionRefusal`] when there is no room for it.
    pub(super) fn admit(
        &mut self,
        peer: Option<IpAddr>,
        now: Instant,
    ) -> Result<Admitted, ConnectionRefusal> {
        let of_peer = |one: &OpenConnection| peer.is_some() && one.peer == peer;
        // A peer at its cap makes room among its own connections and never at the cost of others.
        if peer.is_some() && self.count(of_peer) >= self.caps.per_peer {
            let (evicted, class) = self.evict_idle(of_peer).ok_or(ConnectionRefusal::Peer)?;
            return Ok(self.insert(peer, class, now, Some(evicted)));
        }
        if self.has_room() {
            return Ok(self.insert(peer, Class::Ordinary, now, None));
        }
        if let Some((evicted, class)) = self.evict_idle(|one| one.class == Class::Ordinary) {
            return Ok(self.insert(peer, class, now, Some(evicted)));
        }
        if self.count_of(Class::Reserved) < self.caps.reserved {
            return Ok(self.insert(peer, Class::Reserved, now, None));
        }
        let evicted = self.evict_idle(|one| one.class == Class::Reserved);
        let (evicted, class) = evicted.or_else(|| self.evict_slow_head()).ok_or(ConnectionRefusal::Full)?;
        Ok(self.insert(peer, class, now, Some(evicted)))
    }

    /// Returns the connection that has been idle longest, of whichever class. It has left the table and has to be
    /// closed.
    pub(super) fn make_room(&mut self) -> Option<Id> {
        self.evict_idle(|_| true).map(|(id, _)| id)
    }

    /// The first byte of a request head has come.
    pub(super) fn head_started(&mut self, id: Id, now: Instant) {
        if let Some(one) = self.open.get_mut(&id)
            && matches!(one.state, ConnectionState::Idle(_))
        {
            one.state = ConnectionState::Head(now);
        }
    }

    /// The head of a request is complete. Returns a connection that has to be closed so that this one, of the reserve
    /// until now, can be an ordinary one.
    ///
    /// # Errors
    /// The [`ConnectionRefusal`] when the request must not be served.
    pub(super) fn request_started(
        &mut self,
        id: Id,
        is_for_events: bool,
    ) -> Result<Option<Id>, ConnectionRefusal> {
        let class = self.open.get(&id).map(|one| one.class).ok_or(ConnectionRefusal::Evicted)?;
        let mut evicted = None;
        let class = match class {
            // As soon as there is room it becomes an ordinary one, and its place in the reserve is free again.
            Class::Reserved if self.has_room() => Class::Ordinary,
            // The reserve serves no events: an idle ordinary connection gives its place, or the request is refused.
            Class::Reserved if is_for_events => {
                let (idle, class) =
                    self.evict_idle(|one| one.class == Class::Ordinary).ok_or(ConnectionRefusal::Reserved)?;
                evicted = Some(idle);
                class
            }
            class => class,
        };
        let one = self.open.get_mut(&id);
        defect!(unless one.is_some(), "a connection that was closed to make room for itself");
        if let Some(one) = one {
            (one.class, one.state) = (class, ConnectionState::Busy);
        }
        Ok(evicted)
    }

    /// The answer is complete: the connection is idle from now on.
    pub(super) fn request_ended(&mut self, id: Id, now: Instant) {
        if let Some(one) = self.open.get_mut(&id) {
            one.state = ConnectionState::Idle(now);
        }
    }

    /// The connection has ended; one that was evicted has left the table before.
    pub(super) fn closed(&mut self, id: Id) {
        self.open.remove(&id);
    }

    /// How many connections of a class are open.
    pub(super) fn count_of(&self, class: Class) -> usize {
        self.count(|one| one.class == class)
    }

    fn has_room(&self) -> bool {
        self.count_of(Class::Ordinary) < self.caps.ordinary
    }

    fn count(&self, which: impl Fn(&OpenConnection) -> bool) -> usize {
        self.open.values().filter(|one| which(one)).count()
    }

    fn insert(&mut self, peer: Option<IpAddr>, class: Class, now: Instant, evicted: Option<Id>) -> Admitted {
        let id = Id(self.next);
        self.next += 1;
        self.open.insert(id, OpenConnection { peer, class, state: ConnectionState::Idle(now) });
        // Either there was room, or an evicted connection has made it.
        let caps = self.caps.ordinary + self.caps.reserved;
        defect!(unless self.open.len() <= caps, "more connections than there may be");
        Admitted { id, evicted }
    }

    /// Removes the connection among `which` that has been idle longest.
    fn evict_idle(&mut self, which: impl Fn(&OpenConnection) -> bool) -> Option<(Id, Class)> {
        self.evict_oldest(|one| match one.state {
            ConnectionState::Idle(since) if which(one) => Some(since),
            _ => None,
        })
    }

    /// Removes the connection of the reserve whose head has been arriving longest.
    fn evict_slow_head(&mut self) -> Option<(Id, Class)> {
        self.evict_oldest(|one| match one.state {
            ConnectionState::Head(since) if one.class == Class::Reserved => Some(since),
            _ => None,
        })
    }

    fn evict_oldest(&mut self, since: impl Fn(&OpenConnection) -> Option<Instant>) -> Option<(Id, Class)> {
        let candidates = self.open.iter().filter_map(|(id, one)| Some((since(one)?, *id)));
        let (_, id) = candidates.min()?;
        let one = self.open.remove(&id)?;
        Some((id, one.class))
    }
}

#[cfg(test)]
mod tests;
