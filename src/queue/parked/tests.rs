//! Letters over the in-memory model: what a crash leaves after each step, and changes of many.

mod failing;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::*;
use crate::clock::Timestamp;
use crate::event::{CanonicalUrl, Event, Labels, Lane, PolicyId, PolicyRef, Redriven, Settlement};
use crate::queue::testing::TakenUp;
use crate::queue::{Change, Changed, NewEvent, Search, Standing};
use crate::store::memory::{FailPoint, MemoryStore};
use crate::store::{Appended, DeadLetter, Expect, LanePick, record};
use crate::telemetry::EventSource;

const START: Timestamp = Timestamp::from_millis(1_000_000);
const PAGE: ReadLimit = ReadLimit { entries: 100, bytes: 1 << 20 };
const ALL: ReadLimit = ReadLimit { entries: 10_000, bytes: 1 << 26 };

struct World {
    clock: Clock,
    store: MemoryStore,
    queue: Queue,
    parked: Parked,
}

impl World {
    async fn start() -> Self {
        let clock = Clock::manual(START);
        Self::over(MemoryStore::new(clock.clone()), clock).await
    }

    async fn over(store: MemoryStore, clock: Clock) -> Self {
        let (queue, _signals) = Queue::open(Arc::new(store.clone()), clock.clone()).await.expect("opens");
        let parked = Parked::open(&queue, Arc::new(store.clone()), clock.clone()).await.expect("opens");
        Self { clock, store, queue, parked }
    }

    async fn crash(self) -> Self {
        self.queue.flush().await;
        Self::over(self.store.crash(), self.clock.clone()).await
    }

    /// Hands in events that die at once.
    async fn dead(&self, count: u64) -> Vec<EventId> {
        let new = |n| NewEvent { lane: lane(), event: event(n), dedup: None, source: EventSource::Http };
        let appended = self.queue.accept((0..count).map(new).collect()).await.expect("accepted");
        let id = |one| if let Appended::New(id) = one { id } else { panic!("{one:?}") };
        self.die().await;
        appended.into_iter().map(id).collect()
    }

    /// Everything that waits dies.
    async fn die(&self) {
        for entry in self.queue.load(lane().key(), ALL, false).await.expect("loads").entries {
            self.queue.started(&entry);
            self.queue.settle(&entry, Settlement::Dead { reason: "http_404".to_owned(), attempts: 1 });
        }
        self.queue.flush().await;
    }

    async fn letters(&self) -> Vec<PlacedLetter> {
        self.parked.page(LetterOrder::OldestFirst, None, PAGE).await.expect("reads").letters
    }

    async fn names(&self) -> Vec<EventId> {
        self.letters().await.iter().map(|placed| placed.letter.name()).collect()
    }

    async fn state(&self, id: EventId) -> Option<&'static str> {
        self.queue.standing(id, &TakenUp(None)).await.expect("reads").word()
    }

    async fn redrive(&self, letters: &[PlacedLetter]) -> Vec<EventId> {
        let batch = letters.iter().map(|placed| (placed.clone(), remade(&placed.letter))).collect();
        self.parked.turn().await.expect("a turn").redrive(batch).await.expect("redriven")
    }

    /// Each event is either a letter or waits, and none is anything twice.
    async fn check(&self, ids: &[EventId]) -> usize {
        let letters = self.names().await;
        let mut waiting = 0;
        for id in ids {
            let is_waiting = self.state(*id).await == Some("ready");
            let listed = letters.iter().filter(|name| *name == id).count();
            assert_eq!(listed + usize::from(is_waiting), 1, "{id}: {listed} letters, waits: {is_waiting}");
            assert_eq!(self.parked.find(*id).await.expect("reads").len(), listed, "{id}");
            waiting += usize::from(is_waiting);
        }
        let stored = self.queue.load(lane().key(), ALL, false).await.expect("loads").entries;
        assert_eq!(stored.len(), waiting, "nothing was handed in twice");
        waiting
    }
}

fn lane() -> Lane {
    let policy = PolicyId::parse("p").expect("valid");
    Lane::of(vec![PolicyRef { policy, generation: 1 }]).expect("valid")
}

fn event(n: u64) -> Event {
    Event {
        method: Method::POST,
        url: CanonicalUrl::parse(&format!("http://h.org/{n}")).expect("valid"),
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"{}"),
        labels: Labels::default(),
        due_at: None,
        is_dated: false,
        expires_at: START + Duration::from_secs(3600),
        redriven: None,
    }
}

fn remade(letter: &DeadLetter) -> Remade {
    let mut event = record::decode(&letter.record).expect("decodes");
    let count = event.redriven.as_ref().map_or(0, |redriven| redriven.count) + 1;
    let (origin, by) = (letter.name(), "test".to_owned());
    event.redriven =
        Some(Box::new(Redriven { origin, is_renamed: false, count, at: START, by, from_url: None }));
    Remade { lane: lane(), event }
}

fn renamed(letter: &DeadLetter) -> Remade {
    let mut remade = remade(letter);
    if let Some(redriven) = &mut remade.event.redriven {
        redriven.is_renamed = true;
    }
    remade
}

#[tokio::test]
async fn a_redriven_event_keeps_its_name_through_every_death() {
    let mut world = World::start().await;
    let ids = world.dead(3).await;
    assert_eq!(world.names().await, ids);
    for count in 1..4_u16 {
        let mut letters = world.letters().await;
        letters.retain(|placed| placed.letter.name() == ids[1]);
        assert_eq!(world.redrive(&letters).await, [ids[1]]);
        assert_eq!(world.check(&ids).await, 1);
        // It stays handed out, so that what waits is loaded once more after a crash.
        world = world.crash().await;
        let Standing::Ready(waiting) = world.queue.standing(ids[1], &TakenUp(None)).await.expect("reads")
        else {
            panic!("it waits");
        };
        assert_eq!((waiting.attempts, waiting.event.name(waiting.entry)), (0, ids[1]));
        let redriven = waiting.event.redriven.expect("redriven");
        assert_eq!((redriven.count, redriven.by.as_str()), (count, "test"));
        world.die().await;
        let names = world.names().await;
        assert_eq!(names, [ids[0], ids[2], ids[1]]);
        assert_eq!(world.state(ids[1]).await, Some("settled"));
    }
}

#[tokio::test]
async fn an_event_under_a_new_name_leaves_the_old_one_behind() {
    let world = World::start().await;
    let ids = world.dead(1).await;
    let letter = world.letters().await.remove(0);
    let batch = vec![(letter.clone(), renamed(&letter.letter))];
    let new = world.parked.turn().await.expect("a turn").redrive(batch).await.expect("redriven");
    assert_ne!(new, ids);
    assert_eq!((world.state(ids[0]).await, world.state(new[0]).await), (Some("settled"), Some("ready")));
    assert_eq!(world.names().await, []);
    world.die().await;
    assert_eq!(world.names().await, new);
}

/// The steps of a redrive, after any of which the process may be killed.
async fn steps(world: &World, done: usize) {
    let placed = world.letters().await.remove(0);
    let note = notes::Note::of(&placed);
    if done > 0 {
        world.parked.0.turn.lock().await.note(&world.store, &[note]).await.expect("notes");
    }
    if done > 1 {
        let Remade { lane, event } = remade(&placed.letter);
        let dedup = Some(redrive_key(note.name, note.count, false));
        let event = NewEvent { lane, event, dedup, source: EventSource::Redrive };
        world.queue.accept(vec![event]).await.expect("accepted");
    }
    if done > 2 {
        world.store.take(EntryStore::owner(&world.store), vec![placed.place]).await.expect("takes");
    }
}

#[tokio::test]
async fn whichever_step_a_kill_follows_an_event_is_dead_or_waits() {
    for (done, waiting) in [(0, 0), (1, 0), (2, 1), (3, 1)] {
        let world = World::start().await;
        let ids = world.dead(2).await;
        steps(&world, done).await;
        let world = world.crash().await;
        assert_eq!(world.check(&ids).await, waiting, "after {done} steps");
        // Whoever does not know repeats it.
        let world = world.crash().await;
        let left: Vec<PlacedLetter> =
            world.letters().await.into_iter().filter(|placed| placed.letter.name() == ids[0]).collect();
        world.redrive(&left).await;
        assert_eq!(world.check(&ids).await, 1, "after {done} steps, repeated");
    }
}

#[tokio::test]
async fn without_its_note_a_kill_would_leave_an_event_both() {
    let world = World::start().await;
    let ids = world.dead(1).await;
    steps(&world, 2).await;
    let version = world.store.get("redrives").await.expect("reads").expect("a note").0;
    world.store.put("redrives", Expect::At(version), Bytes::new()).await.expect("writes");
    let world = world.crash().await;
    assert_eq!((world.state(ids[0]).await, world.names().await), (Some("ready"), ids), "the control");
}

#[tokio::test]
async fn where_the_note_cannot_be_read_every_letter_is_asked_for() {
    let world = World::start().await;
    let ids = world.dead(3).await;
    steps(&world, 2).await;
    let version = world.store.get("redrives").await.expect("reads").expect("a note").0;
    world.store.put("redrives", Expect::At(version), Bytes::from_static(b"?")).await.expect("writes");
    let world = world.crash().await;
    assert_eq!(world.check(&ids).await, 1);
}

#[tokio::test]
async fn a_letter_whose_event_is_still_owed_an_end_is_none() {
    let world = World::start().await;
    let gone = world.dead(1).await;
    let new = NewEvent { lane: lane(), event: event(7), dedup: None, source: EventSource::Http };
    let Appended::New(id) = world.queue.accept(vec![new]).await.expect("accepted")[0] else { panic!("new") };
    let letter = DeadLetter {
        id,
        lane: lane().key().clone(),
        at: world.clock.now(),
        attempts: 1,
        reason: "http_404".to_owned(),
        record: record::encode(&event(7)).expect("encodes"),
    };
    world.store.park_alone(letter.clone());
    assert_eq!(world.names().await, gone, "also while the end is on its way");
    let world = world.crash().await;
    assert_eq!(world.store.dead_letters().len(), 1, "the void one was taken");
    assert_eq!(world.check(&[gone[0], id]).await, 1);
    // The control: after its end it is one. What waits is handed out once more.
    let world = world.crash().await;
    world.die().await;
    let world = world.crash().await;
    assert_eq!(world.names().await, [gone[0], id]);
}

#[tokio::test]
async fn of_many_who_redrive_a_letter_one_does() {
    let world = World::start().await;
    let ids = world.dead(1).await;
    let letters = world.letters().await;
    let batch = || vec![(letters[0].clone(), remade(&letters[0].letter))];
    let each = (0..4).map(async |_| world.parked.turn().await?.redrive(batch()).await);
    for redriven in futures_util::future::join_all(each).await {
        assert_eq!(redriven.expect("redriven"), ids);
    }
    assert_eq!(world.check(&ids).await, 1);
}

#[tokio::test]
async fn what_the_store_refuses_stays_a_letter() {
    let world = World::start().await;
    let ids = world.dead(2).await;
    let letters = world.letters().await;
    world.store.fail_next(FailPoint::Put);
    let batch = vec![(letters[0].clone(), remade(&letters[0].letter))];
    assert!(world.parked.turn().await.expect("a turn").redrive(batch.clone()).await.is_err());
    assert_eq!(world.check(&ids).await, 0);
    // It was handed in, and nobody was told so.
    world.store.fail_next(FailPoint::AppendKept);
    assert!(world.parked.turn().await.expect("a turn").redrive(batch).await.is_err());
    assert_eq!(world.names().await, ids[1..], "it is hidden as long as it is unknown");
    let world = world.crash().await;
    assert_eq!(world.check(&ids).await, 1);
}

#[tokio::test]
async fn what_was_redriven_is_found_and_changed_under_the_id_that_people_know() {
    let world = World::start().await;
    let ids = world.dead(2).await;
    let letters = world.letters().await;
    world.redrive(&letters).await;
    let entry = world.queue.standing(ids[0], &TakenUp(None)).await.expect("reads");
    assert_ne!(entry.waiting().expect("it waits").entry, ids[0], "an entry of its own");
    let search = Search {
        after: None,
        lanes: LanePick::new(|_| true),
        accepted_from: Timestamp::ZERO,
        is_meant: Box::new(|_, _| true),
        state: None,
        most: 10,
    };
    let found = world.queue.search(&search).await.expect("reads").events;
    assert_eq!(found.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids);
    let nobody = || Arc::new(TakenUp(None));
    let changed = world.queue.change(ids[0], Change::Cancel, nobody()).await.expect("writes");
    assert_eq!(changed, Changed::Done);
    assert_eq!((world.state(ids[0]).await, world.state(ids[1]).await), (Some("settled"), Some("ready")));
    // Once more: what has ended stays so.
    let again = world.queue.change(ids[0], Change::Cancel, nobody()).await.expect("reads");
    assert!(matches!(again, Changed::Ended(_)), "{again:?}");
}

#[tokio::test]
async fn a_redriven_event_that_outlives_its_key_is_found_by_its_id_and_dead_no_more() {
    let world = World::start().await;
    let ids = world.dead(2).await;
    let letters = world.letters().await;
    world.redrive(&letters[..1]).await;
    world.store.forget_keys();
    assert_eq!((world.state(ids[0]).await, world.names().await), (Some("ready"), ids[1..].to_vec()));
    assert!(world.parked.find(ids[0]).await.expect("reads").is_empty(), "it waits, and is nothing else");
    let last = world.queue.last_redrive(ids[0]).await.expect("reads").expect("known");
    assert_eq!((last.count, last.origin), (1, ids[0]));
    let mut turn = world.parked.turn().await.expect("a turn");
    let again = vec![letters[0].letter.clone()];
    assert_eq!(turn.import(again).await.expect("reads"), Imported::Added(0), "nor does it come back");
    drop(turn);
    // Nor after the end of the entry, of which nothing is left.
    let changed = world.queue.change(ids[0], Change::Cancel, Arc::new(TakenUp(None))).await.expect("writes");
    assert_eq!(changed, Changed::Done);
    assert_eq!(world.queue.last_redrive(ids[0]).await.expect("reads").map(|last| last.count), Some(1));
    assert_eq!(world.state(ids[0]).await, Some("settled"));
    assert_eq!(world.queue.last_redrive(ids[1]).await.expect("reads"), None, "the control");
}

/// A letter of another entry that goes by the same id came from elsewhere while the event waited here; then that one died, too.
#[tokio::test]
async fn of_twins_that_are_redriven_one_after_the_other_the_second_passes_for_the_first() {
    let world = World::start().await;
    let ids = world.dead(1).await;
    let letter = world.letters().await.remove(0);
    world.redrive(std::slice::from_ref(&letter)).await;
    // As it is after its next death, and as it came back by an import.
    world.die().await;
    let own = world.letters().await.remove(0);
    let twin = DeadLetter { id: EventId::new(START.as_millis(), 1 << 40), ..own.letter.clone() };
    world.store.park_alone(twin);
    assert_eq!(world.names().await, [ids[0], ids[0]]);
    assert_eq!(world.redrive(&[own]).await, ids);
    let left = world.letters().await;
    assert_eq!(world.redrive(&left).await, ids, "it is told to be handed in, as a repetition");
    assert_eq!(world.check(&ids).await, 1, "one event waits, and no letter is left");
}
