//! The table of connections, with time as an argument.

use std::time::Duration;

use super::*;

const CAPS: Caps = Caps { ordinary: 3, reserved: 2, per_peer: 2 };

struct World {
    table: ConnectionTable,
    now: Instant,
}

fn world() -> World {
    World { table: ConnectionTable::new(CAPS), now: Instant::now() }
}

impl World {
    fn tick(&mut self) -> Instant {
        self.now += Duration::from_secs(1);
        self.now
    }

    fn admit(&mut self) -> Admitted {
        self.admit_of(None).expect("room")
    }

    fn admit_of(&mut self, peer: Option<IpAddr>) -> Result<Admitted, ConnectionRefusal> {
        let now = self.tick();
        self.table.admit(peer, now)
    }

    fn busy(&mut self) -> Id {
        let id = self.admit().id;
        assert_eq!(self.table.request_started(id, true), Ok(None));
        id
    }

    fn rests(&mut self, id: Id) {
        let now = self.tick();
        self.table.request_ended(id, now);
    }
}

fn peer(last: u8) -> Option<IpAddr> {
    Some([192, 0, 2, last].into())
}

#[test]
fn at_the_cap_the_connection_that_was_idle_longest_is_closed() {
    let mut world = world();
    let ids: Vec<Id> = (0..3).map(|_| world.busy()).collect();
    for id in [ids[1], ids[0], ids[2]] {
        world.rests(id);
    }
    // A second request makes it the youngest again.
    assert_eq!(world.table.request_started(ids[1], true), Ok(None));
    world.rests(ids[1]);
    let closed: Vec<_> = (0..3).map(|_| world.admit().evicted).collect();
    assert_eq!(closed, [Some(ids[0]), Some(ids[2]), Some(ids[1])]);
    assert_eq!(world.table.count_of(Class::Ordinary), 3);
}

#[test]
fn a_busy_connection_is_never_closed_for_another() {
    let mut world = world();
    let busy = [world.busy(), world.busy(), world.busy()];
    for _ in 0..20 {
        let evicted = world.admit().evicted;
        assert!(evicted.is_none_or(|id| !busy.contains(&id)), "{evicted:?}");
    }
    assert_eq!((world.table.count_of(Class::Ordinary), world.table.count_of(Class::Reserved)), (3, 2));
    // The control: the same connection may be closed once its answer is complete.
    world.rests(busy[1]);
    assert_eq!(world.admit().evicted, Some(busy[1]));
}

#[test]
fn an_incomplete_head_counts_as_under_way_but_not_in_the_reserve() {
    let mut world = world();
    for _ in 0..3 {
        let id = world.admit().id;
        let now = world.tick();
        world.table.head_started(id, now);
    }
    let first = world.admit();
    assert_eq!(first.evicted, None, "of the reserve");
    let second = world.admit();
    for id in [second.id, first.id] {
        let now = world.tick();
        world.table.head_started(id, now);
    }
    assert_eq!(world.admit().evicted, Some(second.id), "the slowest head of the reserve");
}

#[test]
fn the_reserve_serves_everything_but_events() {
    let mut world = world();
    let busy = [world.busy(), world.busy(), world.busy()];
    let reserved = world.admit().id;
    assert_eq!(world.table.request_started(reserved, false), Ok(None));
    assert_eq!(world.table.count_of(Class::Reserved), 1);
    world.rests(reserved);
    assert_eq!(world.table.request_started(reserved, true), Err(ConnectionRefusal::Reserved));
    // With an idle ordinary connection the same request is served in its place.
    world.rests(busy[0]);
    assert_eq!(world.table.request_started(reserved, true), Ok(Some(busy[0])));
    assert_eq!((world.table.count_of(Class::Ordinary), world.table.count_of(Class::Reserved)), (3, 0));
    assert_eq!(world.table.request_started(busy[0], true), Err(ConnectionRefusal::Evicted));
}

#[test]
fn a_connection_of_the_reserve_becomes_an_ordinary_one_when_there_is_room() {
    let mut world = world();
    let busy = [world.busy(), world.busy(), world.busy()];
    let reserved = world.admit().id;
    world.table.closed(busy[2]);
    assert_eq!(world.table.request_started(reserved, false), Ok(None));
    assert_eq!((world.table.count_of(Class::Ordinary), world.table.count_of(Class::Reserved)), (3, 0));
}

#[test]
fn with_all_busy_a_connection_is_refused() {
    let mut world = world();
    for _ in 0..3 {
        world.busy();
    }
    for _ in 0..2 {
        let id = world.admit().id;
        assert_eq!(world.table.request_started(id, false), Ok(None));
    }
    assert_eq!(world.admit_of(None), Err(ConnectionRefusal::Full));
}

#[test]
fn a_peer_has_few_connections_and_only_its_own_idle_ones_are_closed_for_it() {
    let mut world = world();
    let other = world.admit().id;
    let first = world.admit_of(peer(1)).expect("room");
    let second = world.admit_of(peer(1)).expect("room");
    assert_eq!(world.table.request_started(first.id, true), Ok(None));
    let third = world.admit_of(peer(1)).expect("room");
    assert_eq!(third.evicted, Some(second.id), "not {other:?}, which is idle longer");
    assert_eq!(world.table.request_started(third.id, true), Ok(None));
    assert_eq!(world.admit_of(peer(1)), Err(ConnectionRefusal::Peer));
    // The control: another peer and one that does not count find room.
    assert!(world.admit_of(peer(2)).is_ok());
    assert!(world.admit_of(None).is_ok());
}

#[test]
fn without_descriptors_the_longest_idle_are_closed_and_busy_ones_never() {
    let mut world = world();
    let (busy, idle, head) = (world.busy(), world.admit().id, world.admit().id);
    world.table.head_started(head, world.now);
    let closed: Vec<Id> = std::iter::from_fn(|| world.table.make_room()).collect();
    assert_eq!(closed, [idle]);
    assert_eq!(world.table.count_of(Class::Ordinary), 2);
    world.rests(busy);
    assert_eq!(world.table.make_room(), Some(busy), "the control: at rest it is closed as well");
}
