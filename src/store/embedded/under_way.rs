//! The file `under-way`: marks of calls, in places of equal length that are written over.
//!
//! ```text
//! head:  "TGUNDWY" version 1 | state u8: 0 stopped, 1 runs, 2 runs and marks | 7 zeros | boot id 36 bytes | CRC-32C u32
//! place: kind u8: 0 free, 1 under way, 2 set aside | ends u8 | 2 zeros | id 16 bytes | CRC-32C u32
//! ```
//! Nothing of it is vital: what does not add up is read as nothing.
//!
//! Must not know: how suspects are tried.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tracing::warn;

use super::files;
use crate::event::EventId;
use crate::store::flights::{ENDS_MAX, FlightMarks, FlightsFound};

/// The name of the file.
pub(super) const NAME: &str = "under-way";
const MAGIC: &[u8; 8] = b"TGUNDWY\x01";
const HEAD_BYTES: usize = 56;
const BOOT_BYTES: usize = 36;
const PLACE_BYTES: usize = 24;
/// More than calls may be under way.
const PLACES_MAX: u32 = 1 << 17;
/// Most that are kept aside: each is taken out as it becomes a dead letter.
const ASIDE_MAX: usize = 1024;
/// The longest file that is read.
const FILE_MAX_BYTES: u64 = 8 << 20;

const STOPPED: u8 = 0;
const RUNS: u8 = 1;
const MARKS: u8 = 2;
const FREE: u8 = 0;
const UNDER_WAY: u8 = 1;
const ASIDE: u8 = 2;

/// The marks of one directory, which no other process may be using.
pub(super) struct UnderWay {
    found: FlightsFound,
    state: Mutex<State>,
}

struct State {
    /// `None` when it cannot be written: nothing is marked then.
    file: Option<File>,
    boot: [u8; BOOT_BYTES],
    places: HashMap<EventId, u32>,
    free: Vec<u32>,
    next: u32,
    has_stopped: bool,
}

impl UnderWay {
    /// Reads what the process before left in the directory, in the same start of the machine, whose id is `boot`, and begins
    /// anew.
    pub(super) fn open(root: &Path, boot: Option<&str>) -> Self {
        let path = root.join(NAME);
        let boot = boot_bytes(boot.unwrap_or_default());
        let read = files::read_plain(&path, FILE_MAX_BYTES);
        let read = read.map_err(|error| warn!(%error, "marks of calls under way cannot be read"));
        let found = found(read.ok().flatten().as_deref().unwrap_or_default(), boot);
        let mut state =
            State { file: None, boot, places: HashMap::new(), free: Vec::new(), next: 0, has_stopped: false };
        match state.begin(&path, &found) {
            Ok(file) => state.file = Some(file),
            Err(error) => warn!(%error, "calls under way are not marked"),
        }
        Self { found, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Writes the file anew, with what stays aside.
    fn begin(&mut self, path: &Path, found: &FlightsFound) -> io::Result<File> {
        let file = match files::write(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => files::create(path)?,
            other => other?,
        };
        let mut bytes = head(if found.marks { MARKS } else { RUNS }, &self.boot);
        for entry in &found.set_aside {
            bytes.extend(place(ASIDE, ENDS_MAX, *entry));
            self.places.insert(*entry, self.next);
            self.next += 1;
        }
        file.set_len(0)?;
        file.write_all_at(&bytes, 0)?;
        if !found.set_aside.is_empty() {
            // The marks that led to it are gone with this.
            file.sync_data()?;
        }
        Ok(file)
    }

    fn write(&mut self, bytes: &[u8], at: u64) {
        let Some(file) = &self.file else { return };
        if let Err(error) = file.write_all_at(bytes, at) {
            warn!(%error, "calls under way are not marked any more");
            self.file = None;
        }
    }

    fn write_head(&mut self, state: u8) {
        let head = head(state, &self.boot);
        self.write(&head, 0);
    }

    fn write_place(&mut self, number: u32, kind: u8, ends: u8, entry: EventId) {
        let head = HEAD_BYTES as u64;
        self.write(&place(kind, ends, entry), head + u64::from(number) * PLACE_BYTES as u64);
    }
}

impl FlightMarks for UnderWay {
    fn found(&self) -> FlightsFound {
        self.found.clone()
    }

    fn begun(&self, entry: EventId, ends: u8) {
        let mut state = self.lock();
        let State { places, free, next, .. } = &mut *state;
        let number = *places.entry(entry).or_insert_with(|| {
            free.pop().unwrap_or_else(|| {
                *next += 1;
                *next - 1
            })
        });
        if number < PLACES_MAX {
            state.write_place(number, UNDER_WAY, ends, entry);
        }
    }

    fn cleared(&self, entry: EventId) {
        let mut state = self.lock();
        if let Some(number) = state.places.get(&entry).copied().filter(|number| *number < PLACES_MAX) {
            state.write_place(number, UNDER_WAY, 0, entry);
        }
    }

    fn ended(&self, entry: EventId) {
        let mut state = self.lock();
        let Some(number) = state.places.remove(&entry) else { return };
        state.free.push(number);
        if number < PLACES_MAX {
            state.write_place(number, FREE, 0, entry);
        }
    }

    fn calm(&self) {
        self.lock().write_head(RUNS);
    }

    fn stopped(&self) {
        let mut state = self.lock();
        if !std::mem::replace(&mut state.has_stopped, true) {
            state.write_head(STOPPED);
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        // Whoever lets go of the store without a panic has come to an end of its own.
        if !std::thread::panicking() {
            self.stopped();
        }
    }
}

/// What a file says to a start of the machine.
fn found(file: &[u8], boot: [u8; BOOT_BYTES]) -> FlightsFound {
    let mut found = FlightsFound::default();
    let Some((state, left_by, places)) = read_head(file) else { return found };
    let is_same_boot = left_by == boot && boot != [0; BOOT_BYTES];
    found.marks = state != STOPPED && is_same_boot;
    found.any_was = found.marks && state == RUNS;
    for (kind, ends, entry) in places.chunks_exact(PLACE_BYTES).filter_map(read_place) {
        match kind {
            ASIDE if found.set_aside.len() < ASIDE_MAX => found.set_aside.push(entry),
            UNDER_WAY if found.marks && state == MARKS => {
                found.under_way.push((entry, ends.saturating_add(1)))
            }
            _ => {}
        }
    }
    let mut worst = found.under_way.iter().filter(|(_, ends)| *ends >= ENDS_MAX);
    // Of several nobody knows which one it was.
    if let (Some((entry, _)), None) = (worst.next(), worst.next())
        && found.set_aside.len() < ASIDE_MAX
    {
        found.set_aside.push(*entry);
    }
    let set_aside = &found.set_aside;
    found.under_way.retain(|(entry, _)| !set_aside.contains(entry));
    found
}

fn head(state: u8, boot: &[u8; BOOT_BYTES]) -> Vec<u8> {
    let mut head = MAGIC.to_vec();
    head.extend([state, 0, 0, 0, 0, 0, 0, 0]);
    head.extend(boot);
    let sum = crc32c::crc32c(&head);
    head.extend(sum.to_le_bytes());
    head
}

/// The state, the start of the machine, and what follows; `None` where it does not add up.
fn read_head(file: &[u8]) -> Option<(u8, [u8; BOOT_BYTES], &[u8])> {
    let (head, rest) = file.split_at_checked(HEAD_BYTES)?;
    let (said, sum) = head.split_at_checked(HEAD_BYTES - 4)?;
    if !said.starts_with(MAGIC) || sum != crc32c::crc32c(said).to_le_bytes() {
        return None;
    }
    Some((*said.get(8)?, said.get(16..)?.try_into().ok()?, rest))
}

fn place(kind: u8, ends: u8, entry: EventId) -> [u8; PLACE_BYTES] {
    let mut place = [0; PLACE_BYTES];
    let [said @ .., _, _, _, _] = &mut place;
    let [kind_at, ends_at, _, _, id @ ..] = said;
    (*kind_at, *ends_at) = (kind, ends);
    id.copy_from_slice(&entry.to_bytes());
    let sum = crc32c::crc32c(said).to_le_bytes();
    let [.., a, b, c, d] = &mut place;
    [*a, *b, *c, *d] = sum;
    place
}

fn read_place(bytes: &[u8]) -> Option<(u8, u8, EventId)> {
    let (said, sum) = bytes.split_at_checked(PLACE_BYTES - 4)?;
    if sum != crc32c::crc32c(said).to_le_bytes() {
        return None;
    }
    let [kind, ends, _, _, id @ ..] = said else { return None };
    Some((*kind, *ends, EventId::from_bytes(id.try_into().ok()?)))
}

fn boot_bytes(boot: &str) -> [u8; BOOT_BYTES] {
    let mut bytes = [0; BOOT_BYTES];
    for (to, from) in bytes.iter_mut().zip(boot.bytes()) {
        *to = from;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOOT: Option<&str> = Some("6a8e1b1c-6f0e-4c55-9d3f-0c5d0a6a7b11");

    fn id(number: u128) -> EventId {
        EventId::new(1_000, number)
    }

    /// A process that has these calls under way, each with its ends, and ends as a kill would.
    fn killed(root: &Path, boot: Option<&str>, calls: &[(u128, u8)]) -> FlightsFound {
        let marks = UnderWay::open(root, boot);
        marks.begun(id(999), 0);
        marks.ended(id(999));
        if marks.found().marks {
            calls.iter().for_each(|(call, ends)| marks.begun(id(*call), *ends));
        }
        let found = marks.found();
        std::mem::forget(marks);
        found
    }

    #[test]
    fn an_event_under_way_in_three_ends_in_a_row_is_set_aside_by_the_fourth_start() {
        let temp = tempfile::tempdir().expect("temp");
        let root = temp.path();
        assert_eq!(killed(root, BOOT, &[]), FlightsFound::default());
        let second = killed(root, BOOT, &[(1, 1), (2, 1), (3, 0)]);
        assert_eq!((second.marks, second.any_was, second.under_way.len()), (true, true, 0));
        // The first end is counted for those that may have been under way.
        let third = killed(root, BOOT, &[(1, 2), (4, 0)]);
        assert_eq!(third.under_way, [(id(1), 2), (id(2), 2), (id(3), 1)]);
        assert!(!third.any_was && third.set_aside.is_empty());
        let fourth = killed(root, BOOT, &[]);
        assert_eq!(fourth.set_aside, [id(1)]);
        assert_eq!(fourth.under_way, [(id(4), 1)], "2 and 3 had nothing to do with the end");
        // It stays aside over ends and stops of all kinds until it has reached its end.
        let stopped = UnderWay::open(root, None);
        assert_eq!((stopped.found().marks, stopped.found().set_aside), (false, vec![id(1)]));
        drop(stopped);
        let ended = UnderWay::open(root, BOOT);
        assert_eq!(ended.found().set_aside, [id(1)]);
        ended.ended(id(1));
        drop(ended);
        assert_eq!(UnderWay::open(root, BOOT).found(), FlightsFound::default());
    }

    #[test]
    fn nobody_is_blamed_where_several_may_be_or_the_machine_has_stopped() {
        let temp = tempfile::tempdir().expect("temp");
        let root = temp.path();
        killed(root, BOOT, &[]);
        killed(root, BOOT, &[(1, 2), (2, 2)]);
        let both = killed(root, BOOT, &[(1, 3)]);
        assert_eq!(both.under_way, [(id(1), 3), (id(2), 3)]);
        assert!(both.set_aside.is_empty());
        // A power cut in between: another start of the machine.
        assert_eq!(killed(root, Some("another"), &[(1, 2)]), FlightsFound::default());
        killed(root, BOOT, &[]);
        killed(root, BOOT, &[(1, 2)]);
        drop(UnderWay::open(root, BOOT));
        assert!(UnderWay::open(root, BOOT).found().under_way.is_empty(), "after a stop");
    }

    #[test]
    fn a_process_that_has_lasted_ends_for_the_first_time() {
        let temp = tempfile::tempdir().expect("temp");
        killed(temp.path(), BOOT, &[]);
        let marks = UnderWay::open(temp.path(), BOOT);
        marks.begun(id(1), 2);
        marks.calm();
        std::mem::forget(marks);
        let found = UnderWay::open(temp.path(), BOOT).found();
        assert!(found.any_was, "{found:?}");
        assert!(found.set_aside.is_empty());
    }

    proptest! {
        #[test]
        fn what_is_damaged_blames_nobody_else(at in 0..200_usize, to in any::<u8>()) {
            let temp = tempfile::tempdir().expect("temp");
            killed(temp.path(), BOOT, &[]);
            killed(temp.path(), BOOT, &[(1, 2), (2, 1), (3, 1)]);
            let path = temp.path().join(NAME);
            let mut bytes = std::fs::read(&path).expect("reads");
            if let Some(byte) = bytes.get_mut(at) {
                *byte = to;
            }
            let found = found(&bytes, boot_bytes(BOOT.unwrap_or_default()));
            prop_assert!(found.set_aside.iter().all(|entry| *entry == id(1)), "{:?}", found);
        }
    }
}
