//! Dead letters by reason and endpoint: what died of what, where, and since when.
//!
//! Must not know: what can be done to letters.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use http::Uri;

use super::filter::Filter;
use super::list::{Look, cursor, next_page};
use super::wire::{GroupBody, GroupList};
use super::{DeadDesk, PIECE};
use crate::clock::Timestamp;
use crate::ops::desk::{OpsAnswer, json};
use crate::ops::query::{Parameters, invalid};
use crate::store::{DeadLetter, LetterOrder, LetterPlace, record};

/// Groups that one page may have.
const MAX_GROUPS: usize = 1_000;

/// What tells groups apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct GroupBy {
    reason: bool,
    endpoint: bool,
}

impl GroupBy {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "reason" => Some(Self { reason: true, endpoint: false }),
            "endpoint" => Some(Self { reason: false, endpoint: true }),
            "reason,endpoint" | "endpoint,reason" => Some(Self { reason: true, endpoint: true }),
            _ => None,
        }
    }

    fn key(self, letter: &DeadLetter) -> (Option<String>, Option<String>) {
        let endpoint = || {
            record::decode(&letter.record).map_or_else(|_| String::new(), |event| event.url.host_and_port())
        };
        (self.reason.then(|| letter.reason.clone()), self.endpoint.then(endpoint))
    }
}

struct Group {
    count: u64,
    oldest: Timestamp,
    newest: Timestamp,
}

/// The groups of one page.
pub(super) async fn page(
    desk: &DeadDesk,
    uri: &Uri,
    parameters: &Parameters,
    by: &str,
    filter: &Filter,
    after: Option<LetterPlace>,
) -> OpsAnswer {
    let by = GroupBy::parse(by)
        .ok_or_else(|| invalid("group_by", "must be reason, endpoint or reason,endpoint".to_owned()))?;
    for name in ["order", "limit"] {
        if parameters.get(name).is_some() {
            return Err(invalid(name, "excludes group_by; leave one of them out".to_owned()));
        }
    }
    let mut groups: BTreeMap<_, Group> = BTreeMap::new();
    let read = desk.read(LetterOrder::OldestFirst, after, PIECE, |placed| {
        let letter = &placed.letter;
        if !filter.wants(letter) {
            return Look::Next;
        }
        let is_full = groups.len() >= MAX_GROUPS;
        match groups.entry(by.key(letter)) {
            Entry::Vacant(_) if is_full => return Look::Before,
            Entry::Vacant(entry) => {
                entry.insert(Group { count: 1, oldest: letter.at, newest: letter.at });
            }
            Entry::Occupied(entry) => {
                let group = entry.into_mut();
                group.count += 1;
                group.oldest = group.oldest.min(letter.at);
                group.newest = group.newest.max(letter.at);
            }
        }
        Look::Next
    });
    let end = read.await?;
    let group = |((reason, endpoint), group): ((Option<String>, Option<String>), Group)| GroupBody {
        reason,
        endpoint,
        count: group.count,
        oldest: group.oldest.to_string(),
        newest: group.newest.to_string(),
    };
    let next_cursor = end.next.map(cursor);
    let next = next_cursor.as_ref().map(|cursor| next_page(uri, cursor));
    Ok(json(
        &GroupList { groups: groups.into_iter().map(group).collect(), read: end.read, next_cursor },
        next,
    ))
}
