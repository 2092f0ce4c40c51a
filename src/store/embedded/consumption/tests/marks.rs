//! What the mark makes known: a record that was cut, harmed at its end, emptied or replaced. Each with its control.

use super::*;

fn three() -> [Usage; 3] {
    [usage("a", 1, 1_500, 9_000), usage("b", 2, 1_501, 9_001), usage("c", 3, 1_502, 9_002)]
}

/// A record that was taken up, got three usages, and was killed, or closed in good order.
async fn three_writes(closed: bool) -> Embedded {
    let mut subject = Embedded::new();
    subject.open().await;
    for one in three() {
        subject.record(&[one]).await;
    }
    if closed {
        subject.log.close(subject.log.owner(), three().to_vec()).await.expect("closes");
    }
    subject.crash();
    subject
}

/// Whether the next opening says that something is missing from the record.
async fn is_lost(subject: &Embedded) -> bool {
    let found = subject.open().await;
    assert_eq!(found.damaged > 0, found.complete_from == NOW, "{found:?}");
    assert!(!(found.orderly && found.damaged > 0), "{found:?}");
    found.damaged > 0
}

#[tokio::test]
async fn a_record_that_is_cut_at_any_byte_is_damaged() {
    for closed in [false, true] {
        let mut subject = three_writes(closed).await;
        let (whole, mark) = (subject.bytes(), fs::read(mark::path(subject.dir.path())).expect("a mark"));
        for cut in 0..=whole.len() {
            fs::write(mark::path(subject.dir.path()), &mark).expect("writes");
            subject.crash_marked(&whole[..cut]);
            assert_eq!(is_lost(&subject).await, cut < whole.len(), "{cut} of {} bytes", whole.len());
        }
    }
}

#[tokio::test]
async fn a_flipped_bit_at_any_byte_is_damage() {
    for closed in [false, true] {
        let mut subject = three_writes(closed).await;
        let (whole, mark) = (subject.bytes(), fs::read(mark::path(subject.dir.path())).expect("a mark"));
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            fs::write(mark::path(subject.dir.path()), &mark).expect("writes");
            subject.crash_marked(&flipped);
            assert!(is_lost(&subject).await, "byte {at}");
        }
    }
}

#[tokio::test]
async fn a_record_with_nothing_but_its_head_is_damaged_also_without_a_mark() {
    let mut subject = three_writes(false).await;
    let whole = subject.bytes();
    let head = whole.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    subject.crash_with(&whole[..head]);
    assert!(is_lost(&subject).await);
    subject.crash_with(&whole);
    assert!(!is_lost(&subject).await, "the control: a version without marks left it");
}

#[tokio::test]
async fn what_was_never_acknowledged_is_cut_without_a_word() {
    let mut subject = three_writes(false).await;
    let whole = subject.bytes();
    subject.crash_marked(&[&whole[..], b"1234abcd {\"l\":\"d\",\"n\""].concat());
    assert!(!is_lost(&subject).await);
    subject.crash();
    assert_eq!(subject.open().await, disorderly(&three()));
}

#[tokio::test]
async fn an_older_record_in_its_place_is_damage() {
    let mut subject = three_writes(false).await;
    let older = subject.bytes();
    assert!(!is_lost(&subject).await);
    subject.record(&[usage("d", 9, 1_503, 9_003)]).await;
    subject.crash_marked(&older);
    assert!(is_lost(&subject).await);
}

#[tokio::test]
async fn a_kill_at_any_place_of_a_rewrite_leaves_a_record_that_its_mark_fits() {
    let mut subject = three_writes(false).await;
    let (before, old_mark) =
        (subject.bytes(), mark::read(subject.dir.path()).expect("reads").expect("a mark"));
    subject.open().await;
    let after = subject.bytes();
    let base = mark::Base { bytes: after.len() as u64, sum: crc32c::crc32c(&after) };
    for bytes in [&before, &after] {
        // The rewrite was begun, and the record renamed or not.
        let mut mark = MarkFile::open(subject.dir.path(), Some(old_mark)).expect("opens");
        mark.begin(base).expect("writes");
        subject.crash_marked(bytes);
        assert!(!is_lost(&subject).await);
    }
}

#[tokio::test]
async fn a_mark_has_a_copy_and_without_either_the_record_is_in_doubt() {
    let (mark, copy, whole) = (0..256, 4096..4352, 0..4352);
    for (harm, expected) in [
        (vec![0], false),
        (vec![4096], false),
        (mark.collect(), false),
        (copy.collect(), false),
        (vec![0, 4096], true),
        (whole.collect::<Vec<usize>>(), true),
    ] {
        let mut subject = three_writes(true).await;
        let path = mark::path(subject.dir.path());
        let mut bytes = fs::read(&path).expect("a mark");
        assert_eq!(bytes.len(), 4096 + 256);
        harm.iter().for_each(|at| bytes[*at] = b'#');
        fs::write(&path, bytes).expect("writes");
        assert_eq!(is_lost(&subject).await, expected, "{harm:?}");
        subject.crash();
        assert_eq!(subject.open().await.damaged, 0, "it is reported once and made anew");
        let whole = subject.bytes();
        subject.crash_marked(&whole[..whole.len() - 30]);
        assert!(is_lost(&subject).await);
    }
}

#[tokio::test]
async fn an_older_record_without_its_mark_is_in_doubt() {
    let mut subject = three_writes(false).await;
    let older = subject.bytes();
    subject.open().await;
    subject.record(&[usage("d", 9, 1_503, 9_003)]).await;
    fs::remove_file(mark::path(subject.dir.path())).expect("there");
    subject.crash_marked(&older);
    assert!(is_lost(&subject).await);
    let whole = subject.bytes();
    subject.crash_with(&whole);
    assert_eq!(subject.open().await.damaged, 0, "the control: a version that kept no marks left it");
}

#[tokio::test]
async fn names_that_are_no_files_are_moved_aside() {
    for name in ["usage.log", "usage.mark"] {
        let mut subject = three_writes(true).await;
        let path = subject.dir.path().join(name);
        for kind in ["link", "fifo", "directory"] {
            let _ = fs::remove_file(&path);
            match kind {
                "link" => std::os::unix::fs::symlink("/dev/null", &path).expect("links"),
                "directory" => fs::create_dir(&path).expect("makes"),
                _ => rustix::fs::mknodat(
                    rustix::fs::CWD,
                    &path,
                    rustix::fs::FileType::Fifo,
                    rustix::fs::Mode::from_raw_mode(0o600),
                    0,
                )
                .expect("makes"),
            }
            subject.crash();
            let found = subject.open().await;
            assert_eq!(found.complete_from, NOW, "{name} {kind}: {found:?}");
            assert!(fs::symlink_metadata(&path).expect("there").is_file(), "{name} {kind}");
        }
    }
}
