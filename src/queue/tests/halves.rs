//! What is due takes as much of a page as it may, and what was not put off does.

use super::*;

#[tokio::test]
async fn what_is_due_leaves_half_of_a_page_to_what_was_not_put_off() {
    let world = World::start().await;
    let due = world.accept(0..6, Some(Duration::from_secs(10))).await;
    let plain = world.accept(6..12, None).await;
    world.clock.advance(Duration::from_secs(10));
    let page = async |entries| {
        let limit = ReadLimit { entries, ..PAGE };
        let loaded = world.queue.load(lane().key(), limit, false).await.expect("loads");
        (ids(&loaded.entries), loaded.next_due.is_some())
    };
    assert_eq!(page(4).await, ([&due[..2], &plain[..2]].concat(), true), "more is due");
    assert_eq!(page(1).await, (due[2..3].to_vec(), true), "the first of a page of one");
    assert_eq!(page(5).await, ([&due[3..], &plain[2..4]].concat(), false));
    assert_eq!(page(9).await, (plain[4..].to_vec(), false));
}

#[tokio::test]
async fn a_purge_gets_whole_pages_of_what_is_put_off() {
    let world = World::start().await;
    let due = world.accept(0..6, Some(Duration::from_secs(10))).await;
    world.accept(6..12, None).await;
    let limit = ReadLimit { entries: 4, ..PAGE };
    let loaded = world.queue.load(lane().key(), limit, true).await.expect("loads");
    assert_eq!(ids(&loaded.entries), due[..4]);
}

#[tokio::test]
async fn a_page_has_as_many_of_each_kind_as_were_asked_for() {
    let world = World::start().await;
    let due = world.accept(0..6, Some(Duration::from_secs(10))).await;
    let plain = world.accept(6..12, None).await;
    world.clock.advance(Duration::from_secs(10));
    let page = async |due, plain| {
        let mix = PageMix::UpTo { due, plain };
        let loaded = world.queue.load_mix(lane().key(), PAGE, mix).await.expect("loads");
        (ids(&loaded.entries), loaded.more, loaded.next_due.is_some())
    };
    assert_eq!(page(0, 1).await, (plain[..1].to_vec(), true, true), "what is due is still announced");
    assert_eq!(page(4, 0).await, (due[..4].to_vec(), true, true), "what is plain is still there");
    assert_eq!(page(1, 2).await, ([&due[4..5], &plain[1..3]].concat(), true, true));
    assert_eq!(page(9, 9).await, ([&due[5..], &plain[3..]].concat(), true, false));
}
