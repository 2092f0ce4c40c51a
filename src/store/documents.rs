//! The embedded documents: one small JSON file each, replaced as a whole under compare-and-set.
//!
//! `documents/NAME.json` is one line `{"format":1,"version":N}` and, after the line feed, the body as it was given.
//! A write goes to `NAME.json.tmp`, is synced, renamed over the old file, and the directory synced: a crash at any
//! step leaves the old or the new document. Leftover `.tmp` files are never read and are overwritten.
//!
//! Must not know: what the documents mean.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::{DocumentStore, Expect, StoreError, Version, ballast};

const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Head {
    format: u32,
    version: u64,
}

/// Documents in a directory. Clones share one lock; there must be one family of clones per directory.
#[derive(Clone)]
pub struct Documents(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    /// Held over read-compare-write; file calls run on the blocking pool.
    writing: Mutex<()>,
}

impl Documents {
    /// Opens the directory, making it if needed.
    ///
    /// # Errors
    /// [`StoreError::Io`] when it cannot be made.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|error| StoreError::io("create", dir, error))?;
        Ok(Self(Arc::new(Inner { dir: dir.to_owned(), writing: Mutex::new(()) })))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.dir.join(format!("{name}.json"))
    }
}

impl DocumentStore for Documents {
    fn get(&self, name: &'static str) -> BoxFuture<'_, Result<Option<(Version, Bytes)>, StoreError>> {
        let path = self.path(name);
        blocking(move || read(&path)).boxed()
    }

    fn put(
        &self,
        name: &'static str,
        expect: Expect,
        body: Bytes,
    ) -> BoxFuture<'_, Result<Version, StoreError>> {
        let path = self.path(name);
        let this = self.clone();
        // On a task of its own: a caller that goes away must not let the lock go while the file is being written.
        blocking(move || {
            let _writing = this.0.writing.blocking_lock();
            // A pause or a purge must work on a full disk.
            let root = this.0.dir.parent().unwrap_or(&this.0.dir);
            ballast::with_room(root, || replace(&this.0.dir, &path, expect, &body))
        })
        .boxed()
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    // The pool refuses only while the runtime shuts down.
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(StoreError::Closed))
}

/// Reads one document file; `None` when there is none.
///
/// # Errors
/// [`StoreError::Io`] when it cannot be read or is damaged, [`StoreError::Format`] when it is newer.
pub fn read(path: &Path) -> Result<Option<(Version, Bytes)>, StoreError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => Bytes::from(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("read", path, error)),
    };
    let damaged =
        |reason: &str| StoreError::io("read", path, io::Error::new(io::ErrorKind::InvalidData, reason));
    let line = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(|| damaged("no head line"))?;
    let head: Head = serde_json::from_slice(bytes.get(..line).unwrap_or_default())
        .map_err(|error| damaged(&format!("head line: {error}")))?;
    if head.format != FORMAT {
        return Err(StoreError::Format {
            what: path.display().to_string(),
            found: head.format,
            known: FORMAT,
        });
    }
    Ok(Some((Version(head.version), bytes.slice(line + 1..))))
}

fn replace(dir: &Path, path: &Path, expect: Expect, body: &[u8]) -> Result<Version, StoreError> {
    let found = read(path)?.map(|(version, _)| version);
    let version = expect.next(found)?;
    let temp = path.with_extension("json.tmp");
    write_temp(&temp, version, body).map_err(|error| StoreError::io("write", &temp, error))?;
    fs::rename(&temp, path).map_err(|error| StoreError::io("rename", &temp, error))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|error| StoreError::io("sync", dir, error))?;
    Ok(version)
}

fn write_temp(temp: &Path, version: Version, body: &[u8]) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(&Head { format: FORMAT, version: version.0 })?;
    bytes.push(b'\n');
    bytes.extend_from_slice(body);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(temp)?;
    file.write_all(&bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[tokio::test]
    async fn a_document_is_replaced_only_by_who_knows_its_version() {
        let dir = tempfile::tempdir().expect("temp");
        let docs = Documents::open(dir.path()).expect("opens");
        assert_eq!(docs.get("book").await.expect("reads"), None);
        let first = docs.put("book", Expect::Absent, body("{\"a\":1}\n")).await.expect("writes");
        assert_eq!(first, Version(1));
        let again = docs.put("book", Expect::Absent, body("{}")).await;
        assert!(matches!(again, Err(StoreError::VersionConflict { found: Some(Version(1)) })));
        assert_eq!(docs.put("book", Expect::At(first), body("two")).await.expect("writes"), Version(2));
        let stale = docs.put("book", Expect::At(first), body("three")).await;
        assert!(matches!(stale, Err(StoreError::VersionConflict { found: Some(Version(2)) })));
        let reopened = Documents::open(dir.path()).expect("opens");
        assert_eq!(reopened.get("book").await.expect("reads"), Some((Version(2), body("two"))));
    }

    #[tokio::test]
    async fn of_many_writers_at_once_each_version_has_one() {
        let dir = tempfile::tempdir().expect("temp");
        let docs = Documents::open(dir.path()).expect("opens");
        let puts = (0..16).map(|_| docs.put("book", Expect::Absent, body("x")));
        let won = futures_util::future::join_all(puts).await.iter().filter(|put| put.is_ok()).count();
        assert_eq!(won, 1);
    }

    #[tokio::test]
    async fn a_crash_before_the_rename_leaves_the_old_document() {
        let dir = tempfile::tempdir().expect("temp");
        let docs = Documents::open(dir.path()).expect("opens");
        docs.put("book", Expect::Absent, body("old")).await.expect("writes");
        fs::write(dir.path().join("book.json.tmp"), "{\"format\":1,\"version\":2}\nhal").expect("leftover");
        assert_eq!(docs.get("book").await.expect("reads"), Some((Version(1), body("old"))));
        docs.put("book", Expect::At(Version(1)), body("new")).await.expect("writes over the leftover");
        assert_eq!(docs.get("book").await.expect("reads"), Some((Version(2), body("new"))));
        assert!(!dir.path().join("book.json.tmp").exists());
    }

    #[tokio::test]
    async fn damage_and_newer_formats_name_the_file() {
        let dir = tempfile::tempdir().expect("temp");
        let docs = Documents::open(dir.path()).expect("opens");
        for bad in ["", "no line", "{}\nx", "\0\0\n"] {
            fs::write(dir.path().join("book.json"), bad).expect("writes");
            let Err(StoreError::Io { path, .. }) = docs.get("book").await else { panic!("{bad:?} was read") };
            assert!(path.ends_with("book.json"));
        }
        fs::write(dir.path().join("book.json"), "{\"format\":2,\"version\":1}\n").expect("writes");
        assert!(matches!(docs.get("book").await, Err(StoreError::Format { found: 2, .. })));
    }
}
