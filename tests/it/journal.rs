//! The log of the real binary as entries of the journal: a socket in a mount namespace stands in for journald.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use crate::world::{Configured, Receiver, server};

const SOON: Duration = Duration::from_secs(30);

/// Starts it where journald's socket is the one in `folder`, if there is one; `prepare` runs before it.
fn start(world: &mut Configured, folder: &Path, prepare: &str) -> Child {
    let folder = folder.display();
    let script = format!(
        "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && \
         mount --bind {folder} /run/systemd/journal && {prepare} exec \"$0\" \"$@\""
    );
    world.options.wrapper = ["unshare", "--mount", "sh", "-c", &script].map(str::to_owned).to_vec();
    server::command(&world.options).spawn().expect("it starts")
}

/// Waits for the entry with this message and returns it.
fn entry_with(journald: &UnixDatagram, message: &str) -> String {
    let mut bytes = vec![0; 1 << 16];
    loop {
        let length = journald.recv(&mut bytes).expect("an entry in time");
        let entry = String::from_utf8_lossy(&bytes[..length]).into_owned();
        if entry.contains(&format!("MESSAGE={message}\n")) {
            return entry;
        }
    }
}

/// Asks it to end once standard error has a line with `mark`; its code and all lines.
fn ended_after(mut child: Child, mark: &str) -> (Option<i32>, String) {
    let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
    let mut text = String::new();
    while !mark.is_empty() && !text.contains(mark) {
        let read = stderr.read_line(&mut text).expect("text");
        assert!(read > 0, "it ended: {text}");
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it lives");
    stderr.read_to_string(&mut text).expect("text");
    (child.wait().expect("its status").code(), text)
}

const STREAM: &str = "JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2); export JOURNAL_STREAM;";

#[tokio::test(flavor = "multi_thread")]
async fn under_systemd_lines_are_entries_of_the_journal_with_their_fields() {
    let mut world = Configured::new(Receiver::start().await);
    world.write(&world.policy("a", "pace = 100"));
    let folder = tempfile::tempdir().expect("a directory");
    let journald = UnixDatagram::bind(folder.path().join("socket")).expect("binds");
    journald.set_read_timeout(Some(SOON)).expect("sets");
    let child = start(&mut world, folder.path(), STREAM);
    let entry = entry_with(&journald, "serving");
    for field in ["PRIORITY=6\n", "SYSLOG_IDENTIFIER=tidegate\n", "TIDEGATE_ADDRESS=127.0.0.1:"] {
        assert!(entry.contains(field), "{entry}");
    }
    let (code, text) = ended_after(child, "");
    assert_eq!((code, text.as_str()), (Some(0), ""), "nothing goes to standard error");
    assert!(entry_with(&journald, "stopped").contains("TIDEGATE_REPORT="));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_journald_lines_go_to_standard_error_and_the_daemon_works() {
    let mut world = Configured::new(Receiver::start().await);
    world.write(&format!("{}[log]\nformat = \"journald\"\n", world.policy("a", "pace = 100")));
    let nothing = tempfile::tempdir().expect("a directory");
    let child = start(&mut world, nothing.path(), "");
    let (code, text) = ended_after(child, "serving");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("<6>serving TIDEGATE_TARGET=tidegate::cli::serve TIDEGATE_ADDRESS="), "{text}");
}

/// The control: the variable names another stream than the one that standard error is.
#[tokio::test(flavor = "multi_thread")]
async fn a_standard_error_that_goes_elsewhere_gets_the_lines_itself() {
    let mut world = Configured::new(Receiver::start().await);
    world.write(&world.policy("a", "pace = 100"));
    let folder = tempfile::tempdir().expect("a directory");
    let journald = UnixDatagram::bind(folder.path().join("socket")).expect("binds");
    journald.set_nonblocking(true).expect("sets");
    let child = start(&mut world, folder.path(), "JOURNAL_STREAM=1:2; export JOURNAL_STREAM;");
    let (code, text) = ended_after(child, "serving");
    assert!(code == Some(0) && text.contains("\"message\":\"serving\""), "{text}");
    assert!(journald.recv(&mut [0; 16]).is_err(), "nothing came");
}
