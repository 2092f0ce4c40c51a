//! Where an event stands, through its whole life.

use super::World;
use crate::event::{EventId, Settlement};
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
    world.load().await;
    let standing = world.queue.standing(id, &TakenUp(Some(3))).await.expect("reads");
    assert_eq!(standing.word(), Some("ready"));
    assert_eq!(standing.waiting().and_then(|waiting| waiting.place), Some(3));
    // The control: the same entry when its call has started.
    let standing = world.queue.standing(id, &TakenUp(None)).await.expect("reads");
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
}
