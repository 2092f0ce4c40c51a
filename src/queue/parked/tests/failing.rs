//! What a failure of the store leaves: nothing is twice, nothing is told to be absent, nothing stays half done.

use super::*;
use crate::store::StoreError;

/// As long as what is left half done is tried again for certain.
async fn after_a_while() {
    tokio::time::sleep(Duration::from_secs(2)).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_handed_in_and_not_taken_is_taken_without_another_change() {
    let world = World::start().await;
    let ids = world.dead(2).await;
    let letters = world.letters().await;
    world.store.fail_next(FailPoint::Take);
    let batch = vec![(letters[0].clone(), remade(&letters[0].letter))];
    let unknown = world.parked.turn().await.expect("a turn").redrive(batch).await;
    assert!(matches!(unknown, Err(QueueError::Store(StoreError::OutcomeUnknown))), "{unknown:?}");
    assert_eq!(
        (world.store.dead_letters().len(), world.names().await),
        (2, ids[1..].to_vec()),
        "the control"
    );
    after_a_while().await;
    assert_eq!(world.store.dead_letters().len(), 1);
    assert!(world.parked.0.hidden().is_empty());
    assert_eq!(world.check(&ids).await, 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_start_cannot_take_it_takes_later() {
    let world = World::start().await;
    let ids = world.dead(2).await;
    steps(&world, 2).await;
    world.queue.flush().await;
    let store = world.store.crash();
    store.fail_next(FailPoint::Take);
    let world = World::over(store, world.clock.clone()).await;
    assert_eq!(
        (world.store.dead_letters().len(), world.names().await),
        (2, ids[1..].to_vec()),
        "the control"
    );
    after_a_while().await;
    assert_eq!(world.store.dead_letters().len(), 1);
    assert_eq!(world.check(&ids).await, 1);
}

#[tokio::test]
async fn a_letter_of_which_it_cannot_be_read_whether_it_is_one_is_not_told_to_be_absent() {
    let world = World::start().await;
    let ids = world.dead(1).await;
    let letter = world.letters().await.remove(0);
    world.store.fail_next(FailPoint::Lookup);
    let page = world.parked.page(LetterOrder::OldestFirst, None, PAGE).await;
    assert!(page.is_err(), "{page:?}");
    world.store.fail_next(FailPoint::Lookup);
    let found = world.parked.find(ids[0]).await;
    assert!(found.is_err(), "{found:?}");
    assert_eq!(world.parked.find(ids[0]).await.expect("reads"), std::slice::from_ref(&letter), "the control");
    // It was purged, and is to come back.
    let mut turn = world.parked.turn().await.expect("a turn");
    assert_eq!(turn.purge(vec![letter.place]).await.expect("purged"), 1);
    world.store.fail_next(FailPoint::Lookup);
    let added = turn.import(vec![letter.letter.clone()]).await;
    assert!(added.is_err(), "{added:?}");
    assert_eq!(turn.import(vec![letter.letter]).await.expect("added"), Imported::Added(1), "the control");
}

async fn is_noted(world: &World) -> bool {
    world.store.get("redrives").await.expect("reads").is_some_and(|(_, body)| !body.is_empty())
}

#[tokio::test(start_paused = true)]
async fn a_redrive_that_was_refused_leaves_no_note_behind() {
    let world = World::start().await;
    let ids = world.dead(1).await;
    let letters = world.letters().await;
    let mut big = remade(&letters[0].letter);
    big.event.body = vec![b'x'; crate::store::MAX_RECORD_BYTES + 1].into();
    let refused = world.parked.turn().await.expect("a turn").redrive(vec![(letters[0].clone(), big)]).await;
    assert!(matches!(refused, Err(QueueError::Store(StoreError::TooLarge { .. }))), "{refused:?}");
    assert!(!is_noted(&world).await, "backups wait for it");
    assert!(world.parked.0.turn.lock().await.is_over());
    assert_eq!(world.check(&ids).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_note_that_could_not_be_cleared_is_cleared_later() {
    let world = World::start().await;
    let ids = world.dead(1).await;
    steps(&world, 3).await;
    world.queue.flush().await;
    let store = world.store.crash();
    store.fail_next(FailPoint::Put);
    let world = World::over(store, world.clock.clone()).await;
    assert!(is_noted(&world).await, "the control");
    after_a_while().await;
    assert!(!is_noted(&world).await);
    assert_eq!(world.check(&ids).await, 1);
}

/// A letter of this entry, parked now.
fn letter_of(world: &World, id: EventId) -> DeadLetter {
    DeadLetter {
        id,
        lane: lane().key().clone(),
        at: world.clock.now(),
        attempts: 1,
        reason: "http_404".to_owned(),
        record: record::encode(&event(7)).expect("encodes"),
    }
}

#[tokio::test]
async fn what_died_while_a_backup_was_made_waits_after_its_restore_whatever_died_behind_it() {
    // In a copy the letters are younger than the entries: one of an entry that it has, then many of others.
    let world = World::start().await;
    let new = NewEvent { lane: lane(), event: event(7), dedup: None, source: EventSource::Http };
    let Appended::New(id) = world.queue.accept(vec![new]).await.expect("accepted")[0] else { panic!("new") };
    world.store.park_alone(letter_of(&world, id));
    world.clock.advance(Duration::from_secs(60));
    for other in 0..3_000 {
        world.store.park_alone(letter_of(&world, EventId::new(START.as_millis() + 1, 1 << 40 | other)));
    }
    assert_eq!(world.store.dead_letters().len(), 3_001, "the control");
    let world = world.crash().await;
    let left = world.store.dead_letters();
    assert!(left.len() == 3_000 && left.iter().all(|letter| letter.id != id), "{} left", left.len());
    assert_eq!(world.state(id).await, Some("ready"));
}

#[tokio::test]
async fn while_settlements_are_owed_no_letter_is_too_old_to_be_looked_at() {
    let world = World::start().await;
    let dead = world.dead(1).await;
    let new = NewEvent { lane: lane(), event: event(7), dedup: None, source: EventSource::Http };
    let Appended::New(id) = world.queue.accept(vec![new]).await.expect("accepted")[0] else { panic!("new") };
    world.store.park_alone(letter_of(&world, id));
    world.clock.advance(FRESH * 2);
    assert_eq!(world.names().await, [dead[0], id], "the control");
    world.store.owe_settlements(true);
    assert_eq!(world.names().await, dead);
}

#[tokio::test]
async fn of_two_letters_that_go_by_one_redrive_one_is_sent_and_the_other_stays() {
    let world = World::start().await;
    let ids = world.dead(1).await;
    let mut twin = letter_of(&world, EventId::new(START.as_millis(), 1 << 40));
    let mut other = event(7);
    let (origin, by) = (ids[0], String::new());
    other.redriven =
        Some(Box::new(Redriven { origin, is_renamed: false, count: 0, at: START, by, from_url: None }));
    twin.record = record::encode(&other).expect("encodes");
    world.store.park_alone(twin.clone());
    assert_eq!(world.redrive(&world.letters().await).await, ids);
    assert_eq!(world.store.dead_letters(), [twin]);
    assert_eq!(world.state(ids[0]).await, Some("ready"));
}

#[tokio::test]
async fn a_note_that_is_damaged_stops_no_redrive() {
    let world = World::start().await;
    let ids = world.dead(3).await;
    steps(&world, 2).await;
    world.store.damage("redrives");
    let world = world.crash().await;
    assert_eq!(world.names().await, ids[1..], "the control: the first one was handed in");
    world.redrive(&world.letters().await[..1]).await;
    // Also where it was damaged since.
    world.store.damage("redrives");
    world.redrive(&world.letters().await).await;
    assert!(!is_noted(&world).await);
    assert_eq!(world.check(&ids).await, 3);
}
