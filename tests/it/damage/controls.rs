//! The negative controls: the judge sees what is lost, altered, reported wrongly, and a matrix that misses nothing
//! passes an undamaged directory.

use bytes::Bytes;
use tidegate::testkit::event::EventId;
use tidegate::testkit::store::Lookup;

use super::base::{self, Base, End, scratch};
use super::judge::{self, Known, Seen, verdict};

/// An undamaged directory as the judge sees it.
fn undamaged(end: End) -> (Base, Seen) {
    let base = Base::build(end, 7);
    let place = scratch();
    let root = place.path().join("data");
    base::copy(&base.root(), &root).expect("a copy");
    let seen = judge::look(&root, &base.truth).expect("opens");
    (base, seen)
}

/// Makes an entry one that is not returned.
fn take(seen: &mut Seen, id: EventId, lookup: Lookup) {
    seen.returned.remove(&id);
    seen.lookups.insert(id, Ok(lookup));
}

#[test]
fn an_undamaged_directory_passes_and_the_judge_can_tell() {
    for end in [End::Orderly, End::Killed] {
        let (base, seen) = undamaged(end);
        let truth = &base.truth;
        let end = Known::after(end, false);
        assert!(truth.owed.len() > 200, "{} entries prove little", truth.owed.len());
        assert!(!truth.letters.is_empty() && truth.settled.len() > 50);
        assert_eq!(verdict(truth, end, &seen), Vec::<String>::new(), "{end:?}");
        let mut seen = seen;
        seen.reported.uncertain = 0;
        let oldest = *truth.owed.keys().next().expect("some");

        let mut gone = seen.clone();
        take(&mut gone, oldest, Lookup::Lost);
        assert_eq!(verdict(truth, end, &gone).len(), 1, "an entry that is not returned");
        gone.reported.lost = 1;
        gone.reported.total = 1;
        assert_eq!(verdict(truth, end, &gone), Vec::<String>::new(), "once it is reported, it is right");
        gone.reported.lost = 3;
        gone.reported.total = 3;
        assert_eq!(verdict(truth, end, &gone).len(), 1, "more reported than lost");

        let mut forgotten = gone.clone();
        (forgotten.reported.lost, forgotten.reported.total) = (1, 1);
        take(&mut forgotten, oldest, Lookup::Unknown);
        assert_eq!(verdict(truth, end, &forgotten).len(), 1, "its id does not say that it is lost");

        let mut hidden = seen.clone();
        take(&mut hidden, oldest, Lookup::Lost);
        hidden.reported.uncertain = 50;
        assert_eq!(verdict(truth, end, &hidden).len(), 1, "an early entry is never merely uncertain");

        let mut altered = seen.clone();
        altered.returned.insert(oldest, Bytes::from_static(b"other"));
        assert_eq!(verdict(truth, end, &altered).len(), 1);

        let mut book = seen.clone();
        book.book = Some(Ok(Bytes::from_static(b"{}")));
        assert_eq!(verdict(truth, end, &book).len(), 1);
        book.held = Some("the book is damaged".to_owned());
        assert_eq!(verdict(truth, end, &book), Vec::<String>::new(), "a held store has lost nothing");

        let mut usages = seen.clone();
        usages.usages = Some(Ok(Default::default()));
        assert_eq!(verdict(truth, end, &usages).len(), 1);
    }
}

#[test]
fn what_is_late_may_be_uncertain_after_a_kill_only() {
    let (base, seen) = undamaged(End::Killed);
    let late = base.truth.owed.iter().rfind(|(_, owed)| owed.is_late).map(|(id, _)| *id).expect("some");
    let mut gone = seen;
    gone.reported.uncertain = 0;
    take(&mut gone, late, Lookup::Lost);
    assert_eq!(verdict(&base.truth, Known::UpToTheMark, &gone).len(), 1, "nothing is uncertain");
    gone.reported.uncertain = 3;
    assert_eq!(verdict(&base.truth, Known::UpToTheMark, &gone), Vec::<String>::new());
    assert_eq!(verdict(&base.truth, Known::Exactly, &gone).len(), 1, "an orderly stop leaves no doubt");
}
