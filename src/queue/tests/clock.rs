//! Times of entries that were taken while the clock was in doubt.

use super::*;

#[tokio::test]
async fn a_correction_of_the_clock_neither_ages_what_was_accepted_in_doubt_nor_ends_its_delay() {
    use crate::clock::{ClockMark, Script};
    let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
    let script = Script::new("another", START + hour * 50);
    let clock = Clock::scripted(&script);
    clock.begin(Some(&ClockMark::unknown(START)), Timestamp::ZERO, hour * 6);
    assert_eq!(clock.now(), START, "in doubt");
    let world = World::over(MemoryStore::new(clock.clone()), clock.clone()).await;
    let id = world.accept(1..2, None).await[0];
    world.accept(2..3, Some(minute * 10)).await;
    script.advance(minute);
    let leap = clock.trust().expect("in doubt");
    assert_eq!(leap.by, hour * 50);
    let Standing::Ready(waiting) = world.standing(id).await.expect("reads") else { panic!("not ready") };
    assert_eq!(waiting.event.expires_at, START + hour + leap.by);
    let page = world.load().await;
    assert_eq!(ids(&page.entries), [id]);
    assert_eq!(page.next_due, Some(START + minute * 10 + leap.by));
    world.queue.flush().await;
    script.advance(minute * 9);
    let page = world.load().await;
    assert_eq!((page.entries.len(), page.entries[0].due_at), (1, Some(START + minute * 10 + leap.by)));
}

/// Retries that were put off before the doubt, in it and after it; the first two are due at once without a correction.
#[tokio::test]
async fn a_retry_that_was_put_off_in_doubt_keeps_its_wait_and_no_other_is_moved() {
    use crate::clock::{ClockMark, Script};
    let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
    let at = |minutes: u32| START + minute * minutes;
    for (by, due_in_doubt) in [(hour * 50, true), (minute, false)] {
        let script = Script::new("another", START + by);
        let clock = Clock::scripted(&script);
        clock.begin(Some(&ClockMark::unknown(START)), Timestamp::ZERO, Duration::ZERO);
        assert_eq!((clock.now(), clock.is_trusted()), (START, false));
        let world = World::over(MemoryStore::new(clock.clone()), clock.clone()).await;
        world.accept(0..3, None).await;
        let entries = world.load().await.entries;
        let put_off = |n: usize, due_at, doubted_at| {
            world
                .queue
                .settle(&entries[n], Settlement::Reschedule { due_at, tries: Tries::of(1), doubted_at });
        };
        put_off(0, at(30), None);
        put_off(1, at(30), Some(clock.now()));
        script.advance(minute);
        let leap = clock.trust().expect("in doubt");
        assert_eq!(leap.by, by);
        put_off(2, clock.now() + minute * 30, None);
        world.queue.flush().await;
        let due_at = async |n: usize| match world.standing(entries[n].id).await.expect("reads") {
            Standing::Ready(waiting) | Standing::Delayed(waiting) => waiting.due_at.expect("put off"),
            other => panic!("{other:?}"),
        };
        let expected = [at(30), at(30) + by, at(31) + by];
        assert_eq!([due_at(0).await, due_at(1).await, due_at(2).await], expected, "{by:?}");
        let handed_out = ids(&world.load().await.entries);
        assert_eq!(handed_out == [entries[0].id], due_in_doubt, "{handed_out:?}");
        world.queue.flush().await;
        script.advance(minute * 29);
        let page = world.load().await.entries;
        assert!(page.iter().any(|entry| entry.id == entries[1].id), "{by:?}");
        assert!(page.iter().all(|entry| entry.id != entries[2].id), "the minute after");
    }
}
