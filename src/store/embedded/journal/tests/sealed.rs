//! Records that are encrypted: read with their key at their place alone, and what a flip, a move or a missing key costs.

use super::super::frame::{FrameError, FrameKind, FramePlace, Header};
use super::*;
use crate::store::embedded::keys::KeyRing;

const OLD: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const NEW: &str = "fff102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const SALT: u64 = 0x0123_4567_89ab_cdef;

fn ring(lines: &[&str]) -> KeyRing {
    KeyRing::parse(&lines.join("\n")).expect("keys")
}

fn journal(dir: &Path, keys: &Keys) -> Journal {
    Journal::open_on(dir, options(), 0, NOW, Box::new(OsDisk), keys.clone()).expect("opens")
}

fn reader(dir: &Path, keys: &Keys) -> BlockReader {
    BlockReader::over(dir, SALT, Arc::new(OsSource), 8, keys.clone())
}

fn write(journal: &mut Journal, text: &str) -> Position {
    let mut group = FrameGroup::of(true);
    push(&mut group, &[Bytes::from(format!("{text} {}", "canary".repeat(40)))]);
    journal.append(&mut group, NOW).expect("appends")[0]
}

fn key_of(dir: &Path, number: u32) -> Option<String> {
    let heads = heads(dir).expect("reads");
    let head = heads.iter().find(|one| one.file.number == number).expect("there").head;
    let HeadState::Sound { key, .. } = head else { panic!("no head") };
    key.map(|key| key.to_string())
}

#[test]
fn another_key_begins_a_segment_and_each_block_needs_its_own() {
    let temp = tempfile::tempdir().expect("temp");
    let keys = Keys::new(ring(&[OLD]));
    let mut journal = journal(temp.path(), &keys);
    let old = [write(&mut journal, "one"), write(&mut journal, "two")];
    keys.replace(ring(&[NEW, OLD]));
    let new = write(&mut journal, "three");
    assert_eq!((old[0].segment, old[1].segment, new.segment), (1, 1, 2));
    journal.close();
    let ids: Vec<String> = keys.ring().ids().map(|id| id.to_string()).collect();
    assert_eq!(
        (key_of(temp.path(), 2), key_of(temp.path(), 1)),
        (Some(ids[0].clone()), Some(ids[1].clone()))
    );
    for name in ["0000000001.seg", "0000000002.seg"] {
        let bytes = fs::read(temp.path().join(name)).expect("reads");
        assert!(!bytes.windows(6).any(|window| window == b"canary"), "{name}");
    }
    let all = reader(temp.path(), &keys);
    assert!(all.read_block(old[1]).expect("reads").record(0).expect("one").starts_with(b"two"));
    assert!(all.read_block(new).expect("reads").record(0).expect("one").starts_with(b"three"));
    // What has no key is unknown and not damaged; a scan, which takes no record, shows everything.
    let without = reader(temp.path(), &Keys::new(ring(&[NEW])));
    let refused = without.read_block(old[0]).expect_err("its key is not there").to_string();
    assert!(refused.contains(&ids[1]) && refused.contains("store.key_file"), "{refused}");
    assert!(matches!(without.read_block(old[0]), Err(ReadError::Store(StoreError::Unread { .. }))));
    assert!(without.read_block(new).is_ok());
    let report = scan(temp.path(), Scan::default(), |_, _| Ok(())).expect("scans");
    assert_eq!((report.entries, report.damaged), (3, 0));
}

#[test]
fn a_flip_is_damage_and_so_is_a_block_that_was_moved_with_a_right_sum() {
    let temp = tempfile::tempdir().expect("temp");
    let keys = Keys::new(ring(&[OLD]));
    let mut journal = journal(temp.path(), &keys);
    let (one, two) = (write(&mut journal, "one"), write(&mut journal, "two"));
    journal.close();
    let path = temp.path().join("0000000001.seg");
    let sound = fs::read(&path).expect("reads");
    let (from, to) = (one.offset as usize, two.offset as usize);
    let length = to - from;
    let mut flipped = sound.clone();
    flipped[to - 24] ^= 1;
    fs::write(&path, &flipped).expect("writes");
    let read = || reader(temp.path(), &keys).read_block(one);
    assert!(matches!(read(), Err(ReadError::Damaged { error: FrameError::Checksum, .. })));
    assert_eq!(scan(temp.path(), Scan::default(), |_, _| Ok(())).expect("scans").damaged, 1);
    // The second block with the bytes of the first one, and a sum that is right for its place.
    let place = |offset| FramePlace { salt: SALT, segment: 1, offset };
    let (header, payload) = frame::open(&sound[from..to], place(one.offset)).expect("sound");
    let moved = |header: Header, payload: &[u8]| {
        let mut bytes = sound.clone();
        bytes[to + 24..to + 24 + payload.len()].copy_from_slice(payload);
        let (head, rest) = bytes[to..].split_first_chunk_mut().expect("room");
        header.seal(head, crc32c::crc32c(&rest[..payload.len()]), place(two.offset));
        fs::write(&path, &bytes).expect("writes");
        reader(temp.path(), &keys).read_block(two)
    };
    assert_eq!((header.kind, header.sealed, length), (FrameKind::Block, true, header.frame_bytes()));
    let refused = moved(header, payload).expect_err("it is bound to its place");
    assert!(refused.to_string().contains("does not decrypt"), "{refused}");
    assert!(matches!(refused, ReadError::Damaged { error: FrameError::Payload(_), .. }));
    // The control: the block's own bytes put there the same way.
    let (header, payload) = frame::open(&sound[to..], place(two.offset)).expect("sound");
    assert!(moved(header, payload).is_ok());
    // As is a change of what is not encrypted, such as the lane, under a right sum.
    let mut other = payload.to_vec();
    other[0] ^= 1;
    assert!(moved(header, &other).is_err());
}

#[test]
fn a_head_that_is_healed_names_its_key_again() {
    let temp = tempfile::tempdir().expect("temp");
    let keys = Keys::new(ring(&[OLD]));
    let mut journal = journal(temp.path(), &keys);
    let at = write(&mut journal, "one");
    journal.close();
    let path = temp.path().join("0000000001.seg");
    let key = key_of(temp.path(), 1);
    let sound = fs::read(&path).expect("reads");
    for damaged in [0..32, 32..64, 0..64] {
        let mut bytes = sound.clone();
        bytes[damaged.clone()].fill(0xee);
        fs::write(&path, &bytes).expect("writes");
        let how = Arrange {
            salt: SALT,
            is_salt_proven: true,
            is_settled: &|_| false,
            is_known: &|_| Some(true),
            repair: true,
        };
        arrange(temp.path(), &how).expect("arranges");
        assert_eq!(key_of(temp.path(), 1), key, "{damaged:?}");
        assert!(reader(temp.path(), &keys).read_block(at).is_ok());
    }
}

#[test]
fn letters_are_listed_with_their_keys_and_found_again_when_those_are_back() {
    let temp = tempfile::tempdir().expect("temp");
    let keys = Keys::new(ring(&[OLD]));
    let letter = |n: u64| DeadLetter {
        id: EventId::new(1_000 + n, n.into()),
        lane: lane(),
        at: Timestamp::from_millis(1_000 + n),
        attempts: 1,
        reason: "http_404".to_owned(),
        record: Bytes::from(format!("canary {n}")),
    };
    let retention = LetterRetention { age: Duration::from_secs(60), letters: u64::MAX, bytes: u64::MAX };
    let found = FoundLetters::scan(temp.path(), SALT, None).expect("scans").with_keys(keys.clone());
    let (mut log, _) =
        DeadLog::open_on(temp.path(), options(), retention, NOW, found, 0, Box::new(OsDisk)).expect("opens");
    log.append(&[letter(1), letter(2)], NOW).expect("appends");
    keys.replace(ring(&[NEW, OLD]));
    log.append(&[letter(3)], NOW).expect("appends");
    let all = crate::store::ReadLimit { entries: 10, bytes: usize::MAX };
    let page = |order| {
        let page = log.letters().page(order, None, all).expect("reads");
        let records: Vec<Bytes> = page.letters.into_iter().map(|(_, letter)| letter.record).collect();
        (records, page.unreadable, page.damaged.len())
    };
    let text = |n: u64| Bytes::from(format!("canary {n}"));
    use crate::store::LetterOrder::{NewestFirst, OldestFirst};
    assert_eq!(page(OldestFirst), (vec![text(1), text(2), text(3)], 0, 0));
    assert_eq!(page(NewestFirst), (vec![text(3), text(2), text(1)], 0, 0));
    keys.replace(ring(&[NEW]));
    for order in [OldestFirst, NewestFirst] {
        assert_eq!(page(order), (vec![text(3)], 2, 0), "unknown, not damaged, and the rest goes on");
    }
    assert_eq!(log.letters().find(letter(1).id).expect("reads").letters.len(), 0);
    assert_eq!(log.by_segment().values().sum::<u64>(), 3, "none is missing");
    keys.replace(ring(&[NEW, OLD]));
    assert_eq!(log.letters().find(letter(1).id).expect("reads").letters[0].1, letter(1));
    for file in fs::read_dir(temp.path()).expect("lists").flatten() {
        let bytes = fs::read(file.path()).expect("reads");
        assert!(!bytes.windows(6).any(|window| window == b"canary"));
    }
    log.close();
    let found = scan(temp.path(), Scan::default(), |_, _| Ok(())).expect("scans without keys");
    assert_eq!((found.entries, found.damaged), (3, 0));
}

/// Made from the specification, by another language and library. When this fails, the code is wrong, not the fixture.
#[test]
fn an_encrypted_segment_of_the_first_version_reads() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format_v1_sealed/journal");
    let keys = Keys::new(ring(&[NEW, OLD]));
    let mut blocks = Vec::new();
    scan(&dir, Scan::default(), |at, frame| {
        if let Frame::Block(_) = frame {
            blocks.push(at);
        }
        Ok(())
    })
    .expect("scans");
    let reader = reader(&dir, &keys);
    let text = |at| reader.read_block(at).expect("reads").record(0).expect("a record");
    assert_eq!(blocks.len(), 2);
    let both = reader.read_block(blocks[0]).expect("reads");
    assert_eq!((both.count(), both.record(1)), (2, Some(Bytes::from(vec![b'z'; 300]))));
    assert_eq!((&text(blocks[0])[..], &text(blocks[1])[..]), (&b"plain text canary"[..], &b"short"[..]));
    assert_eq!(reader.read_block(blocks[1]).expect("reads").due_ms, [1_700_000_060_000]);
    let first = fs::read(dir.join("0000000001.seg")).expect("reads");
    let head = head::HeadFields::read(&first);
    let key = keys.ring().ids().nth(1);
    assert!(matches!(head, head::FileStart::Sound { head, damaged: false } if head.key == key), "{head:?}");
}

#[test]
fn without_room_for_a_segment_a_key_that_is_still_in_the_file_goes_on_and_one_that_was_removed_does_not() {
    for is_kept in [true, false] {
        let temp = tempfile::tempdir().expect("temp");
        let keys = Keys::new(ring(&[OLD]));
        // The head, the first group, and then the head of the next segment, for which there is no room.
        let disk = Failing { fail_write: Some(2), write_errno: 28, ..Failing::default() };
        let mut journal =
            Journal::open_on(temp.path(), options(), 0, NOW, Box::new(disk), keys.clone()).expect("opens");
        write(&mut journal, "one");
        keys.replace(ring(if is_kept { &[NEW, OLD] } else { &[NEW] }));
        let mut group = FrameGroup::of(true);
        push(&mut group, &[Bytes::from_static(b"two")]);
        let appended = journal.append(&mut group, NOW);
        if is_kept {
            assert_eq!(appended.expect("goes on")[0].segment, 1);
            continue;
        }
        assert!(appended.expect_err("its key is gone").is_refusal());
        let at = journal.append(&mut group, NOW).expect("there is room again")[0];
        assert_eq!(at.segment, 2);
        let record = reader(temp.path(), &keys).read_block(at).expect("reads").record(0);
        assert_eq!(record.as_deref(), Some(&b"two"[..]));
    }
}
