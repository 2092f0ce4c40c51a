//! Restores a data directory in its place: in the directory itself, which may be a mount point, be reached through a
//! link, or belong to the user of the daemon while root restores.
//!
//! # Order
//! 1. The directory is made if needed and locked. `restoring` is written ([`unfinished`]): from here
//!    on no daemon starts on it. Where root restores the directory of another user, it takes it, so that nobody else
//!    changes names in it meanwhile.
//! 2. The tree grows and is checked in `restoring.data`, and its own epoch is raised there.
//! 3. The tree is given to whom the directory belonged, moved up name by name, and the directory is given back.
//! 4. The epoch is raised in `store.epoch_file`.
//! 5. `restoring` is deleted.
//!
//! Each step is durable before the next begins. A crash leaves a directory with the mark, in which the next restore
//! begins anew, or one that is complete and has the highest epoch. A failure leaves the directory as it was found.
//!
//! Must not know: how files are copied and checked, who may go back to which backup.

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf, absolute};

use super::access::{self, FileOwner};
use super::directory::lock_root;
use super::files;
use super::names::{self, Role};
use super::rollback::Raised;
use super::unfinished::{self, FormerAccess, RestoreState};
use crate::store::{DirectoryError, StoreError};

/// Name of the tree while it grows inside the directory.
const TREE: &str = "restoring.data";
const LOCK: &str = "LOCK";
const PRIVATE: u32 = 0o700;
/// While it is root's: the daemon's user can look for the lock and the mark, and change nothing.
const TAKEN: u32 = 0o755;
/// As many links as the system follows.
const MOST_LINKS: usize = 40;

/// A restore under way. Dropped before [`Restore::finish`] it leaves the directory as it was found.
#[derive(Debug)]
pub(crate) struct Restore {
    root: PathBuf,
    /// Keeps the lock on the directory.
    dir: File,
    before: FormerAccess,
    is_made: bool,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing in the directory was changed.
    Found,
    /// The mark is written: everything beside it is of this restore.
    Marked,
    /// Everything is in its place and durable.
    Done,
}

/// What a finished restore has brought about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RestoredDirectory {
    /// The epoch that it was raised to.
    pub epoch: u64,
    /// The user and group to whom the directory belongs.
    pub owner: FileOwner,
}

impl Restore {
    /// Begins to restore `data_dir`, which must not be there, be empty, or be left by a restore that was cut short.
    ///
    /// # Errors
    /// [`DirectoryError::Occupied`] when something is in it, [`DirectoryError::Locked`] when a process has it,
    /// [`DirectoryError::Denied`] when it is another user's and this is not root; others when the system refuses.
    pub(crate) fn begin(data_dir: &Path) -> Result<Self, StoreError> {
        let root = place(data_dir)?;
        let is_made = make(&root)?;
        // Before the look at what is there: a daemon that starts meanwhile is kept out from here on.
        let dir = lock_root(&root)?;
        let meta = dir.metadata().map_err(|error| StoreError::io("look at", &root, error))?;
        if access::user() != 0 {
            access::check_owner(&root, &meta)?;
        }
        let mut this = Self { root, dir, before: FormerAccess::of(&meta), is_made, stage: Stage::Found };
        match unfinished::find(&this.root, &meta)? {
            RestoreState::Nothing => {
                this.expect(|_| false)?;
                // From here on a failure takes back what is there: nothing else was.
                this.stage = Stage::Marked;
                unfinished::write(&this.root, this.before)?;
            }
            RestoreState::CutShort(before) => {
                this.expect(is_of_restore)?;
                this.before = before;
            }
            RestoreState::Unknown(reason) => {
                let path = this.root.join(unfinished::NAME).display().to_string();
                let reason = format!(
                    "is there and does not read as the mark of a restore ({reason}); nothing was changed, move it away first"
                );
                return Err(StoreError::Directory(DirectoryError::Occupied { path, reason }));
            }
        }
        this.stage = Stage::Marked;
        this.take_over()?;
        this.expect(is_of_restore)?;
        this.clear()?;
        this.name_holder()?;
        let tree = this.tree();
        let laid = DirBuilder::new().mode(PRIVATE).create(&tree);
        laid.map_err(|error| StoreError::io("create", &tree, error))?;
        files::sync_dir(&this.root).map_err(|error| StoreError::io("sync", &this.root, error))?;
        Ok(this)
    }

    /// Where the tree is to grow: an empty private directory.
    #[must_use]
    pub(crate) fn tree(&self) -> PathBuf {
        self.root.join(TREE)
    }

    /// Makes the tree the data directory, and its epoch the highest one.
    ///
    /// # Errors
    /// [`StoreError`] when the system refuses; the directory is then as it was found, or, when only the mark could not
    /// be deleted, has everything and the mark.
    pub(crate) fn finish(mut self, raised: Raised) -> Result<RestoredDirectory, StoreError> {
        let (tree, owner) = (self.tree(), self.before.owner());
        let failed = |operation, path: &Path, error| StoreError::io(operation, path, error);
        // Of this process: it must not be in the way of the daemon's user.
        let lock = tree.join(LOCK);
        files::remove(&lock).map_err(|error| failed("delete", &lock, error))?;
        if let Some(owner) = owner.to_give() {
            give(&tree, owner)?;
        }
        for name in list(&tree)? {
            let to = self.root.join(&name);
            // One by one, since the directory itself may be a mount point that cannot be replaced.
            fs::rename(tree.join(&name), &to).map_err(|error| failed("rename to", &to, error))?;
        }
        fs::remove_dir(&tree).map_err(|error| failed("delete", &tree, error))?;
        let lock = self.root.join(LOCK);
        files::remove(&lock).map_err(|error| failed("delete", &lock, error))?;
        // Only when all names are in their place: until then nobody else may change them.
        self.give_back(PRIVATE)?;
        let epoch = raised.put(owner.to_give())?;
        // From here on a failure must not undo: the epoch outside names this directory already.
        self.stage = Stage::Done;
        unfinished::remove(&self.root)?;
        Ok(RestoredDirectory { epoch, owner })
    }

    /// Nothing is in the directory but what `may_be` there, the mark, and what file systems put there.
    fn expect(&self, may_be: impl Fn(&str) -> bool) -> Result<(), StoreError> {
        for name in list(&self.root)? {
            let name = name.to_string_lossy();
            if !is_passed_over(&name) && !may_be(&name) {
                let path = self.root.display().to_string();
                let reason = format!("is not empty, {name} is in it; move away what is there first");
                return Err(StoreError::Directory(DirectoryError::Occupied { path, reason }));
            }
        }
        Ok(())
    }

    fn take_over(&self) -> Result<(), StoreError> {
        let owner = FileOwner { uid: access::user(), gid: rustix::process::getegid().as_raw() };
        let mode = if self.before.owner().to_give().is_some() { TAKEN } else { PRIVATE };
        self.change(owner, mode)
    }

    fn give_back(&self, mode: u32) -> Result<(), StoreError> {
        self.change(self.before.owner(), mode)
    }

    fn change(&self, owner: FileOwner, mode: u32) -> Result<(), StoreError> {
        let owned = match self.before.owner().to_give() {
            Some(_) => fchown(&self.dir, Some(owner.uid), Some(owner.gid)),
            None => Ok(()),
        };
        let changed = owned
            .and_then(|()| self.dir.set_permissions(Permissions::from_mode(mode)))
            .and_then(|()| self.dir.sync_all());
        changed.map_err(|error| StoreError::io("change owner and mode of", &self.root, error))
    }

    /// Deletes everything but the mark. What is of the store's names only: the rest would not be this restore's.
    fn clear(&self) -> Result<(), StoreError> {
        for name in list(&self.root)? {
            if !is_of_restore(&name.to_string_lossy()) {
                continue;
            }
            let path = self.root.join(name);
            let is_dir = fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir());
            let removed = if is_dir { fs::remove_dir_all(&path) } else { files::remove(&path) };
            removed.map_err(|error| StoreError::io("delete", &path, error))?;
        }
        files::sync_dir(&self.root).map_err(|error| StoreError::io("sync", &self.root, error))
    }

    /// Names this process in the lock file, for a process that finds the directory in use.
    fn name_holder(&self) -> Result<(), StoreError> {
        let path = self.root.join(LOCK);
        let written = files::create(&path).and_then(|mut file| {
            file.write_all(format!("{} (tidegate restore)\n", std::process::id()).as_bytes())
        });
        written.map_err(|error| StoreError::io("write", &path, error))
    }

    fn undo(&self) -> Result<(), StoreError> {
        if self.stage == Stage::Marked {
            self.clear()?;
            self.give_back(self.before.mode)?;
            unfinished::remove(&self.root)?;
        }
        if self.is_made {
            fs::remove_dir(&self.root).map_err(|error| StoreError::io("delete", &self.root, error))?;
        }
        Ok(())
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        if self.stage != Stage::Done
            && let Err(error) = self.undo()
        {
            tracing::warn!(%error, "what was restored so far is left; the next restore deletes it");
        }
    }
}

fn is_passed_over(name: &str) -> bool {
    name == names::FOREIGN
        || name.strip_prefix(unfinished::NAME).is_some_and(|rest| ["", ".tmp"].contains(&rest))
}

/// Whether a restore that was cut short may have left it beside the mark.
fn is_of_restore(name: &str) -> bool {
    name == TREE || names::role_at_top(name) != Role::Stray
}

/// The directory behind links, whose last one may point to nothing.
fn place(data_dir: &Path) -> Result<PathBuf, StoreError> {
    let failed = |error| StoreError::io("look at", data_dir, error);
    // Without a slash at the end, which would have the system follow the link.
    let mut path: PathBuf = absolute(data_dir).map_err(failed)?.components().collect();
    for _ in 0..MOST_LINKS {
        match fs::canonicalize(&path) {
            Ok(real) => return Ok(real),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        match fs::read_link(&path) {
            Ok(to) => path = files::parent_of(&path).join(to),
            Err(_) => return Ok(path),
        }
    }
    Err(failed(rustix::io::Errno::LOOP.into()))
}

/// Makes the directory and those above it where they are missing, durably. Whether it was not there.
fn make(path: &Path) -> Result<bool, StoreError> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => return Ok(false),
        Ok(_) => {
            let (path, reason) =
                (path.display().to_string(), "is no directory; move it away first".to_owned());
            return Err(StoreError::Directory(DirectoryError::Occupied { path, reason }));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(StoreError::io("look at", path, error)),
    }
    let parent = files::parent_of(path);
    if parent != path {
        make(parent)?;
    }
    let made = DirBuilder::new().mode(PRIVATE).create(path).and_then(|()| files::sync_dir(parent));
    made.map_err(|error| StoreError::io("create", path, error)).map(|()| true)
}

fn list(dir: &Path) -> Result<Vec<OsString>, StoreError> {
    let listed = files::list(dir).and_then(|names| names.map(|entry| Ok(entry?.file_name())).collect());
    listed.map_err(|error| StoreError::io("list", dir, error))
}

/// Gives everything in a tree to `owner`, durably.
fn give(tree: &Path, owner: FileOwner) -> Result<(), StoreError> {
    for entry in names::walk(tree)? {
        let path = tree.join(&entry.path);
        let opened = if entry.meta.is_dir() { files::open_dir(&path).map(Some) } else { files::read(&path) };
        let given = opened.and_then(|file| file.map_or(Ok(()), |file| owner.take(&file)));
        given.map_err(|error| StoreError::io("change the owner of", &path, error))?;
    }
    Ok(())
}
