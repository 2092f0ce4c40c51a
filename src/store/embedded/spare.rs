//! Spare descriptors: opened at the start on `/dev/null`, and closed one by one when an open of the store finds that
//! the process, or the system, has no descriptor left. The open is then repeated. They are opened again when there is
//! room.
//!
//! They belong to the process, as its limit does. Because they are opened first they have low numbers, which stay
//! usable when the limit is lowered while the process runs.
//!
//! Must not know: what is opened.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use crate::telemetry::DescriptorShortage;

/// The spare descriptors of this process: the limit is one for all stores in it.
static SPARE: Spare = Spare::new();

/// Keeps `count` descriptors spare from now on, as far as the system lets them be opened.
pub(super) fn keep(count: usize) {
    SPARE.keep(count, null);
}

/// Opens again those that were given up.
pub(super) fn refill() {
    SPARE.refill(null);
}

/// Whether all of them are open: nobody is short of descriptors.
pub(super) fn is_whole() -> bool {
    let (open, wanted) = SPARE.count();
    open >= wanted
}

/// Opens something, in the place of a spare descriptor when there is no other.
///
/// # Errors
/// Those of `open`; that descriptors are used up only when none is spare any more.
pub(super) fn opened<T>(open: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    SPARE.opened(open)
}

fn null() -> io::Result<File> {
    File::open("/dev/null")
}

/// Whether an error says that descriptors are used up, those of the process or those of the system.
fn is_used_up(error: &io::Error) -> bool {
    error
        .raw_os_error()
        .is_some_and(|errno| [Errno::MFILE, Errno::NFILE].iter().any(|one| one.raw_os_error() == errno))
}

#[derive(Debug)]
struct Spare {
    open: Mutex<Vec<File>>,
    wanted: AtomicUsize,
}

impl Spare {
    const fn new() -> Self {
        Self { open: Mutex::new(Vec::new()), wanted: AtomicUsize::new(0) }
    }

    fn keep(&self, count: usize, make: impl FnMut() -> io::Result<File>) {
        self.wanted.store(count, Ordering::Relaxed);
        self.lock().truncate(count);
        self.refill(make);
    }

    fn refill(&self, mut make: impl FnMut() -> io::Result<File>) {
        let mut open = self.lock();
        while open.len() < self.wanted.load(Ordering::Relaxed) {
            let Ok(file) = make() else { return };
            open.push(file);
        }
    }

    fn count(&self) -> (usize, usize) {
        (self.lock().len(), self.wanted.load(Ordering::Relaxed))
    }

    fn opened<T>(&self, mut open: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            match open() {
                Err(error) if is_used_up(&error) => {
                    DescriptorShortage { at: "store" }.emit();
                    // The lowest number first: it is usable under any limit.
                    let mut spare = self.lock();
                    if spare.is_empty() {
                        return Err(error);
                    }
                    drop(spare.remove(0));
                }
                other => return other,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<File>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(times: usize, errno: Errno) -> impl FnMut() -> io::Result<usize> {
        let mut tried = 0;
        move || {
            tried += 1;
            if tried > times { Ok(tried) } else { Err(errno.into()) }
        }
    }

    #[test]
    fn an_open_without_a_descriptor_is_repeated_once_for_each_spare_one() {
        let spare = Spare::new();
        spare.keep(3, null);
        assert_eq!(spare.count(), (3, 3));
        assert_eq!(spare.opened(failing(2, Errno::MFILE)).expect("opens"), 3);
        assert_eq!(spare.count(), (1, 3));
        let failed = spare.opened(failing(9, Errno::NFILE)).expect_err("none is left");
        assert_eq!(failed.raw_os_error(), Some(Errno::NFILE.raw_os_error()));
        assert_eq!(spare.count(), (0, 3));
        spare.refill(null);
        assert_eq!(spare.count(), (3, 3), "there is room again");
    }

    #[test]
    fn other_errors_take_none_and_a_refill_ends_where_there_is_no_room() {
        let spare = Spare::new();
        spare.keep(2, null);
        assert!(spare.opened(failing(1, Errno::ACCESS)).is_err());
        assert_eq!(spare.count(), (2, 2), "the control: others take none");
        spare.opened(failing(2, Errno::MFILE)).expect("opens");
        let mut made = 0;
        spare.refill(|| {
            made += 1;
            if made == 2 { Err(Errno::MFILE.into()) } else { null() }
        });
        assert_eq!(spare.count(), (1, 2));
        spare.keep(0, null);
        assert_eq!(spare.count(), (0, 0));
    }
}
