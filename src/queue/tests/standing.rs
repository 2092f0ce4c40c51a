//! Where an event stands, through its whole life.

use super::World;
use crate::event::{EventId, Settlement, Tries};
use crate::queue::testing::TakenUp;
use crate::queue::*;

#[tokio::test]
async fn standing_tells_where_an_event_is() {
    let world = World::start().await;
    let ready = world.accept(0..1, None).await[0];
    let delayed = world.accept(1..2, Some(Duration::from_secs(9))).await[0];
    assert!(matches!(world.standing(ready).await, Ok(Standing::Ready(_))));
    assert!(matches!(world.standing(delayed).await, Ok(Standing::Delayed(_))));
    let entry = world.load().await.entries.remove(0);
    assert!(matches!(world.standing(ready).await, Ok(Standing::Ready(_))));
    world.queue.started(&entry);
    assert!(matches!(world.standing(ready).await, Ok(Standing::InFlight(_))));
    world.queue.settle(&entry, Settlement::Expired);
    world.queue.flush().await;
    assert!(
        matches!(world.standing(ready).await, Ok(Standing::Settled(Some(known))) if known.end == End::Expired)
    );
    assert!(matches!(world.standing(EventId::new(1, 1)).await, Ok(Standing::Unknown)));
}

#[tokio::test]
async fn what_is_read_ahead_and_not_started_waits_for_its_turn() {
    let world = World::start().await;
    let id = world.accept(0..1, None).await[0];
    let entry = world.load().await.entries.remove(0);
    let here = || {
        let Ledger { ready, delayed, inflight, .. } = world.queue.ledger();
        let counts = world.queue.counts().remove(0);
        assert_eq!((counts.ready, counts.delayed, counts.inflight), (ready, delayed, inflight));
        (ready, delayed, inflight)
    };
    assert_eq!(here(), (1, 0, 0));
    let standing = world.queue.standing(id, &TakenUp(Some(3))).await.expect("reads");
    assert_eq!(standing.word(), Some("ready"));
    assert_eq!(standing.waiting().and_then(|waiting| waiting.place), Some(3));
    // The control: the same entry when its call has started.
    world.queue.started(&entry);
    assert_eq!(here(), (0, 0, 1));
    let standing = world.queue.standing(id, &TakenUp(Some(3))).await.expect("reads");
    assert_eq!(standing.word(), Some("inflight"));
    assert_eq!(standing.waiting().and_then(|waiting| waiting.place), None);
}

#[tokio::test]
async fn what_became_due_and_is_read_ahead_is_ready() {
    let world = World::start().await;
    let id = world.accept(0..1, Some(Duration::from_secs(5))).await[0];
    world.clock.advance(Duration::from_secs(5));
    assert_eq!(world.load().await.entries.len(), 1);
    let standing = world.queue.standing(id, &TakenUp(Some(0))).await.expect("reads");
    assert!(matches!(standing, Standing::Ready(waiting) if waiting.due_at.is_some()));
    let Ledger { ready, delayed, inflight, .. } = world.queue.ledger();
    assert_eq!((ready, delayed, inflight), (1, 0, 0));
}

/// A call that is put off or given up is in flight no more, and one that comes late starts nothing.
#[tokio::test]
async fn what_has_started_is_in_flight_until_its_end_is_booked() {
    let world = World::start().await;
    world.accept(0..3, None).await;
    let entries = world.load().await.entries;
    entries.iter().for_each(|entry| world.queue.started(entry));
    world.queue.started(&entries[0]);
    let here = || {
        let Ledger { ready, delayed, inflight, .. } = world.queue.ledger();
        (ready, delayed, inflight)
    };
    assert_eq!(here(), (0, 0, 3), "each once");
    let due_at = world.clock.now() + Duration::from_secs(9);
    let put_off = Settlement::Reschedule { due_at, tries: Tries::of(1), doubted_at: None };
    world.queue.settle(&entries[0], put_off);
    world.queue.settle(&entries[1], Settlement::Delivered);
    world.queue.flush().await;
    assert_eq!(here(), (0, 1, 1));
    world.queue.started(&entries[1]);
    assert_eq!(here(), (0, 1, 1), "it has ended");
    world.clock.advance(Duration::from_secs(9));
    let again = world.load().await.entries.remove(0);
    assert_eq!(here(), (1, 0, 1));
    world.queue.started(&again);
    assert_eq!(here(), (0, 0, 2));
    world.queue.give_up(GiveUp::Lane(again.lane.clone())).await.expect("gives up");
    assert_eq!(here(), (0, 0, 0));
}
