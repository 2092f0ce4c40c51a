//! The embedded documents: one small JSON file each, replaced as a whole under compare-and-set.
//!
//! `documents/NAME.json` is a sealed file (see `sealed`) of format 2: `{"format":2,"version":N,"crc":"XXXXXXXX"}`, a
//! line feed, and the body as it was given. The version before it is kept as `NAME.json.prev`. Format 1 had the head
//! `{"format":1,"version":N}` without a checksum; it is read, and the book is written anew as format 2 when it is
//! opened. What is neither is damaged: it is never returned, and stays as it is until somebody decides. Who writes another
//! document in its place does: its bytes are kept beside it. The book is replaced by an operator alone.
//!
//! One document is vital: the policy book. See [`book`] for what is in doubt about it and what follows.
//!
//! Must not know: what the documents mean.

pub(crate) mod book;
#[cfg(test)]
mod tests;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::sealed::{self, Sealed};
use super::{ballast, files};
use crate::clock::Clock;
use crate::store::doubts::{DoubtKind, NewDoubt};
use crate::store::embedded::operations::{Operation, Operations};
use crate::store::{DocumentStore, Doubts, Expect, StoreError, Version};

const FORMAT: u32 = 2;
const UNSEALED: u32 = 1;

/// The head line of format 1, which had no checksum.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UnsealedHead {
    format: u32,
    version: u64,
}

/// A document as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
enum StoredDocument {
    Missing,
    /// It was read and is not what was written, or its name is a link, a directory or a special file.
    Damaged {
        reason: String,
    },
    Whole {
        version: Version,
        body: Bytes,
        /// Whether a checksum covers it; false for format 1.
        is_sealed: bool,
    },
}

/// Documents in a directory. Clones share one lock; there must be one family of clones per directory.
#[derive(Clone)]
pub struct Documents(Arc<Inner>);

struct Inner {
    root: PathBuf,
    doubts: Doubts,
    operations: Operations,
    clock: Clock,
    newest: book::Newest,
    /// Held over read-compare-write; file calls run on the blocking pool.
    writing: Mutex<()>,
}

impl Documents {
    /// Opens the documents of the data directory `root`, making their directory if needed, and looks at the policy
    /// book, `newest` being the newest version on record in the account: a doubt about it is raised in `doubts`, and no
    /// document can be changed while it is open.
    ///
    /// # Errors
    /// [`StoreError::Io`] when the system fails: nothing is known about the book then.
    pub(super) fn open(
        root: &Path,
        doubts: Doubts,
        operations: Operations,
        clock: Clock,
        newest: book::Newest,
    ) -> Result<Self, StoreError> {
        lay(root)?;
        book::judge(root, &doubts, &newest, clock.now())?;
        Ok(Self(Arc::new(Inner {
            root: root.to_owned(),
            doubts,
            operations,
            clock,
            newest,
            writing: Mutex::new(()),
        })))
    }
}

/// Makes the directory of the documents unless it is there, under a name that outlasts a power cut.
fn lay(root: &Path) -> Result<(), StoreError> {
    let dir = directory(root);
    let made =
        DirBuilder::new().recursive(true).mode(0o700).create(&dir).and_then(|()| files::sync_dir(root));
    made.map_err(|error| StoreError::io("create", &dir, error))
}

impl DocumentStore for Documents {
    fn get(&self, name: &'static str) -> BoxFuture<'_, Result<Option<(Version, Bytes)>, StoreError>> {
        let path = path(&self.0.root, name);
        blocking(move || read(&path)).boxed()
    }

    fn put(
        &self,
        name: &'static str,
        expect: Expect,
        body: Bytes,
    ) -> BoxFuture<'_, Result<Version, StoreError>> {
        let this = self.clone();
        // On a task of its own: a caller that goes away must not let the lock go while the file is being written.
        blocking(move || {
            // Over read, compare and write: two writers with the same expectation must not both succeed.
            let _writing = this.0.writing.blocking_lock();
            // Under the lock: a doubt that is raised meanwhile stops the next writer.
            if let Some(reason) = this.held() {
                return Err(StoreError::Held { reason });
            }
            let _under_way = this.0.operations.begin(Operation::Document, this.0.clock.now());
            // A pause or a purge must work on a full disk.
            ballast::with_room(&this.0.root, ballast::FOR_START, || this.0.replace(name, expect, &body))
        })
        .boxed()
    }

    fn held(&self) -> Option<String> {
        self.0.doubts.store_held()
    }

    fn reject(&self, name: &'static str, reason: &str) {
        if name == book::NAME {
            let found = format!("the policy book was read and cannot be used ({reason})");
            book::doubt(&self.0.root, &self.0.doubts, found, self.0.clock.now());
        }
    }
}

impl Inner {
    fn replace(&self, name: &str, expect: Expect, body: &[u8]) -> Result<Version, StoreError> {
        let path = path(&self.root, name);
        let may_replace = name != book::NAME && matches!(expect, Expect::Absent);
        let found = match read(&path) {
            Err(StoreError::Damaged { reason, .. }) if may_replace => {
                self.set_aside(name, &path, &reason)?;
                None
            }
            Err(error @ StoreError::Format { .. }) if may_replace => {
                self.set_aside(name, &path, &error.to_string())?;
                None
            }
            read => read?.map(|(version, _)| version),
        };
        let version = expect.next(found)?;
        write(&path, version, body)?;
        if name == book::NAME {
            // After the book is durable: a record of a version that never was would hold the next start.
            book::see(&self.root, &self.newest, version);
        }
        Ok(version)
    }
}

impl Inner {
    /// Keeps the bytes of a damaged document beside it, and says so.
    fn set_aside(&self, name: &str, path: &Path, reason: &str) -> Result<(), StoreError> {
        book::set_aside(path)?;
        let doubt = NewDoubt {
            kind: DoubtKind::Document,
            subject: format!("documents/{name}.json"),
            detail: format!(
                "it could not be read ({reason}), and is kept beside the new one with .damaged in its name"
            ),
            way_out: "run `tidegate store verify`, then acknowledge; the document has been written anew"
                .to_owned(),
            events: 0,
        };
        self.doubts.raise(doubt, self.clock.now());
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    // The pool refuses only while the runtime shuts down.
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(StoreError::Closed))
}

fn directory(root: &Path) -> PathBuf {
    root.join("documents")
}

pub(super) fn path(root: &Path, name: &str) -> PathBuf {
    directory(root).join(format!("{name}.json"))
}

/// Reads one document file; `None` when there is none.
///
/// # Errors
/// [`StoreError::Damaged`] when it is not what was written, [`StoreError::Format`] when it is newer,
/// [`StoreError::Io`] when the system does not let it be read.
pub(crate) fn read(path: &Path) -> Result<Option<(Version, Bytes)>, StoreError> {
    match find(path)? {
        StoredDocument::Missing => Ok(None),
        StoredDocument::Damaged { reason } => {
            Err(StoreError::Damaged { place: path.display().to_string(), reason })
        }
        StoredDocument::Whole { version, body, .. } => Ok(Some((version, body))),
    }
}

fn find(path: &Path) -> Result<StoredDocument, StoreError> {
    match sealed::read(path)? {
        Sealed::Missing => Ok(StoredDocument::Missing),
        Sealed::Whole { format: FORMAT, version, body } => {
            Ok(StoredDocument::Whole { version: Version(version), body, is_sealed: true })
        }
        Sealed::Whole { format, .. } => {
            Err(StoreError::Format { what: path.display().to_string(), found: format, known: FORMAT })
        }
        // A file of format 1 has no checksum, so that it looks damaged at first.
        Sealed::Damaged { reason } => Ok(find_unsealed(path)?.unwrap_or(StoredDocument::Damaged { reason })),
    }
}

/// The document if it is of format 1; `None` when it is not.
fn find_unsealed(path: &Path) -> Result<Option<StoredDocument>, StoreError> {
    let read =
        files::read_plain(path, sealed::MAX_BYTES).map_err(|error| StoreError::io("read", path, error))?;
    let Some(bytes) = read else { return Ok(None) };
    let Some(line) = bytes.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
    let head = serde_json::from_slice(bytes.get(..line).unwrap_or_default());
    let Ok(UnsealedHead { format: UNSEALED, version }) = head else { return Ok(None) };
    let body = Bytes::from(bytes).slice(line + 1..);
    Ok(Some(StoredDocument::Whole { version: Version(version), body, is_sealed: false }))
}

fn write(path: &Path, version: Version, body: &[u8]) -> Result<(), StoreError> {
    sealed::replace(path, FORMAT, version.0, body)
}
