//! An attempt in bytes: MessagePack, its members by their place. New members come at the end and may be missing.
//!
//! Must not know: where the bytes are.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::event::{AnswerExcerpt, AttemptDetail, EventId, Follows, NamedTime, Noticed};

#[derive(Serialize, Deserialize)]
struct Record {
    number: u16,
    started_ns: u64,
    took_us: u64,
    result: String,
    status: Option<u16>,
    then: String,
    why: String,
    next_ns: Option<u64>,
    noticed: Option<NoticedRecord>,
}

#[derive(Serialize, Deserialize)]
struct NoticedRecord {
    named: Option<NamedRecord>,
    broken_lines: u32,
    surplus_lines: u32,
    answer: Option<ExcerptRecord>,
}

#[derive(Serialize, Deserialize)]
struct NamedRecord {
    by: String,
    asked_ms: Option<u64>,
    obeyed_ms: Option<u64>,
    why: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct ExcerptRecord {
    status: u16,
    head: String,
    body: Option<String>,
    is_cut: bool,
}

/// Its kept form, without the id; `None` where it cannot be made, which no attempt is known to bring about.
pub(super) fn encode(attempt: &AttemptDetail) -> Option<Vec<u8>> {
    let AttemptDetail { event: _, number, started_at, took, result, status, then, noticed } = attempt;
    let record = Record {
        number: *number,
        started_ns: started_at.as_nanos(),
        took_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        result: result.to_string(),
        status: *status,
        then: then.what.to_string(),
        why: then.why.to_string(),
        next_ns: then.next_at.map(Timestamp::as_nanos),
        noticed: noticed.as_deref().map(noticed_record),
    };
    rmp_serde::to_vec(&record).ok()
}

fn noticed_record(noticed: &Noticed) -> NoticedRecord {
    let Noticed { named, broken_lines, surplus_lines, answer } = noticed;
    NoticedRecord {
        named: named.as_ref().map(|named| NamedRecord {
            by: named.by.to_string(),
            asked_ms: named.asked.map(millis),
            obeyed_ms: named.obeyed.map(millis),
            why: named.why.as_ref().map(ToString::to_string),
        }),
        broken_lines: *broken_lines,
        surplus_lines: *surplus_lines,
        answer: answer.as_ref().map(|answer| ExcerptRecord {
            status: answer.status,
            head: answer.head.clone(),
            body: answer.body.clone(),
            is_cut: answer.is_cut,
        }),
    }
}

/// Takes it back; `None` for what this version did not write.
pub(super) fn decode(event: EventId, bytes: &[u8]) -> Option<AttemptDetail> {
    let record: Record = rmp_serde::from_slice(bytes).ok()?;
    Some(AttemptDetail {
        event,
        number: record.number,
        started_at: Timestamp::from_nanos(record.started_ns),
        took: Duration::from_micros(record.took_us),
        result: record.result.into(),
        status: record.status,
        then: Follows {
            what: record.then.into(),
            why: record.why.into(),
            next_at: record.next_ns.map(Timestamp::from_nanos),
        },
        noticed: record.noticed.map(|noticed| Box::new(noticed_of(noticed))),
    })
}

fn noticed_of(record: NoticedRecord) -> Noticed {
    let NoticedRecord { named, broken_lines, surplus_lines, answer } = record;
    Noticed {
        named: named.map(|named| NamedTime {
            by: named.by.into(),
            asked: named.asked_ms.map(Duration::from_millis),
            obeyed: named.obeyed_ms.map(Duration::from_millis),
            why: named.why.map(Into::into),
        }),
        broken_lines,
        surplus_lines,
        answer: answer.map(|answer| AnswerExcerpt {
            status: answer.status,
            head: answer.head,
            body: answer.body,
            is_cut: answer.is_cut,
        }),
    }
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
