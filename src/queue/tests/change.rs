//! What an operator does with an event that waits, and with one that does not.

use std::collections::HashSet;
use std::sync::Mutex;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::{START, World, event, lane};
use crate::event::{Entry, EventId, LaneKey, Reason, Tries};
use crate::queue::testing::TakenUp;
use crate::queue::*;
use crate::store::GiveUp;

/// A dispatcher that has these entries read ahead, and hears of those that were taken elsewhere.
#[derive(Default)]
struct Dispatcher(Mutex<Vec<Entry>>, Mutex<usize>);

impl ReadAhead for Dispatcher {
    fn place(&self, _: LaneKey, _: EventId) -> BoxFuture<'_, Option<usize>> {
        std::future::ready(None).boxed()
    }

    fn let_go(&self, _: LaneKey, ids: HashSet<EventId>) -> BoxFuture<'_, Vec<Entry>> {
        let mut held = self.0.lock().expect("no panic");
        let (gone, left) = std::mem::take(&mut *held).into_iter().partition(|entry| ids.contains(&entry.id));
        *held = left;
        std::future::ready(gone).boxed()
    }

    fn taken(&self, of: LaneKey) {
        assert_eq!(of, *lane().key());
        *self.1.lock().expect("no panic") += 1;
    }
}

impl World {
    async fn change(&self, id: EventId, change: Change) -> Changed {
        self.queue.change(id, change, Arc::new(TakenUp(None))).await.expect("changes")
    }

    async fn word(&self, id: EventId) -> Option<&'static str> {
        self.standing(id).await.expect("reads").word()
    }
}

fn until(seconds: u64) -> Change {
    Change::PutOff { due_at: START + Duration::from_secs(seconds), doubted_at: None }
}

fn end(changed: &Changed) -> Option<(End, Reason)> {
    match changed {
        Changed::Ended(known) => known.as_ref().map(|known| (known.end, known.why.reason)),
        _ => None,
    }
}

#[tokio::test]
async fn what_waits_is_cancelled_once_and_for_good() {
    let world = World::start().await;
    let plain = world.accept(0..3, None).await;
    let delayed = world.accept(3..4, Some(Duration::from_secs(9))).await;
    for id in [plain[1], delayed[0]] {
        assert_eq!(world.change(id, Change::Cancel).await, Changed::Done);
        let again = world.change(id, Change::Cancel).await;
        assert_eq!(end(&again), Some((End::Cancelled, Reason::Cancelled)), "a repetition finds its end");
        assert!(matches!(world.change(id, until(60)).await, Changed::Ended(Some(_))));
    }
    let Ledger { accepted, cancelled, ready, delayed, inflight, .. } = world.queue.ledger();
    assert_eq!((accepted, cancelled, ready, delayed, inflight), (4, 2, 2, 0, 0));
    assert_eq!(world.change(EventId::new(1, 1), Change::Cancel).await, Changed::Unknown);

    let world = world.crash().await;
    world.clock.advance(Duration::from_secs(60));
    let left: Vec<EventId> = world.load().await.entries.iter().map(|entry| entry.id).collect();
    assert_eq!(left, [plain[0], plain[2]], "it holds over a crash, and the others are left alone");
}

#[tokio::test]
async fn the_dispatcher_hears_of_what_it_never_saw_once_for_each_that_could_start() {
    let world = World::start().await;
    let plain = world.accept(0..3, None).await;
    let delayed = world.accept(3..4, Some(Duration::from_secs(60))).await[0];
    let dispatcher = Arc::new(Dispatcher::default());
    let mut heard = Vec::new();
    // To be put off and then cancelled takes the same entry twice, of which the second time was promised nothing.
    for (id, change) in [
        (plain[0], Change::Cancel),
        (plain[1], Change::SendNow),
        (plain[2], until(60)),
        (plain[2], Change::Cancel),
        (delayed, Change::Cancel),
    ] {
        let changed = world.queue.change(id, change, dispatcher.clone()).await;
        assert_eq!(changed.expect("changes"), Changed::Done);
        heard.push(*dispatcher.1.lock().expect("no panic"));
    }
    assert_eq!(heard, [1, 2, 3, 3, 3]);
}

#[tokio::test]
async fn what_is_read_ahead_is_let_go_and_a_call_under_way_is_not_torn() {
    let world = World::start().await;
    let accepted = world.accept(0..2, None).await;
    let mut entries = world.load().await.entries;
    let started = entries.remove(0);
    world.queue.started(&started);
    let dispatcher = Arc::new(Dispatcher(Mutex::new(entries), Mutex::default()));
    for change in [Change::Cancel, Change::SendNow, until(60)] {
        let changed = world.queue.change(started.id, change, dispatcher.clone()).await;
        assert_eq!(changed.expect("reads"), Changed::UnderWay);
    }
    assert_eq!(world.word(started.id).await, Some("inflight"));
    let changed = world.queue.change(accepted[1], Change::Cancel, dispatcher.clone()).await;
    assert_eq!(changed.expect("changes"), Changed::Done);
    assert!(dispatcher.0.lock().expect("no panic").is_empty());
    // A retry of the call can be cancelled while it waits.
    let due_at = START + Duration::from_secs(5);
    let retry = Settlement::Reschedule { due_at, tries: Tries::of(1), doubted_at: None };
    world.queue.settle(&started, retry);
    world.queue.flush().await;
    assert_eq!(world.change(started.id, Change::Cancel).await, Changed::Done);
    let Ledger { accepted, cancelled, ready, delayed, inflight, .. } = world.queue.ledger();
    assert_eq!((accepted, cancelled, ready, delayed, inflight), (2, 2, 0, 0, 0));
    assert!(world.queue.is_empty());
}

/// It is neither in the hand of the dispatcher nor started: its page is on the way.
#[tokio::test(start_paused = true)]
async fn what_is_on_its_way_is_waited_for_and_not_for_ever() {
    let world = World::start().await;
    let id = world.accept(0..1, None).await[0];
    let entry = world.load().await.entries.remove(0);
    assert_eq!(world.change(id, Change::Cancel).await, Changed::OnItsWay);
    let dispatcher = Arc::new(Dispatcher::default());
    let change = world.queue.change(id, Change::Cancel, dispatcher.clone());
    let arrives = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        dispatcher.0.lock().expect("no panic").push(entry);
    };
    let (changed, ()) = tokio::join!(change, arrives);
    assert_eq!(changed.expect("changes"), Changed::Done);
    assert_eq!(world.queue.ledger().cancelled, 1);
}

#[tokio::test]
async fn a_new_due_time_holds_over_a_crash_and_ends_before_the_life_does() {
    let mut world = World::start().await;
    let plain = world.accept(0..1, None).await[0];
    let delayed = world.accept(1..2, Some(Duration::from_secs(60))).await[0];
    world.signalled().await;
    for id in [plain, delayed] {
        assert_eq!(world.change(id, until(600)).await, Changed::Done);
    }
    let expires_at = event(0, None).expires_at;
    assert_eq!(world.change(plain, until(3600)).await, Changed::TooLate { expires_at });
    let mut world = world.crash().await;
    world.clock.advance(Duration::from_secs(599));
    assert_eq!(world.load().await.entries, []);
    for id in [plain, delayed] {
        let standing = world.standing(id).await.expect("reads");
        assert!(matches!(standing, Standing::Delayed(_)), "{standing:?}");
    }
    // Sooner than it was, and the dispatcher hears of it.
    let mut heard = Vec::new();
    world.signals.take_all(&mut heard);
    assert_eq!(world.change(delayed, until(599)).await, Changed::Done);
    heard.clear();
    world.signals.take_all(&mut heard);
    let due_at = START + Duration::from_secs(599);
    assert_eq!(heard, [LaneSignal::PutOff(lane().key().clone(), due_at)]);
    assert_eq!(world.load().await.entries.remove(0).id, delayed);
}

#[tokio::test]
async fn what_is_sent_now_goes_before_all_that_came_later() {
    let world = World::start().await;
    let plain = world.accept(0..3, None).await;
    let delayed = world.accept(3..4, Some(Duration::from_secs(60))).await[0];
    for id in [delayed, plain[2], plain[2]] {
        assert_eq!(world.change(id, Change::SendNow).await, Changed::Done, "also once more");
    }
    let world = world.crash().await;
    let loaded = world.load().await.entries;
    let order: Vec<EventId> = loaded.iter().map(|entry| entry.id).collect();
    assert_eq!(order, [plain[2], delayed, plain[0], plain[1]]);
    assert!(loaded.iter().all(|entry| entry.tries == Tries::NONE), "it costs no attempt");
    let Ledger { accepted, ready, delayed, .. } = world.queue.ledger();
    assert_eq!((accepted, ready, delayed), (4, 4, 0));
}

#[tokio::test]
async fn a_change_that_meets_a_loss_is_not_answered_as_done() {
    for is_lost in [true, false] {
        let world = World::start().await;
        let id = world.accept(0..1, None).await[0];
        world.store.hold_settlements(true);
        let queue = world.queue.clone();
        let changing =
            tokio::spawn(async move { queue.change(id, until(60), Arc::new(TakenUp(None))).await });
        // From then on it waits in the store.
        while world.queue.0.lanes.lock().all_out().is_empty() {
            tokio::task::yield_now().await;
        }
        if is_lost {
            assert_eq!(world.queue.give_up(GiveUp::Lane(lane().key().clone())).await.expect("gives up"), 1);
        }
        world.store.hold_settlements(false);
        let changed = changing.await.expect("no panic").expect("changes");
        let lost = Some((End::Lost, Reason::Lost));
        assert_eq!(
            (end(&changed), changed == Changed::Done),
            if is_lost { (lost, false) } else { (None, true) }
        );
    }
}

/// Pages and operators at once: each entry ends once, and none is handed out after its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_that_are_read_meanwhile_hand_out_nothing_that_is_cancelled() {
    let world = World::start().await;
    let accepted = world.accept(0..200, None).await;
    let small = ReadLimit { entries: 3, bytes: 1 << 20 };
    let queue = world.queue.clone();
    let operator = tokio::spawn(async move {
        let mut cancelled = HashSet::new();
        for id in accepted.into_iter().rev().step_by(2) {
            let change = queue.change(id, Change::Cancel, Arc::new(TakenUp(None)));
            match change.await.expect("reads") {
                Changed::Done => cancelled.insert(id),
                // It is read ahead, and no dispatcher is here that would let it go: the two have met.
                _ => break,
            };
        }
        cancelled
    });
    let mut handed_out = HashSet::new();
    loop {
        let page = world.queue.load(lane().key(), small, false).await.expect("loads");
        handed_out.extend(page.entries.iter().map(|entry| entry.id));
        if !page.more {
            break;
        }
        tokio::task::yield_now().await;
    }
    let cancelled = operator.await.expect("no panic");
    assert!(cancelled.is_disjoint(&handed_out), "each is in one hand");
    assert_eq!(cancelled.len() + handed_out.len(), 200);
    let Ledger { accepted, cancelled: ended, ready, .. } = world.queue.ledger();
    assert_eq!((accepted, ended as usize, ready as usize), (200, cancelled.len(), handed_out.len()));
}
