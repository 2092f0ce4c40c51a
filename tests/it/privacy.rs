//! What the running program lets others see, and what it does with a directory that others have been in.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::world::{Receiver, Server, ServerOptions, eventually};

fn modes(dir: &Path, found: &mut Vec<(String, u32)>) {
    for entry in fs::read_dir(dir).expect("lists").flatten() {
        let meta = fs::symlink_metadata(entry.path()).expect("there");
        found.push((entry.path().display().to_string(), meta.mode() & 0o777));
        if meta.is_dir() {
            modes(&entry.path(), found);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_core_dump_is_written_and_all_files_are_private() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = ServerOptions::new(&dir.path().join("data"));
    let server = Server::start(&options);
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid())).expect("reads");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a line");
    assert_eq!(core.split_whitespace().filter(|word| *word == "0").count(), 2, "{core}");
    let own = fs::read_to_string("/proc/self/limits").expect("reads");
    assert!(own.lines().any(|line| line.starts_with("Max core file size")), "the control: it is listed");
    assert_eq!(server.stop().code(), Some(0));
    let mut found = Vec::new();
    modes(&options.data_dir, &mut found);
    let open: Vec<_> = found.iter().filter(|(_, mode)| mode & 0o077 != 0).collect();
    assert!(open.is_empty() && found.len() > 10, "{open:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn links_strays_and_open_modes_are_reported_and_nothing_waiting_is_lost() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = ServerOptions::new(&dir.path().join("data"));
    let receiver = Receiver::start().await;
    let server = Server::start(&options);
    let api = server.api();
    api.deploy_throttling(&receiver.url("/*"), 200).await;
    let accepted = api.enqueue(&receiver.url("/x"), 0..300).await;
    assert_eq!(accepted.len(), 300);
    server.kill();
    let root = &options.data_dir;
    fs::write(root.join("letter.txt"), "dear").expect("writes");
    let segment = root.join("journal/0000000001.seg");
    fs::set_permissions(&segment, fs::Permissions::from_mode(0o644)).expect("sets");
    let secret = dir.path().join("secret");
    fs::write(&secret, "kept").expect("writes");
    fs::remove_file(root.join("LOCK")).expect("deletes");
    symlink(&secret, root.join("LOCK")).expect("links");
    let pipe = Command::new("mkfifo").arg(root.join("account.b.tmp")).status().expect("mkfifo");
    assert!(pipe.success());

    let server = Server::start(&options);
    let log = server.log().join("\n");
    for told in ["letter.txt", "aside/LOCK-1", "aside/account.b.tmp-1", "open to other users"] {
        assert!(log.contains(told), "{told}: {log}");
    }
    eventually("all arrive", Duration::from_secs(30), async || receiver.times_seen().len() == 300).await;
    assert_eq!(fs::read_to_string(&secret).expect("there"), "kept");
    assert_eq!(fs::metadata(&segment).map_or(0o600, |meta| meta.mode() & 0o777), 0o600);
    assert_eq!(server.stop().code(), Some(0));
    let mut verify = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    verify.args(["store", "verify", "--data-dir"]).arg(root).current_dir(dir.path());
    let output = verify.output().expect("the program");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("letter.txt"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_another_user_is_refused_with_77() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = ServerOptions::new(&dir.path().join("data"));
    assert_eq!(Server::start(&options).stop().code(), Some(0));
    let chown = |owner: u32| {
        std::os::unix::fs::chown(options.data_dir.join("documents"), Some(owner), None)
            .expect("this test runs as root");
    };
    chown(65534);
    let output = crate::world::server::command(&options).output().expect("the program");
    assert_eq!(output.status.code(), Some(77), "{}", String::from_utf8_lossy(&output.stderr));
    chown(0);
    assert_eq!(Server::start(&options).stop().code(), Some(0), "the control");
}
