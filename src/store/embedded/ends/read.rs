//! Reads of the log: the ends from a place on, and the end of one entry.
//!
//! Must not know: how ends come into the log.

use std::fs::File;
use std::io;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::file::{self, FileHead, SealedFile};
use super::log::Ends;
use super::record::{self, KeptRecord};
use crate::event::{EventId, Why};
use crate::store::embedded::ids::{self, Home};
use crate::store::embedded::{EmbeddedStore, files};
use crate::store::{EndLog, EndPlace, EndRecord, EndsKept, EndsPage, EndsRead, StoreError};

/// Looks at the list of files again when one has gone meanwhile.
const LOOKS: usize = 3;

/// What one look at the list of files has found for a read.
struct Part {
    file: Arc<File>,
    head: FileHead,
    from: u32,
    count: u32,
}

enum Located {
    Part(Part),
    /// There is none yet.
    Nothing(EndPlace),
    /// Not complete from there on.
    Gone,
    /// Behind this number are no more ends in its file.
    NextFile(u64),
    /// Its file is being dropped.
    Moved,
}

impl Ends {
    /// The ends from a place on.
    ///
    /// # Errors
    /// [`StoreError`] when the system refuses the read.
    pub(in crate::store::embedded) fn page(
        &self,
        from: Option<EndPlace>,
        most: usize,
    ) -> Result<EndsRead, StoreError> {
        let failed = |error| StoreError::io("read", &self.dir, error);
        let mut from = from;
        for _ in 0..LOOKS {
            match self.locate(from, most).map_err(failed)? {
                Located::Part(part) => return self.read_part(&part).map(EndsRead::Page).map_err(failed),
                Located::Nothing(next) => return Ok(EndsRead::Page(EndsPage { ends: Vec::new(), next })),
                Located::Gone => return Ok(EndsRead::Gone),
                Located::NextFile(number) => from = from.map(|place| EndPlace { number, ..place }),
                Located::Moved => {}
            }
        }
        Ok(EndsRead::Gone)
    }

    fn locate(&self, from: Option<EndPlace>, most: usize) -> io::Result<Located> {
        let state = self.lock();
        let log = state.active.head.log;
        let place = from.unwrap_or(EndPlace { log, number: state.complete_from });
        let next = state.next();
        if place.log != log || place.number < state.complete_from || place.number > next {
            return Ok(Located::Gone);
        }
        if place.number == next {
            return Ok(Located::Nothing(place));
        }
        let part = |file, head: FileHead, count: u32| {
            let from = u32::try_from(place.number - head.first).unwrap_or(u32::MAX);
            let count = (count - from).min(u32::try_from(most.max(1)).unwrap_or(u32::MAX));
            Part { file, head, from, count }
        };
        if place.number >= state.active.head.first {
            let file = Arc::clone(&state.active.file);
            return Ok(Located::Part(part(file, state.active.head, state.active.count)));
        }
        let holds = |file: &&SealedFile| (file.head.first..file.next()).contains(&place.number);
        let Some(sealed) = state.sealed.iter().find(holds).cloned() else {
            // No number is missing behind `complete_from`: the active file begins here.
            return Ok(Located::NextFile(state.active.head.first));
        };
        drop(state);
        let Some(file) = files::read(&sealed.path)? else { return Ok(Located::Moved) };
        Ok(Located::Part(part(Arc::new(file), sealed.head, sealed.count)))
    }

    fn read_part(&self, part: &Part) -> io::Result<EndsPage> {
        let Part { file, head, from, count } = part;
        let records = file::read_from(file, *head, *from, *count)?;
        let first = head.first + u64::from(*from);
        let place = |number| EndPlace { log: head.log, number };
        let mut ends = Vec::with_capacity(records.len());
        let state = self.lock();
        for (record, number) in records.iter().zip(first..) {
            match record {
                Some(record) => {
                    ends.push((place(number + 1), self.shown(record, state.names.text(record.policies))));
                }
                None => tracing::warn!(number, "an end is damaged on the disk and is passed over"),
            }
        }
        Ok(EndsPage { ends, next: place(first + u64::from(*count)) })
    }

    fn shown(&self, record: &KeptRecord, policies: Option<Arc<str>>) -> EndRecord {
        let (id, ended_at) = (record.id(self.salt), record.ended_at());
        EndRecord { id, ended_at, why: record.why, attempts: record.attempts, policies }
    }

    /// Tells the number of the next end whenever there is another one.
    pub(in crate::store::embedded) fn grown(&self) -> watch::Receiver<u64> {
        self.grown.subscribe()
    }

    /// Why the event of this id ended, if that is kept. Looks into the files that span its place alone, newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the system refuses a read.
    pub(in crate::store::embedded) fn why(&self, id: EventId) -> Result<Option<Why>, StoreError> {
        let Some(home) = ids::decode(id, self.salt) else { return Ok(None) };
        let found = self.find(home).map_err(|error| StoreError::io("read", &self.dir, error))?;
        // A made-up id may name a place that is used: only the one that is made the same way is ours.
        Ok(found.filter(|record| record.id(self.salt) == id).map(|record| record.why))
    }

    pub(super) fn find(&self, home: Home) -> io::Result<Option<KeptRecord>> {
        let key = record::key(home);
        let state = self.lock();
        if let Some(record) = state.active.find(key)? {
            return Ok(Some(record));
        }
        let spanning: Vec<_> = state.sealed.iter().rev().filter(|file| file.spans(key)).cloned().collect();
        drop(state);
        for file in spanning {
            if let Some(record) = file.find(key)? {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }
}

impl EndLog for EmbeddedStore {
    fn read(&self, from: Option<EndPlace>, most: usize) -> BoxFuture<'_, Result<EndsRead, StoreError>> {
        Box::pin(self.read(move |reads| reads.shared.ends.page(from, most)))
    }

    fn kept(&self) -> EndsKept {
        self.shared.ends.kept_now()
    }

    fn grown(&self) -> watch::Receiver<u64> {
        self.shared.ends.grown()
    }
}
