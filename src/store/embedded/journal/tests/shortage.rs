//! A system that is short of memory or descriptors when the next segment is due.

use super::*;

/// ENOMEM; the control is EIO.
#[test]
fn a_segment_that_cannot_be_begun_for_a_shortage_leaves_the_journal_sound() {
    for (write_errno, is_refusal) in [(12, true), (5, false)] {
        let temp = tempfile::tempdir().expect("temp");
        // After the head and the group of the first segment comes the head of the second.
        let disk = Failing { fail_write: Some(2), write_errno, ..Failing::default() };
        let mut journal =
            Journal::open_on(temp.path(), options(), 0, NOW, Box::new(disk), Keys::default()).expect("opens");
        let mut group = FrameGroup::default();
        let whole = options().segment_bytes as usize;
        push(&mut group, &[noise(0, whole)]);
        journal.append(&mut group, NOW).expect("appends");
        push(&mut group, &[noise(1, whole)]);
        let refused = journal.append(&mut group, NOW).expect_err("fails");
        assert_eq!(
            (refused.is_refusal(), journal.failure().is_none()),
            (is_refusal, is_refusal),
            "{refused}"
        );
        assert_eq!(journal.end().segment, 1, "nothing has changed");
        if !is_refusal {
            continue;
        }
        assert_eq!(list(temp.path()).expect("lists").len(), 1, "no file is left");
        let at = journal.append(&mut group, NOW).expect("the same group again");
        assert_eq!(at[0].segment, 2);
        drop(journal);
        let (found, report) = contents(temp.path(), true);
        assert_eq!((found.len(), report.damaged), (2, 0));
    }
}
