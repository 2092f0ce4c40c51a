//! The state of a store at a glance, in words that any store can give.
//!
//! Must not know: what a store is made of, who shows it to whom.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;

/// The state of a store at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoreHealth {
    /// Names the store: it stays the same over restarts, and is another one after a restore or another accepted
    /// rollback, so that a client sees that what it was acknowledged may not be there. 0 of a store in memory.
    pub id: u64,
    /// Why writes are refused for good, once they are.
    pub poisoned: Option<String>,
    /// Why appends are refused for lack of room at present.
    pub no_room: Option<String>,
    /// Settlements wait until the system lets them be written: entries may be owed an end whose letters are durable.
    pub owes_settlements: bool,
    /// What is being written by the operation that has been under way for the longest time, in a word.
    pub operation: Option<&'static str>,
    /// Its age; zero while there is none.
    pub operation_age: Duration,
    /// That age is beyond what callers wait for: what waits behind it is answered `store_slow`.
    pub slow: bool,
    /// Bytes that the store takes where it is kept.
    pub used_bytes: u64,
    /// Bytes that are left for it there.
    pub free_bytes: u64,
    /// Damaged places met since the store was made; what was in them was set aside.
    pub damaged: u64,
    /// Entries that ended as lost: damaged, missing, or given up by an operator, since the store was made.
    pub lost_entries: u64,
    /// The newest acceptance that was on record when the store was opened; zero when there was none.
    pub newest_at_start: Timestamp,
    /// Dead letters that are kept for a person.
    pub dead_entries: u64,
    /// Failed operations since the start.
    pub errors: u64,
    /// Why the store is held as a whole: nothing is accepted, dispatched, expired, drained or deleted.
    pub held: Option<String>,
    /// The keys by which records are encrypted at rest, and how much needs each; empty where nothing is encrypted.
    pub keys: Arc<[KeyUse]>,
}

/// How many records need a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUse {
    /// Names the key; `None` stands for records that are not encrypted.
    pub id: Option<String>,
    /// It is there. Records whose key is not wait until it is.
    pub present: bool,
    /// New records are encrypted by it.
    pub encrypts: bool,
    /// Files with such records.
    pub files: u64,
    /// Waiting events and dead letters in them.
    pub records: u64,
}
