//! The open database of the library, and the calls on it that wait for the disk.
//!
//! A flush waits until a thread of the library has written, and so does the drop of a tree. When that write fails, the
//! library notes the error for the whole database, but it does not always wake those who already wait: they would wait
//! for ever. Therefore such calls run on a thread of the database's own, and a thread that waits for one makes a small
//! change from time to time: the library answers a change with the noted error, and wakes all who wait. The thread also
//! drops the last handle of the database, for which its owner waits a bounded time only.
//!
//! Must not know: what the trees hold.

use std::ops::Deref;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{IndexError, guarded};

/// How often a thread that waits for a call makes a small change.
const NUDGE_EVERY: Duration = Duration::from_millis(250);
/// How long the owner of the last handle waits for the flush, and for the end of the thread.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// The row of the library's default tree that is changed to learn of a noted error. Nothing reads it.
const NUDGED: &[u8] = b"nudged";

type DatabaseCall = Box<dyn FnOnce(&sled::Db) + Send>;

/// A handle of the open database. The last one to be dropped closes it.
#[derive(Clone)]
pub(in crate::store::embedded) struct Database(Arc<OpenDatabase>);

/// A tree of the library. Its database stays open as long as the tree has a handle.
#[derive(Clone)]
pub(in crate::store::embedded) struct Tree {
    tree: sled::Tree,
    // Dropped after the tree, which is therefore never the last to refer to it.
    _database: Database,
}

impl Deref for Tree {
    type Target = sled::Tree;

    fn deref(&self) -> &sled::Tree {
        &self.tree
    }
}

/// Fields are dropped in this order: the thread has the last handle.
struct OpenDatabase {
    db: sled::Db,
    thread: Thread,
    close_within: Duration,
}

/// The thread that makes the calls, and drops the last handle when there can be no more of them.
struct Thread {
    calls: Option<Sender<DatabaseCall>>,
    ended: Mutex<Receiver<()>>,
}

impl Database {
    /// Opens the database at `path`, or makes an empty one.
    ///
    /// # Errors
    /// What the library says, or that there can be no thread.
    pub(super) fn open(path: &Path, cache_bytes: u64) -> Result<Self, IndexError> {
        // No flushes by the library itself: the sweeper flushes after it has asked for room.
        let db = sled::Config::new().path(path).cache_capacity(cache_bytes).flush_every_ms(None).open()?;
        let thread = Thread::start(db.clone())?;
        Ok(Self(Arc::new(OpenDatabase { db, thread, close_within: CLOSE_WITHIN })))
    }

    /// Opens a tree, or makes an empty one.
    ///
    /// # Errors
    /// What the library says.
    pub(super) fn tree(&self, name: impl AsRef<[u8]>) -> Result<Tree, IndexError> {
        Ok(Tree { tree: self.0.db.open_tree(name)?, _database: self.clone() })
    }

    /// The names of all trees, the library's default one included.
    pub(super) fn tree_names(&self) -> Vec<sled::IVec> {
        self.0.db.tree_names()
    }

    /// Removes a tree with all that is in it. Waits for the disk.
    ///
    /// # Errors
    /// What the library says.
    pub(super) fn drop_tree(&self, name: sled::IVec) -> Result<(), IndexError> {
        self.0.call(Duration::MAX, move |db| Ok(db.drop_tree(name).map(|_| ())?))
    }

    /// Hands everything written so far to the system.
    ///
    /// # Errors
    /// What the library says; [`IndexError::Slow`] when it is not done within `limit`: it goes on.
    pub(in crate::store::embedded) fn flush(&self, limit: Duration) -> Result<(), IndexError> {
        self.0.call(limit, flush)
    }
}

fn flush(db: &sled::Db) -> Result<(), IndexError> {
    Ok(db.flush().map(|_| ())?)
}

impl OpenDatabase {
    /// Runs `work` on the thread and waits for it at least `limit`.
    fn call<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce(&sled::Db) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, IndexError> {
        let gone = || IndexError::Panic("the thread of the index ended".to_owned());
        let (done, waits) = mpsc::channel();
        // The caller may have stopped waiting.
        let call: DatabaseCall = Box::new(move |db| drop(done.send(guarded(|| work(db)))));
        self.thread.calls.as_ref().and_then(|calls| calls.send(call).ok()).ok_or_else(gone)?;
        let mut waited = Duration::ZERO;
        loop {
            match waits.recv_timeout(NUDGE_EVERY) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
                Err(RecvTimeoutError::Timeout) => self.nudge(),
            }
            // Counted and not timed: a nudge takes next to nothing, and the clock is not this room's.
            waited = waited.saturating_add(NUDGE_EVERY);
            if waited >= limit {
                return Err(IndexError::Slow(limit));
            }
        }
    }

    /// Makes the library wake those who wait when it has noted an error. The error itself is returned to them.
    fn nudge(&self) {
        // A change that changes nothing would not be made.
        let _ = guarded(|| {
            self.db.insert(NUDGED, b"")?;
            Ok(self.db.remove(NUDGED)?)
        });
    }
}

impl Drop for OpenDatabase {
    fn drop(&mut self) {
        // After it the library has nothing left to wait for when the last handle is dropped.
        let flushed = self.call(self.close_within, flush);
        if let Err(error) = &flushed {
            tracing::debug!(%error, "the index was not flushed; the next start makes up for it");
        }
        // The thread ends when it can get no further call.
        self.thread.calls = None;
        let ended = self.thread.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        let is_stuck = matches!(flushed, Err(IndexError::Slow(_)));
        if is_stuck || ended.recv_timeout(self.close_within) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the index is not closed in time; it is left to the end of the process");
        }
    }
}

impl Thread {
    fn start(db: sled::Db) -> Result<Self, IndexError> {
        let (calls, received) = mpsc::channel::<DatabaseCall>();
        let (alive, ended) = mpsc::channel();
        let run = move || {
            for call in received {
                call(&db);
            }
            // The library panics when its last sync fails.
            let _ = guarded(|| {
                drop(db);
                Ok(())
            });
            drop(alive);
        };
        let spawned = std::thread::Builder::new().name("store-index-disk".to_owned()).spawn(run);
        spawned.map_err(|error| IndexError::Library(format!("start thread: {error}")))?;
        Ok(Self { calls: Some(calls), ended: Mutex::new(ended) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path, close_within: Duration) -> Database {
        let db = sled::Config::new().path(path).flush_every_ms(None).open().expect("opens");
        let thread = Thread::start(db.clone()).expect("starts");
        Database(Arc::new(OpenDatabase { db, thread, close_within }))
    }

    #[test]
    fn a_call_that_does_not_return_is_waited_for_a_bounded_time_and_so_is_the_close() {
        let temp = tempfile::tempdir().expect("temp");
        let database = open(temp.path(), Duration::from_millis(1));
        database.flush(Duration::MAX).expect("the control: the disk is well");
        let (release, waits) = mpsc::channel::<()>();
        let stuck = database.0.call(Duration::from_millis(1), move |_| {
            // Until it is released.
            let _ = waits.recv();
            Ok(())
        });
        assert!(matches!(stuck, Err(IndexError::Slow(_))), "{stuck:?}");
        assert!(matches!(database.flush(Duration::from_millis(1)), Err(IndexError::Slow(_))));
        // Returns although the thread does not end.
        drop(database);
        drop(release);
    }

    #[test]
    fn the_last_handle_closes_the_database_whatever_is_dropped_last() {
        let temp = tempfile::tempdir().expect("temp");
        let path = temp.path().join("index");
        let database = Database::open(&path, 1024 * 1024).expect("opens");
        let tree = database.tree("one").expect("opens");
        drop(database);
        tree.insert(b"key", b"value").expect("inserts");
        assert!(Database::open(&path, 1024 * 1024).is_err(), "the control: it is open");
        drop(tree);
        let database = Database::open(&path, 1024 * 1024).expect("it was closed");
        assert_eq!(
            database.tree("one").expect("opens").get(b"key").expect("reads").as_deref(),
            Some(&b"value"[..])
        );
    }
}
