//! The record of emergency stops: one document, replaced as a whole, read at the start. JSON, format 1, apart from the inner
//! types so that either can change:
//!
//! ```text
//! { "format": 1, "stops": [ { "target": "everything" | "host" | "organisation", "name": text | null, "reason",
//!   "since_ms", "until_ms" | null } ] }
//! ```
//!
//! A higher format and an unknown member are refused, never guessed at. While the record cannot be read everything is
//! stopped: what was in it is unknown.
//!
//! Must not know: requests, how calls are held back.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tracing::{error, warn};

use crate::clock::{Clock, Timestamp};
use crate::dispatch::{DispatchHandle, Stop, StopTarget, Stops};
use crate::store::doubts::{DoubtKind, NewDoubt};
use crate::store::{DocumentStore, Doubts, Expect, StoreError, Version};

const NAME: &str = "stops";
/// Where the bytes of a record go that could not be understood when an operator resumed everything.
const UNREAD: &str = "stops-unread";
const FORMAT: u32 = 1;

/// How often, and after what time, a record is read again that the system does not let be read.
const TRIES: usize = 5;
const BETWEEN_TRIES: Duration = Duration::from_millis(500);

/// Most stops at a time: each start is held against all of them.
pub(super) const MOST: usize = 256;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordV1 {
    format: u32,
    stops: Vec<StopV1>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StopV1 {
    target: String,
    name: Option<String>,
    reason: String,
    since_ms: u64,
    until_ms: Option<u64>,
}

/// Why a stop was not made or ended as asked for.
#[derive(Debug, Clone, thiserror::Error)]
pub(in crate::ops) enum RecordError {
    /// The record could not be read at the start, nor now.
    #[error("the record of stops cannot be read: {0}")]
    Unreadable(String),
    /// There are as many stops as there may be.
    #[error("there are as many stops as there may be")]
    Full,
    /// It could not be put on record.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The dispatcher has stopped.
    #[error("the dispatcher has stopped")]
    Closed,
}

/// The stops, on record and in force. Clones share them.
#[derive(Clone)]
pub(crate) struct StopRecord(Arc<RecordParts>);

struct RecordParts {
    documents: Arc<dyn DocumentStore>,
    clock: Clock,
    stops: ArcSwap<Stops>,
    /// Held over a change, so that one is made upon the other.
    changing: Mutex<()>,
}

impl StopRecord {
    /// Reads what an earlier process has put on record. What cannot be read raises a doubt and stops everything.
    pub(crate) async fn open(documents: Arc<dyn DocumentStore>, clock: Clock, doubts: &Doubts) -> Self {
        let mut found = read(&*documents).await;
        for _ in 0..TRIES {
            // What is damaged stays so.
            if !found.as_ref().is_err_and(|unread| unread.may_pass) {
                break;
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
            found = read(&*documents).await;
        }
        let stops = match found {
            Ok(stops) => stops,
            Err(Unread { reason, .. }) => {
                error!(%reason, "the record of emergency stops cannot be read: nothing is sent until an operator resumes");
                let doubt = NewDoubt {
                    kind: DoubtKind::Document,
                    subject: format!("documents/{NAME}.json"),
                    detail: format!(
                        "the record of emergency stops cannot be read ({reason}): nothing is sent"
                    ),
                    way_out: "look at it, then resume everything: `tidegate dispatch resume --everything`"
                        .to_owned(),
                    events: 0,
                };
                doubts.raise(doubt, clock.now());
                Stops::unreadable(reason)
            }
        };
        let in_force: Vec<&Stop> = stops.in_force(certain(&clock)).collect();
        for stop in in_force {
            warn!(target = %stop.target, reason = stop.reason, "dispatch is stopped since an earlier process");
        }
        let stops = ArcSwap::from_pointee(stops);
        Self(Arc::new(RecordParts { documents, clock, stops, changing: Mutex::new(()) }))
    }

    /// The stops as they are now, those among them that have ended by themselves included.
    pub(crate) fn stops(&self) -> Arc<Stops> {
        self.0.stops.load_full()
    }

    /// Those in force now.
    pub(crate) fn in_force(&self) -> Vec<Stop> {
        self.stops().in_force(certain(&self.0.clock)).cloned().collect()
    }

    /// Stops what `target` names: in force when this returns, on record when it returns well. One that cannot be put on
    /// record is in force all the same, until the process ends.
    pub(in crate::ops) async fn stop(
        &self,
        dispatch: &DispatchHandle,
        target: StopTarget,
        reason: String,
        until: Option<Timestamp>,
    ) -> Result<(), RecordError> {
        let _changing = self.0.changing.lock().await;
        self.read_again(dispatch).await?;
        let (stops, now) = (self.living(), self.0.clock.now());
        let before = stops.in_force(None).find(|stop| stop.target == target);
        // A second stop before the end of the first goes on with its beginning.
        let since = before.map_or(Timestamp::from_millis(now.as_millis()), |stop| stop.since);
        let stops = stops.with(Stop { target, reason, since, until });
        if stops.in_force(None).count() > MOST {
            return Err(RecordError::Full);
        }
        // First in force: a disk that does not answer must not delay it.
        self.apply(dispatch, stops.clone()).await?;
        self.put(&stops).await?;
        Ok(())
    }

    /// Ends the stop of this target: it is off the record before anything goes on. Ending the stop of everything also takes
    /// the place of a record that cannot be read, whose bytes are kept.
    pub(in crate::ops) async fn end(
        &self,
        dispatch: &DispatchHandle,
        target: &StopTarget,
    ) -> Result<(), RecordError> {
        let _changing = self.0.changing.lock().await;
        let again = self.read_again(dispatch).await;
        let is_given_up = again.is_err() && *target == StopTarget::Everything;
        let stops = if is_given_up {
            self.keep_unread().await?;
            Stops::default()
        } else {
            again?;
            self.living().without(target)
        };
        if *self.stops() != stops {
            self.put(&stops).await?;
        }
        self.apply(dispatch, stops).await
    }

    /// Without those that have ended by themselves.
    fn living(&self) -> Stops {
        Stops::new(self.in_force())
    }

    /// Reads a record that could not be read before.
    async fn read_again(&self, dispatch: &DispatchHandle) -> Result<(), RecordError> {
        if self.stops().why_unreadable().is_none() {
            return Ok(());
        }
        let read = read(&*self.0.documents).await;
        let stops = read.map_err(|unread| RecordError::Unreadable(unread.reason))?;
        self.apply(dispatch, stops).await
    }

    async fn apply(&self, dispatch: &DispatchHandle, stops: Stops) -> Result<(), RecordError> {
        let stops = Arc::new(stops);
        self.0.stops.store(Arc::clone(&stops));
        dispatch.stop_by(stops).await.ok_or(RecordError::Closed)
    }

    /// Keeps what is on record under another name, where the store reads it and this does not understand it.
    async fn keep_unread(&self) -> Result<(), StoreError> {
        let documents = &self.0.documents;
        // What the store cannot read it keeps by itself.
        let Ok(Some((_, body))) = documents.get(NAME).await else { return Ok(()) };
        let expect = match documents.get(UNREAD).await {
            Ok(Some((_, kept))) if kept == body => return Ok(()),
            Ok(Some((version, _))) => Expect::At(version),
            Ok(None) | Err(StoreError::Damaged { .. } | StoreError::Format { .. }) => Expect::Absent,
            Err(error) => return Err(error),
        };
        documents.put(UNREAD, expect, body).await?;
        Ok(())
    }

    async fn put(&self, stops: &Stops) -> Result<Version, StoreError> {
        let expect = match self.0.documents.get(NAME).await {
            Ok(Some((version, _))) => Expect::At(version),
            // What the store cannot read is kept beside the new one, and a doubt says so.
            Ok(None) | Err(StoreError::Damaged { .. } | StoreError::Format { .. }) => Expect::Absent,
            Err(error) => return Err(error),
        };
        self.0.documents.put(NAME, expect, encode(stops)).await
    }
}

/// The time by which stops end: none while it is in doubt.
fn certain(clock: &Clock) -> Option<Timestamp> {
    clock.is_trusted().then(|| clock.now())
}

/// Why nobody knows what is on record.
struct Unread {
    reason: String,
    /// The system did not let it be read, and may do so later.
    may_pass: bool,
}

/// What is on record.
async fn read(documents: &dyn DocumentStore) -> Result<Stops, Unread> {
    match documents.get(NAME).await {
        Ok(None) => Ok(Stops::default()),
        Ok(Some((_, body))) => decode(&body).map_err(|reason| Unread { reason, may_pass: false }),
        Err(error) => {
            let may_pass = !matches!(error, StoreError::Damaged { .. } | StoreError::Format { .. });
            Err(Unread { reason: error.to_string(), may_pass })
        }
    }
}

fn encode(stops: &Stops) -> Bytes {
    let stops = stops.in_force(None).map(|stop| StopV1 {
        target: stop.target.kind().to_owned(),
        name: stop.target.name().map(str::to_owned),
        reason: stop.reason.clone(),
        since_ms: stop.since.as_millis(),
        until_ms: stop.until.map(Timestamp::as_millis),
    });
    // Texts and numbers always serialise.
    serde_json::to_vec(&RecordV1 { format: FORMAT, stops: stops.collect() }).unwrap_or_default().into()
}

fn decode(body: &[u8]) -> Result<Stops, String> {
    let record: RecordV1 = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    if record.format != FORMAT {
        return Err(format!("its format {} is unknown, {FORMAT} is known", record.format));
    }
    let stops = record.stops.into_iter().map(|stop| {
        let target = match (stop.target.as_str(), stop.name) {
            ("everything", None) => StopTarget::Everything,
            ("host", Some(name)) => StopTarget::Host(name),
            ("organisation", Some(name)) => StopTarget::Organisation(name),
            (kind, _) => return Err(format!("{kind:?} is no target of a stop, or has another name")),
        };
        let since = Timestamp::from_millis(stop.since_ms);
        Ok(Stop { target, reason: stop.reason, since, until: stop.until_ms.map(Timestamp::from_millis) })
    });
    stops.collect::<Result<Vec<_>, _>>().map(Stops::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_record_is_read_as_it_was_and_nothing_is_guessed_at() {
        let at = Timestamp::from_millis;
        let stop = |target, until: Option<u64>| Stop {
            target,
            reason: "why".to_owned(),
            since: at(5),
            until: until.map(at),
        };
        let stops = Stops::new(vec![
            stop(StopTarget::Everything, None),
            stop(StopTarget::Host("a.org:80".to_owned()), Some(9)),
            stop(StopTarget::Organisation("A B".to_owned()), None),
        ]);
        assert_eq!(decode(&encode(&stops)), Ok(stops));
        // The first form, as it stands on disks.
        let first = br#"{"format":1,"stops":[{"target":"host","name":"h","reason":"r","since_ms":1,"until_ms":null}]}"#;
        assert_eq!(decode(first).map(|stops| stops.in_force(None).count()), Ok(1));
        for broken in [
            r#"{"format":2,"stops":[]}"#,
            r#"{"format":1}"#,
            r#"{"format":1,"stops":[],"more":1}"#,
            r#"{"format":1,"stops":[{"target":"lane","name":"x","reason":"r","since_ms":1,"until_ms":null}]}"#,
            r#"{"format":1,"stops":[{"target":"host","name":null,"reason":"r","since_ms":1,"until_ms":null}]}"#,
            "",
        ] {
            assert!(decode(broken.as_bytes()).is_err(), "{broken}");
        }
    }
}
