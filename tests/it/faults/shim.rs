//! The preloaded library that fails chosen calls, and what it has counted. Calls are counted over all threads and
//! over all processes of one scenario: the N-th call is the same one in every run that gets that far.
//!
//! Must not know: what the program is asked to do.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Calls that fail together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    Open,
    Read,
    Write,
    Sync,
    Rename,
    Unlink,
}

impl Group {
    pub(super) const ALL: [Self; 6] =
        [Self::Open, Self::Read, Self::Write, Self::Sync, Self::Rename, Self::Unlink];
}

/// The errors and their numbers on Linux.
pub(super) const ERRORS: [(&str, i32); 5] =
    [("EIO", 5), ("ENOMEM", 12), ("EMFILE", 24), ("ENOSPC", 28), ("EINTR", 4)];
/// No system interrupts a call for ever.
const INTERRUPTIONS: u64 = 50;

/// Which calls fail, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) group: Group,
    pub(super) error: (&'static str, i32),
    /// The first call that fails, from 1.
    pub(super) nth: u64,
    /// All that follow fail as well.
    pub(super) for_good: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, error, nth, for_good } = self;
        let how = if *for_good { "for good" } else { "once" };
        write!(f, "{group:?} {nth} {} {how}", error.0)
    }
}

/// The counters of one scenario.
pub(super) struct Counters(PathBuf);

impl Counters {
    pub(super) fn new(dir: &Path) -> Self {
        let path = dir.join("counters");
        std::fs::write(&path, [0; 4096]).expect("written");
        Self(path)
    }

    /// What to put before the program so that its calls on files below `data` are counted, and fail.
    pub(super) fn wrapper(&self, data: &Path, fault: Option<Fault>) -> Vec<String> {
        let mut words = vec!["env".to_owned(), format!("LD_PRELOAD={}", library().display())];
        words.push(format!("FAULT_DIR={}", data.display()));
        words.push(format!("FAULT_STATE={}", self.0.display()));
        if let Some(Fault { group, error, nth, for_good }) = fault {
            let times = match (for_good, error.0) {
                (false, _) => 1,
                (true, "EINTR") => INTERRUPTIONS,
                (true, _) => u64::from(u32::MAX),
            };
            words.push(format!("FAULT_GROUP={}", group as u32));
            words.extend([format!("FAULT_NTH={nth}"), format!("FAULT_TIMES={times}")]);
            words.push(format!("FAULT_ERRNO={}", error.1));
        }
        words
    }

    fn read(&self, place: usize) -> u64 {
        let bytes = std::fs::read(&self.0).expect("the counters");
        u64::from_ne_bytes(bytes[place * 8..place * 8 + 8].try_into().expect("eight bytes"))
    }

    /// Calls so far.
    pub(super) fn calls(&self, group: Group) -> u64 {
        self.read(group as usize)
    }

    /// Failures so far.
    pub(super) fn failed(&self) -> u64 {
        self.read(Group::ALL.len())
    }
}

/// The library, built once for this process.
fn library() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/faults/shim.c");
        let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-{}.so", std::process::id()));
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"]).arg(&to).arg(source);
        let output = compiler.arg("-ldl").output().expect("this test needs cc (Debian package gcc)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        to
    })
}
