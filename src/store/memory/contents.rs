//! What the store in memory holds, as plain maps, and the rules of the store on them.
//!
//! Must not know: failures, waiting.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::event::{EventId, Lane, LaneKey, Reason, Settlement, Tries, Why};
use crate::store::ends::attempts;
use crate::store::{
    Appended, DeadLetter, Dedup, DuePage, EndRecord, KeptEnd, LaneSummary, LastRedrive, LetterOrder,
    LetterPage, LetterPlace, Lookup, Loss, NewEntry, PlacedLetter, ReadLimit, Scan, ScanPage, ScanPlace,
    Scanned, SettleRequest, StoredEntry, Version, record,
};

/// What a crash leaves.
#[derive(Clone, Default)]
pub(super) struct Contents {
    last: Option<EventId>,
    lanes: BTreeMap<LaneKey, Rows>,
    homes: BTreeMap<EventId, LaneKey>,
    settled: BTreeSet<EventId>,
    /// Why they ended, of successes without the status.
    whys: BTreeMap<EventId, KeptEnd>,
    pub(super) lost: BTreeSet<EventId>,
    /// In the order in which they came.
    pub(super) ends: Vec<EndRecord>,
    /// Not yet taken by whoever counts them.
    pub(super) losses: Vec<Loss>,
    dedup: BTreeMap<[u8; 16], (u64, EventId)>,
    /// The last one of each event that was redriven.
    redrives: BTreeMap<EventId, LastRedrive>,
    /// By the order in which they were parked.
    pub(super) dead: BTreeMap<u64, DeadLetter>,
    parked: u64,
    /// Documents that are not what was written.
    pub(super) damaged: BTreeSet<&'static str>,
    pub(super) documents: BTreeMap<&'static str, (Version, Bytes)>,
}

#[derive(Clone, Default)]
struct Rows {
    entries: BTreeMap<EventId, Row>,
    ready: BTreeSet<EventId>,
    due: BTreeSet<(u64, EventId)>,
}

#[derive(Clone)]
struct Row {
    due_ms: Option<u64>,
    tries: Tries,
    doubted_at: Option<Timestamp>,
    record: Bytes,
}

impl Row {
    fn stored(&self, id: EventId) -> StoredEntry {
        StoredEntry {
            id,
            tries: self.tries,
            due_at: self.due_ms.map(Timestamp::from_millis),
            doubted_at: self.doubted_at,
            record: self.record.clone(),
        }
    }
}

impl Contents {
    pub(super) fn append(&mut self, batch: Vec<NewEntry>, now_ms: u64) -> Vec<Appended> {
        // Like the embedded store, which writes blocks of one lane and kind: ids run on within a group.
        let mut groups: HashMap<(LaneKey, bool), usize> = HashMap::new();
        let mut order: Vec<(usize, usize)> = Vec::with_capacity(batch.len());
        let mut answers = vec![None; batch.len()];
        for (at, entry) in batch.iter().enumerate() {
            let next = groups.len();
            let group = *groups.entry((entry.lane.clone(), entry.due_at.is_some())).or_insert(next);
            order.push((group, at));
        }
        let mut first: HashMap<[u8; 16], usize> = HashMap::new();
        order.retain(|(_, at)| match batch.get(*at).and_then(|entry| entry.dedup) {
            Some(dedup) if self.dedup.contains_key(&dedup.key) || first.contains_key(&dedup.key) => false,
            Some(dedup) => first.insert(dedup.key, *at).is_none(),
            None => true,
        });
        order.sort_unstable();
        for (_, at) in order {
            if let (Some(entry), Some(answer)) = (batch.get(at), answers.get_mut(at)) {
                *answer = Some(Appended::New(self.insert(entry, now_ms)));
            }
        }
        let repeated = |entry: &NewEntry| self.repeated(entry.dedup);
        batch
            .iter()
            .zip(answers)
            // Whatever is unanswered was left out above because its key is on record by now.
            .filter_map(|(entry, answer)| answer.or_else(|| repeated(entry)))
            .collect()
    }

    /// When the last entry was accepted.
    pub(super) fn newest(&self) -> Timestamp {
        self.last.map_or(Timestamp::ZERO, |last| last.accepted_at())
    }

    pub(super) fn repeated(&self, dedup: Option<Dedup>) -> Option<Appended> {
        let dedup = dedup?;
        let (fingerprint, id) = self.dedup.get(&dedup.key)?;
        Some(if *fingerprint == dedup.fingerprint {
            Appended::Duplicate(*id)
        } else {
            Appended::Conflict(*id)
        })
    }

    /// As after the time for which keys are kept.
    pub(super) fn forget_keys(&mut self) {
        self.dedup.clear();
    }

    pub(super) fn last_redrive(&self, name: EventId) -> Option<LastRedrive> {
        self.redrives.get(&name).cloned()
    }

    fn insert(&mut self, entry: &NewEntry, now_ms: u64) -> EventId {
        let id = match self.last {
            Some(last) => {
                EventId::new(last.accepted_at().as_millis().max(now_ms), last.tail().wrapping_add(1))
            }
            None => EventId::new(now_ms, 1),
        };
        self.last = Some(id);
        let due_ms = entry.due_at.map(Timestamp::ceil_millis);
        let rows = self.lanes.entry(entry.lane.clone()).or_default();
        match due_ms {
            Some(due_ms) => rows.due.insert((due_ms, id)),
            None => rows.ready.insert(id),
        };
        rows.entries
            .insert(id, Row { due_ms, tries: Tries::NONE, doubted_at: None, record: entry.record.clone() });
        self.homes.insert(id, entry.lane.clone());
        if let Some(dedup) = entry.dedup {
            self.dedup.insert(dedup.key, (dedup.fingerprint, id));
            if let Some(redriven) = record::redriven(&entry.record).filter(|_| dedup.is_of_redrive()) {
                self.redrives.insert(record::name(&entry.record, id), LastRedrive { entry: id, redriven });
            }
        }
        id
    }

    pub(super) fn settle(&mut self, settle: &SettleRequest, now_ms: u64) {
        let Some(rows) = self.lanes.get_mut(&settle.lane) else { return };
        let place = settle.due_at.map(Timestamp::ceil_millis);
        let Some(row) = rows.entries.get_mut(&settle.id).filter(|row| row.due_ms == place) else { return };
        match place {
            Some(due_ms) => rows.due.remove(&(due_ms, settle.id)),
            None => rows.ready.remove(&settle.id),
        };
        match &settle.settlement {
            Settlement::Reschedule { due_at, tries, doubted_at } => {
                row.due_ms = Some(due_at.ceil_millis());
                row.tries = *tries;
                row.doubted_at = doubted_at.map(|at| Timestamp::from_millis(at.as_millis()));
                rows.due.insert((due_at.ceil_millis(), settle.id));
                return;
            }
            Settlement::Dead { reason, attempts } => {
                let letter = DeadLetter {
                    id: settle.id,
                    lane: settle.lane.clone(),
                    at: Timestamp::from_millis(now_ms),
                    attempts: *attempts,
                    reason: reason.clone(),
                    record: row.record.clone(),
                };
                self.parked += 1;
                self.dead.insert(self.parked, letter);
            }
            Settlement::Lost => {
                self.lost.insert(settle.id);
                self.losses.push(Loss {
                    lane: settle.lane.clone(),
                    id: settle.id,
                    due_at: place.map(Timestamp::from_millis),
                });
            }
            _ => {}
        }
        self.ends.push(end(settle, row.tries, now_ms));
        rows.entries.remove(&settle.id);
        if rows.entries.is_empty() {
            self.lanes.remove(&settle.lane);
        }
        self.homes.remove(&settle.id);
        self.settled.insert(settle.id);
        let is_success = settle.settlement == Settlement::Delivered;
        if let Some(why) = if is_success { Some(Why::DELIVERED) } else { settle.why } {
            self.whys.insert(settle.id, KeptEnd { lane: Some(settle.lane.clone()), why });
        }
    }

    pub(super) fn park(&mut self, letter: DeadLetter) {
        self.parked += 1;
        self.dead.insert(self.parked, letter);
    }

    pub(super) fn give_up(&mut self, lane: &LaneKey, handed_out: &HashSet<EventId>) -> u64 {
        let Some(rows) = self.lanes.get(lane) else { return 0 };
        let owed = rows.entries.iter().filter(|(id, _)| !handed_out.contains(id));
        let settles: Vec<SettleRequest> = owed
            .map(|(id, row)| SettleRequest {
                why: None,
                lane: lane.clone(),
                id: *id,
                due_at: row.due_ms.map(Timestamp::from_millis),
                settlement: Settlement::Lost,
            })
            .collect();
        // None of them is parked: the moment does not matter.
        settles.iter().for_each(|settle| self.settle(settle, 0));
        settles.len() as u64
    }

    pub(super) fn ready(&self, lane: &LaneKey, after: Option<EventId>, limit: ReadLimit) -> Vec<StoredEntry> {
        let Some(rows) = self.lanes.get(lane) else { return Vec::new() };
        let start = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let ids = rows.ready.range((start, std::ops::Bound::Unbounded));
        take(ids.filter_map(|id| rows.entries.get(id).map(|row| row.stored(*id))), limit).0
    }

    pub(super) fn due(
        &self,
        lane: &LaneKey,
        until: Timestamp,
        skip: &HashSet<EventId>,
        limit: ReadLimit,
    ) -> DuePage {
        let Some(rows) = self.lanes.get(lane) else { return DuePage::default() };
        let waiting = rows.due.iter().filter(|(_, id)| !skip.contains(id));
        let due = waiting.clone().take_while(|(due_ms, _)| Timestamp::from_millis(*due_ms) <= until);
        let (entries, taken) =
            take(due.filter_map(|(_, id)| rows.entries.get(id).map(|row| row.stored(*id))), limit);
        let next_due = waiting.skip(taken).map(|(due_ms, _)| Timestamp::from_millis(*due_ms)).next();
        DuePage { entries, next_due }
    }

    pub(super) fn letters(
        &self,
        order: LetterOrder,
        after: Option<LetterPlace>,
        limit: ReadLimit,
    ) -> LetterPage {
        let behind = |place: &u64| {
            after.is_none_or(|LetterPlace(after)| match order {
                LetterOrder::OldestFirst => *place > after,
                LetterOrder::NewestFirst => *place < after,
            })
        };
        let mut places: Vec<u64> = self.dead.keys().copied().filter(behind).collect();
        if order == LetterOrder::NewestFirst {
            places.reverse();
        }
        let (mut page, mut bytes, mut last) = (LetterPage::default(), 0_usize, None);
        for place in places {
            let Some(letter) = self.dead.get(&place) else { continue };
            bytes = bytes.saturating_add(letter.record.len());
            if !page.letters.is_empty() && (page.letters.len() >= limit.entries || bytes > limit.bytes) {
                page.next = last;
                return page;
            }
            page.letters.push(PlacedLetter { place: LetterPlace(place), letter: letter.clone() });
            last = Some(LetterPlace(place));
        }
        page
    }

    pub(super) fn lookup(&self, id: EventId) -> Lookup {
        let row = self.homes.get(&id).and_then(|lane| Some((lane, self.lanes.get(lane)?.entries.get(&id)?)));
        match row {
            Some((lane, row)) => Lookup::Waiting(lane.clone(), row.stored(id)),
            None if self.lost.contains(&id) => Lookup::Lost,
            None if self.settled.contains(&id) => Lookup::Settled(self.whys.get(&id).cloned()),
            None => Lookup::Unknown,
        }
    }

    /// In the order of ids.
    pub(super) fn scan(&self, scan: &Scan) -> ScanPage {
        let place = |id: EventId| ScanPlace(u128::from_be_bytes(id.to_bytes()));
        let after = scan.after.map(|ScanPlace(bits)| EventId::from_bytes(bits.to_be_bytes()));
        let start = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let (mut page, mut bytes) = (ScanPage::default(), 0_usize);
        for (id, lane) in self.homes.range((start, std::ops::Bound::Unbounded)) {
            if !scan.lanes.has(lane) || id.accepted_at() < scan.accepted_from {
                continue;
            }
            let Some(row) = self.lanes.get(lane).and_then(|rows| rows.entries.get(id)) else { continue };
            bytes = bytes.saturating_add(row.record.len());
            let is_full = page.entries.len() >= scan.limit.entries || bytes > scan.limit.bytes;
            if is_full && let Some(last) = page.entries.last() {
                page.next = Some(last.place);
                return page;
            }
            page.entries.push(Scanned { place: place(*id), lane: lane.clone(), entry: row.stored(*id) });
        }
        page
    }

    pub(super) fn count_before(&self, lane: &LaneKey, id: EventId) -> u64 {
        self.lanes.get(lane).map_or(0, |rows| rows.ready.range(..id).count() as u64)
    }

    pub(super) fn summaries(&self) -> Vec<LaneSummary> {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let summary = |(lane, rows): (&LaneKey, &Rows)| LaneSummary {
            lane: lane.clone(),
            ready: count(rows.ready.len()),
            delayed: count(rows.due.len()),
            next_due: rows.due.first().map(|(due_ms, _)| Timestamp::from_millis(*due_ms)),
            oldest: rows.entries.keys().next().map(|id| id.accepted_at()),
        };
        self.lanes.iter().map(summary).collect()
    }
}

fn end(settle: &SettleRequest, tries: Tries, now_ms: u64) -> EndRecord {
    let reason = match Reason::of(&settle.settlement) {
        _ if matches!(settle.settlement, Settlement::Dead { .. }) => Reason::Other,
        reason => reason.unwrap_or(Reason::Other),
    };
    let why = settle.why.unwrap_or(Why { reason, status: None, limited: None });
    let names = |lane: Lane| -> Arc<str> {
        let names: Vec<&str> = lane.policies().iter().map(|part| part.policy.as_str()).collect();
        names.join("+").into()
    };
    EndRecord {
        id: settle.id,
        ended_at: Timestamp::from_millis(now_ms.max(settle.id.accepted_at().as_millis())),
        why,
        attempts: Some(attempts(tries, &why)),
        policies: Lane::parse(&settle.lane).ok().map(names),
    }
}

/// The first entries within the limit, at least one, and how many those are.
fn take(entries: impl Iterator<Item = StoredEntry>, limit: ReadLimit) -> (Vec<StoredEntry>, usize) {
    let mut taken = Vec::new();
    let mut bytes = 0_usize;
    for entry in entries {
        bytes = bytes.saturating_add(entry.record.len());
        if !taken.is_empty() && (taken.len() >= limit.entries || bytes > limit.bytes) {
            break;
        }
        taken.push(entry);
    }
    let count = taken.len();
    (taken, count)
}
