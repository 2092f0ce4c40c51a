//! Looking for what waits.

use super::{START, World, event, lane};
use crate::event::{EventId, Lane, LaneKey, PolicyId, PolicyRef};
use crate::queue::testing::TakenUp;
use crate::queue::*;
use crate::store::{LanePick, ScanPlace};

fn search(after: Option<ScanPlace>, most: usize) -> Search {
    Search {
        after,
        lanes: LanePick::new(|_| true),
        accepted_from: Timestamp::ZERO,
        is_meant: Box::new(|_, _| true),
        state: None,
        most,
    }
}

fn ids(found: &Found) -> Vec<EventId> {
    found.events.iter().map(|(id, _)| *id).collect()
}

#[tokio::test]
async fn events_are_found_by_lane_state_and_what_they_are() {
    let world = World::start().await;
    let plain = world.accept(0..3, None).await;
    let delayed = world.accept(3..5, Some(Duration::from_secs(60))).await;
    let policy = PolicyId::parse("q").expect("valid");
    let other = Lane::of(vec![PolicyRef { policy, generation: 1 }]).expect("valid");
    let new = NewEvent { lane: other.clone(), event: event(9, None), dedup: None, source: EventSource::Http };
    world.queue.accept(vec![new]).await.expect("accepted");
    let entry =
        world.queue.load(lane().key(), ReadLimit { entries: 1, bytes: 1 }, false).await.expect("loads");
    world.queue.started(&entry.entries[0]);

    let found = async |search: Search| ids(&world.queue.search(&search).await.expect("reads"));
    assert_eq!(found(search(None, 100)).await.len(), 6);
    let in_state = |state| Search { state: Some(state), ..search(None, 100) };
    assert_eq!(found(in_state("delayed")).await, delayed);
    assert_eq!(found(in_state("inflight")).await, plain[..1]);
    let key = other.key().clone();
    let of_other = Search { lanes: LanePick::new(move |lane: &LaneKey| *lane == key), ..search(None, 100) };
    assert_eq!(found(of_other).await.len(), 1);
    let by_url = |_: EventId, event: &Event| event.url.as_str().ends_with("/2");
    assert_eq!(found(Search { is_meant: Box::new(by_url), ..search(None, 100) }).await, plain[2..]);
    let later = Search { accepted_from: START + Duration::from_secs(1), ..search(None, 100) };
    assert_eq!(found(later).await, []);
}

#[tokio::test]
async fn a_page_looks_at_ten_thousand_and_leads_on_and_everything_is_on_one_page() {
    let world = World::start().await;
    for from in [0, 4_000, 8_000, 12_000] {
        world.accept(from..from + 4_000, None).await;
    }
    let none = Search { is_meant: Box::new(|_, _| false), ..search(None, 100) };
    let empty = world.queue.search(&none).await.expect("reads");
    assert!(empty.events.is_empty() && empty.next.is_some(), "an empty page that leads on");
    let rest = world.queue.search(&Search { after: empty.next, ..none }).await.expect("reads");
    assert!(rest.events.is_empty() && rest.next.is_none());

    let (mut after, mut all, mut pages) = (None, Vec::new(), 0);
    loop {
        let page = world.queue.search(&search(after, 1_000)).await.expect("reads");
        assert!(page.events.len() <= 1_000);
        pages += 1;
        all.extend(ids(&page));
        // Some that were found end meanwhile.
        if pages == 3 {
            for id in all.iter().take(50) {
                let changed = world.queue.change(*id, Change::Cancel, Arc::new(TakenUp(None))).await;
                assert_eq!(changed.expect("changes"), Changed::Done);
            }
        }
        match page.next {
            None => break,
            next => after = next,
        }
    }
    assert_eq!(all.len(), 16_000);
    assert!(all.is_sorted() && all.windows(2).all(|pair| pair[0] != pair[1]), "each once");
}
