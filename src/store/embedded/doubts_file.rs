//! The file of the doubts: `doubts` in the data directory, a sealed file of format 1 whose body is `{"next_id": n,
//! "open": [doubt, ..], "against": v}`; `v` is the version of the account from which the last start that found
//! something missing went on.
//!
//! Must not know: who raises doubts.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::store::StoreError;
use crate::store::doubts::{Doubt, DoubtKind, DoubtRegister, Doubts, NewDoubt};
use crate::store::embedded::sealed::{self, Sealed};

/// The name in the data directory.
pub(super) const NAME: &str = "doubts";
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct DoubtsFileBody {
    next_id: u64,
    open: Vec<Doubt>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    against: Option<u64>,
}

impl Doubts {
    /// Reads the doubts of the directory `root`. An unreadable list raises a doubt about itself.
    ///
    /// # Errors
    /// [`StoreError`] when the system does not let it be read.
    pub fn open(root: &Path, now: Timestamp) -> Result<Self, StoreError> {
        read(root, now)
    }

    /// Writes the doubts to the directory `root` if they have changed. Waits for the disk.
    ///
    /// # Errors
    /// [`StoreError`] when the system refuses; the next call tries again.
    pub fn save(&self, root: &Path) -> Result<(), StoreError> {
        write(self, root)
    }

    /// To be called once at a start, with the number of events on record as lost: their report is in the list.
    pub(in crate::store) fn expect(&self, lost: u64, now: Timestamp) {
        let is_new = self.lock().is_new;
        if is_new && lost > 0 {
            self.raise(missing(lost), now);
        }
    }
}

fn read(root: &Path, now: Timestamp) -> Result<Doubts, StoreError> {
    let path = root.join(NAME);
    let current = sealed::read(&path)?;
    let is_missing = current == Sealed::Missing;
    let (body, version, damage) = match decode(&path, current)? {
        Ok((body, version)) => (body, version, None),
        // The version before may lack the newest doubts; what the older ones hold stays held.
        Err(reason) => match decode(&path, sealed::read_previous(&path)?)? {
            Ok((body, version)) => (body, version, Some(reason)),
            Err(_) => (DoubtsFileBody::default(), 0, (!is_missing).then_some(reason)),
        },
    };
    let is_new = version == 0 && damage.is_none();
    let open = body.open.into_iter().map(|doubt| (doubt.id, doubt)).collect();
    let doubts = Doubts::default();
    *doubts.lock() = DoubtRegister {
        next_id: body.next_id,
        open,
        version,
        against: body.against,
        is_new,
        ..DoubtRegister::default()
    };
    if let Some(reason) = damage {
        let doubt = NewDoubt {
            kind: DoubtKind::Document,
            subject: NAME.to_owned(),
            detail: format!("the list of doubts is unusable ({reason}); the version before it is used"),
            way_out: "run `tidegate store verify`, then acknowledge".to_owned(),
            events: 0,
        };
        doubts.raise(doubt, now);
    }
    Ok(doubts)
}

/// The doubt about a list that should be there, since `lost` events are on record as lost.
pub(super) fn missing(lost: u64) -> NewDoubt {
    NewDoubt {
        kind: DoubtKind::Document,
        subject: NAME.to_owned(),
        detail: format!("the list of doubts is missing; {lost} events are on record as lost"),
        way_out: "restore the file while tidegate is stopped, or acknowledge".to_owned(),
        events: 0,
    }
}

/// The body and its version, or why it cannot be used.
fn decode(path: &Path, sealed: Sealed) -> Result<Result<(DoubtsFileBody, u64), String>, StoreError> {
    match sealed {
        Sealed::Missing => Ok(Err("it is missing".to_owned())),
        Sealed::Damaged { reason } => Ok(Err(reason)),
        Sealed::Whole { format, .. } if format > FORMAT => {
            Err(StoreError::Format { what: path.display().to_string(), found: format, known: FORMAT })
        }
        Sealed::Whole { version, body, .. } => {
            Ok(serde_json::from_slice(&body).map(|body| (body, version)).map_err(|error| error.to_string()))
        }
    }
}

fn write(doubts: &Doubts, root: &Path) -> Result<(), StoreError> {
    let (body, version) = {
        let mut state = doubts.lock();
        if !state.is_changed {
            return Ok(());
        }
        // Before the write, which is made without the lock: a change during it is saved next time.
        state.is_changed = false;
        state.version += 1;
        let open = state.open.values().cloned().collect();
        (DoubtsFileBody { next_id: state.next_id, open, against: state.against }, state.version)
    };
    // Numbers and text always have a JSON form.
    let bytes = serde_json::to_vec(&body).unwrap_or_default();
    sealed::replace(&root.join(NAME), FORMAT, version, &bytes).inspect_err(|_| {
        doubts.lock().is_changed = true;
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(5);

    #[test]
    fn doubts_survive_and_a_damaged_list_is_a_doubt_itself() {
        let temp = tempfile::tempdir().expect("temp");
        let doubts = Doubts::open(temp.path(), NOW).expect("none yet");
        let id = doubts.raise(
            NewDoubt {
                kind: DoubtKind::Unread,
                subject: "a".to_owned(),
                detail: "found".to_owned(),
                way_out: "do".to_owned(),
                events: 4,
            },
            NOW,
        );
        doubts.save(temp.path()).expect("writes");
        let again = Doubts::open(temp.path(), NOW).expect("reads");
        assert_eq!(again.list(), doubts.list());
        again.remove(id);
        again.save(temp.path()).expect("writes");
        let path = temp.path().join(NAME);
        let mut bytes = std::fs::read(&path).expect("reads");
        *bytes.last_mut().expect("some") ^= 1;
        std::fs::write(&path, bytes).expect("writes");
        let found = Doubts::open(temp.path(), NOW).expect("opens").list();
        let kinds: Vec<_> = found.iter().map(|doubt| doubt.kind).collect();
        assert_eq!(kinds, [DoubtKind::Unread, DoubtKind::Document], "the version before, and the damage");
    }
}
