//! The state file of a pass: of which input up to which line all is answered, and since when. It is written anew as a
//! whole, and gone when the pass is complete.
//!
//! Must not know: how lines are sent.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cli::enqueue::keyed::Keys;
use crate::cli::exit::Failure;
use crate::clock::Timestamp;

/// How long the daemon knows a key.
const LIFE_OF_KEYS: Duration = Duration::from_secs(24 * 3600);
const FORMAT: u32 = 1;

/// How far a pass has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PassState {
    format: u32,
    /// The daemon that has the lines.
    daemon: String,
    /// Its data directory; `None` until it has answered.
    #[serde(default)]
    store: Option<String>,
    resume_id: Option<String>,
    /// SHA-256 of the whole file, or of the lines up to the last answered one where the whole is not known.
    pub digest: Option<String>,
    is_whole: bool,
    started_at: String,
    /// The last line up to which all lines are answered.
    pub answered_lines: u64,
    /// Durable, those that had been handed in before included.
    pub accepted: u64,
    pub repeated: u64,
    pub refused: u64,
}

impl PassState {
    /// The state of a pass of which no line is answered.
    pub(super) fn new(keys: &Keys, daemon: &str, now: Timestamp) -> Self {
        Self {
            format: FORMAT,
            daemon: daemon.to_owned(),
            store: None,
            resume_id: keys.id.clone(),
            digest: keys.digest.clone(),
            is_whole: keys.digest.is_some(),
            started_at: now.to_string(),
            answered_lines: 0,
            accepted: 0,
            repeated: 0,
            refused: 0,
        }
    }

    /// All lines up to this one are answered, `digest` is that of what stands before its end.
    pub(super) fn reach(&mut self, line: u64, digest: &str, (accepted, repeated, refused): (u64, u64, u64)) {
        debug_assert!(self.answered_lines <= line, "a line that was answered before");
        self.answered_lines = line;
        if !self.is_whole {
            self.digest = Some(digest.to_owned());
        }
        self.accepted += accepted;
        self.repeated += repeated;
        self.refused += refused;
    }

    /// The sums in one line; `from` is where this run went on.
    pub(super) fn summary(&self, from: u64, seconds: f64) -> String {
        let Self { accepted, repeated, refused, answered_lines, .. } = self;
        let before = match repeated {
            0 => String::new(),
            repeated => format!(" ({repeated} of them had been handed in before)"),
        };
        let lines = answered_lines.saturating_sub(from);
        #[expect(clippy::cast_precision_loss, reason = "no file has 2^53 lines")]
        let rate = lines as f64 / seconds.max(0.001);
        format!(
            "{accepted} accepted{before}, {refused} refused; {lines} lines in {seconds:.1} s, {rate:.0} per second"
        )
    }

    /// Whether this is the pass that `fresh` would begin.
    fn check(&self, fresh: &Self, path: &Path) -> Result<(), Failure> {
        let path = path.display();
        let refused = |what: &str, else_: &str| {
            let line = self.answered_lines;
            Err(Failure::usage(format!(
                "the state file {path} is of {what}, answered up to line {line}; {else_}, or delete it to begin at the first \
                 line"
            )))
        };
        if self.format != FORMAT {
            return refused("another version of tidegate", "go on with that version");
        }
        // Of an input that is not known as a whole the digest is compared later, when its lines are passed over.
        if self.is_whole != fresh.is_whole || (self.is_whole && self.digest != fresh.digest) {
            let line = self.answered_lines;
            return Err(Failure::usage(format!(
                "the state file {path} is of another input, or of the file before it was changed, answered up to line {line}. \
                 Keys name the digest of the whole file: all lines of a changed file are accepted anew, also those that were \
                 accepted before. Write the lines after line {line} and corrected ones to a file of their own and enqueue \
                 that one, restore the file and repeat the command, or name another state file with --state"
            )));
        }
        if self.resume_id != fresh.resume_id {
            let id = self.resume_id.as_deref();
            let name = id.map_or("a pass without --resume-id".to_owned(), |id| format!("the pass {id:?}"));
            return refused(&name, "give the same --resume-id, name another file with --state");
        }
        if self.daemon != fresh.daemon {
            let back = format!("give --listen {}, name another file with --state", self.daemon);
            return refused(&format!("a pass to the daemon at {}", self.daemon), &back);
        }
        Ok(())
    }
}

/// The file, and what stands there next.
pub(super) struct StateFile {
    path: PathBuf,
    state: PassState,
}

impl StateFile {
    /// What the file says, or `fresh` where there is none; from then on it is there.
    ///
    /// # Errors
    /// [`Failure`] with the way out when it is of another pass, too old or cannot be read or written.
    pub(super) fn open(
        path: &Path,
        fresh: PassState,
        repeats: bool,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        let state = match std::fs::read(path) {
            Ok(text) => {
                let mut state: PassState = serde_json::from_slice(&text).map_err(|error| {
                    let path = path.display();
                    Failure::usage(format!(
                        "the state file {path} does not read ({error}); delete it to begin at the first line: what was \
                         accepted within 24 hours is accepted once"
                    ))
                })?;
                state.check(&fresh, path)?;
                if is_over(&state, now) {
                    if !repeats {
                        return Err(too_old(&state, path));
                    }
                    // Keys of lines that are sent from now on live another 24 hours.
                    state.started_at = now.to_string();
                }
                state
            }
            Err(error) if error.kind() == ErrorKind::NotFound => fresh,
            Err(error) => return Err(Failure::from(error).about(&path.display().to_string())),
        };
        let file = Self { path: path.to_owned(), state };
        // At once: that the file cannot be written is found before any line is sent.
        file.write()?;
        Ok(file)
    }

    /// The daemon's data directory is `id`: that of the lines that are answered, or the first one.
    ///
    /// # Errors
    /// [`Failure`] with the way out when the answered lines are in another directory, or when the file cannot be
    /// written.
    pub(super) fn meet(&mut self, id: &str) -> Result<(), Failure> {
        match &self.state.store {
            Some(known) if known == id => Ok(()),
            Some(known) => {
                let (path, line, daemon) =
                    (self.path.display(), self.state.answered_lines, &self.state.daemon);
                Err(Failure::usage(format!(
                    "the state file {path} is of a pass to the data directory {known} (store.id in GET /v1/status), and the \
                     daemon at {daemon} has {id}: another directory, or one that was restored. Lines up to {line} may be \
                     missing there. Start the daemon on the directory of the pass, or delete the state file to begin at the \
                     first line: what this directory has accepted within 24 hours is accepted once"
                )))
            }
            None => {
                self.state.store = Some(id.to_owned());
                self.write()
            }
        }
    }

    pub(super) const fn now(&self) -> &PassState {
        &self.state
    }

    pub(super) const fn change(&mut self) -> &mut PassState {
        &mut self.state
    }

    /// Puts the state into the file. A kill leaves the state before or this one.
    ///
    /// # Errors
    /// [`Failure`] that names the file.
    pub(super) fn write(&self) -> Result<(), Failure> {
        let failed = |error: std::io::Error| {
            let path = self.path.display();
            Failure::from(error)
                .about(&format!("cannot write the state file {path}"))
                .with("--state PATH puts it elsewhere")
        };
        let mut name = self.path.clone().into_os_string();
        // Beside the file, because a rename does not cross file systems.
        name.push(".new");
        // A record of texts and numbers always serialises.
        let text = serde_json::to_vec_pretty(&self.state).unwrap_or_default();
        std::fs::write(&name, text).map_err(failed)?;
        std::fs::rename(&name, &self.path).map_err(failed)
    }

    /// The pass is complete.
    ///
    /// # Errors
    /// [`Failure`] that names the file.
    pub(super) fn remove(self) -> Result<(), Failure> {
        std::fs::remove_file(&self.path).map_err(|error| {
            let path = self.path.display();
            Failure::from(error)
                .about(&format!("all is handed in, but the state file {path} cannot be deleted"))
        })
    }
}

fn is_over(state: &PassState, now: Timestamp) -> bool {
    Timestamp::parse(&state.started_at).is_none_or(|started| now.since(started) > LIFE_OF_KEYS)
}

fn too_old(state: &PassState, path: &Path) -> Failure {
    let PassState { started_at, answered_lines, .. } = state;
    Failure::usage(format!(
        "the pass of the state file {} began at {started_at}, and keys live 24 hours: lines after {answered_lines} that \
         were sent and not answered would be accepted again. Go on after line {answered_lines} with --accept-repeats, or \
         delete the file to hand all lines in anew",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn fresh(digest: &str, now: Timestamp) -> PassState {
        PassState::new(&Keys::of_file(digest, None), "127.0.0.1:7080", now)
    }

    #[test]
    fn a_pass_goes_on_within_the_life_of_its_keys() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("f.tidegate-enqueue");
        let began = Timestamp::from_millis(1_900_000_000_000);
        let mut file = StateFile::open(&path, fresh("d", began), false, began).expect("new");
        file.change().reach(7, "part", (5, 1, 2));
        file.write().expect("written");

        let open = |now, repeats| StateFile::open(&path, fresh("d", now), repeats, now);
        let again = open(began + 24 * HOUR, false).expect("in time");
        assert_eq!((again.now().answered_lines, again.now().digest.as_deref()), (7, Some("d")));
        let late = began + 24 * HOUR + Duration::from_secs(1);
        let said = open(late, false).err().expect("too old").to_string();
        assert!(said.contains("after line 7 with --accept-repeats"), "{said}");
        assert_eq!(open(late, true).expect("accepted").now().answered_lines, 7);
        open(late + HOUR, false).expect("a new life").remove().expect("removed");
        assert_eq!(open(late, false).expect("new").now().answered_lines, 0);
    }

    #[test]
    fn the_state_of_another_pass_is_refused_with_the_way_out() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("state");
        let now = Timestamp::from_millis(1_900_000_000_000);
        drop(StateFile::open(&path, fresh("d", now), false, now).expect("new"));
        let other = |state: PassState| {
            StateFile::open(&path, state, false, now)
                .err()
                .map(|failure| failure.to_string())
                .unwrap_or_default()
        };
        assert!(other(fresh("e", now)).contains("another input"));
        let named = PassState::new(&Keys::of_file("d", Some("x".to_owned())), "127.0.0.1:7080", now);
        assert!(other(named).contains("without --resume-id"));
        assert!(other(PassState::new(&Keys::of_input("x"), "127.0.0.1:7080", now)).contains("another input"));
        let elsewhere = PassState::new(&Keys::of_file("d", None), "127.0.0.1:1", now);
        assert!(other(elsewhere).contains("--listen 127.0.0.1:7080"));
        assert_eq!(other(fresh("d", now)), "");
        std::fs::write(&path, "{").expect("written");
        assert!(other(fresh("d", now)).contains("does not read"));
    }

    #[test]
    fn a_pass_goes_on_in_its_own_data_directory_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("state");
        let now = Timestamp::from_millis(1_900_000_000_000);
        let open = || StateFile::open(&path, fresh("d", now), false, now).expect("opens");
        open().meet("one").expect("the first one");
        open().meet("one").expect("the same");
        let said = open().meet("two").expect_err("another one").to_string();
        assert!(said.contains("data directory one ") && said.contains("has two"), "{said}");
    }
}
