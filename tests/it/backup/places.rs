//! Where backups go and directories are restored: names, links, mount points, other users, no room.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::process::{Child, Stdio};

use serde_json::Value;

use super::*;
use crate::world::Volume;

const NOBODY: u32 = 65_534;

/// File systems that only this test sees. They go away with their only process.
struct Mounts(Child);

impl Mounts {
    /// One in memory at `path`.
    fn tmpfs_at(path: &Path) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c"]);
        command.arg("mount -t tmpfs -o size=1g tmpfs \"$0\" && echo ready && exec cat").arg(path);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("unshare (util-linux)");
        let mut line = String::new();
        let output = child.stdout.take().expect("its output");
        BufReader::new(output).read_line(&mut line).expect("a line");
        assert_eq!(line, "ready\n", "mounts of one's own need root");
        Self(child)
    }

    /// What to put before a program that is to see them.
    fn wrapper(&self) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--mount=/proc/{}/ns/mnt", self.0.id()), "--".to_owned()]
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Moves the data directory away and makes an empty one.
fn make_room(place: &Place) {
    fs::rename(place.data_dir(), place.at("first")).expect("moves");
    fs::create_dir(place.data_dir()).expect("makes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_point_is_restored_in_place() {
    let place = Place::new().await;
    place.with_waiting(10).await;
    assert_eq!(said(&place.run("backup", &place.backup, place.data_dir(), &[])).0, Some(0));
    make_room(&place);
    let mounts = Mounts::tmpfs_at(place.data_dir());
    let restored = place.run_in(&mounts.wrapper(), "restore", &place.backup, place.data_dir(), &[]);
    let (code, text) = said(&restored);
    assert!(code == Some(0) && text.contains("restored to"), "{text}");
    assert_eq!(names(place.data_dir()).len(), 0, "the control: it went to the other file system");
    let mut options = place.world.options.clone();
    options.wrapper = mounts.wrapper();
    let server = Server::start(&options);
    assert_eq!(server.api().get("/readyz").await.0, 200, "{:#?}", server.log());
    assert_eq!(waiting(&server.api()).await, 10);
    assert_eq!(server.stop().code(), Some(0));
}

/// As systemd lays out the directory of a service with a user of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_behind_a_link_is_restored_there_also_when_it_was_moved_away() {
    let mut place = Place::new().await;
    fs::create_dir(place.at("private")).expect("makes");
    symlink("private/tidegate", place.at("tidegate")).expect("links");
    fs::create_dir(place.at("private/tidegate")).expect("makes");
    place.world.options.data_dir = place.at("tidegate");
    place.with_waiting(10).await;
    assert_eq!(said(&place.run("backup", &place.backup, place.data_dir(), &[])).0, Some(0));
    for (way, is_dangling) in [("dangling", true), ("empty", false)] {
        fs::rename(place.at("private/tidegate"), place.at(way)).expect("moves");
        if !is_dangling {
            fs::create_dir(place.at("private/tidegate")).expect("makes");
        }
        let (code, text) = place.restore(&["--accept-rollback"]);
        assert!(code == Some(0) && text.contains("restored to"), "{way}: {text}");
        assert!(place.data_dir().is_symlink() && place.at("private/tidegate/FORMAT").exists(), "{way}");
        let server = Server::start(&place.world.options);
        assert_eq!(waiting(&server.api()).await, 10, "{way}");
        assert_eq!(server.stop().code(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_root_restores_can_be_used_by_the_user_of_the_daemon() {
    let mut place = Place::new().await;
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("sets");
    let give = |path: &Path| chown(path, Some(NOBODY), Some(NOBODY)).expect("this test runs as root");
    open(place.world.file.parent().expect("a parent"), 0o755);
    let epochs = place.at("epochs");
    fs::create_dir(&epochs).expect("makes");
    give(&epochs);
    let file = format!("epoch_file = \"{}\"\n", epochs.join("epoch").display());
    let text = format!("[store]\n{file}{}", place.world.policy("a", "pace = 200"));
    place.world.write(&text);
    open(&place.world.file, 0o644);
    fs::create_dir(place.data_dir()).expect("makes");
    give(place.data_dir());
    let user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"].map(str::to_owned);
    place.world.options.wrapper = user.to_vec();
    place.with_waiting(10).await;
    assert_eq!(said(&place.run("backup", &place.backup, place.data_dir(), &[])).0, Some(0));

    make_room(&place);
    give(place.data_dir());
    let (code, text) = place.restore(&["--json"]);
    assert_eq!(code, Some(0), "{text}");
    let answer: Value = serde_json::from_str(&text).expect("JSON on one line");
    assert_eq!(answer["owner_uid"], NOBODY, "{answer}");
    assert_eq!((&answer["may_lack"], &answer["events"]), (&false.into(), &10.into()), "{answer}");
    let of = |path: &Path| fs::metadata(path).expect("there").uid();
    assert_eq!((of(&epochs.join("epoch")), of(&place.data_dir().join("FORMAT"))), (NOBODY, NOBODY));
    let server = Server::start(&place.world.options);
    assert_eq!(server.api().get("/readyz").await.0, 200, "{:#?}", server.log());
    assert_eq!(server.stop().code(), Some(0));

    // The control: one file of another user.
    chown(place.data_dir().join("SALT"), Some(0), None).expect("this test runs as root");
    let Err((Some(status), log)) = Server::start_within(&place.world.options, SOON) else {
        panic!("started")
    };
    assert_eq!(status.code(), Some(77), "{log:?}");
    // Nor may that user restore what is another's.
    fs::rename(place.data_dir(), place.at("second")).expect("moves");
    fs::create_dir(place.data_dir()).expect("makes");
    let given = Command::new("chown").args(["-R", "65534"]).arg(&place.backup).status();
    assert!(given.expect("chown").success());
    let output = place.run_in(&user, "restore", &place.backup, place.data_dir(), &["--accept-rollback"]);
    let (code, text) = said(&output);
    assert!(code == Some(77) && text.contains("it belongs to user 0"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_backups() {
    let place = Place::new().await;
    place.with_waiting(1).await;
    let run = |name: &str| said(&place.run("backup", Path::new(name), place.data_dir(), &[]));
    for name in ["bare", "./dot", "slash/", "data/../beside"] {
        let (code, text) = run(name);
        assert_eq!(code, Some(0), "{name}: {text}");
        assert!(place.at(name).join("data/FORMAT").exists(), "{name}");
        let (code, text) = run(name);
        assert!(code == Some(1) && text.contains("is there"), "{name}: {text}");
    }
    fs::create_dir(place.at("taken.partial")).expect("makes");
    fs::write(place.at("taken.partial/letter"), "kept").expect("writes");
    fs::write(place.at("file.partial"), "kept").expect("writes");
    fs::write(place.at("file"), "kept").expect("writes");
    symlink("nowhere", place.at("dangling")).expect("links");
    for (name, code, words) in [
        ("taken", 1, "taken.partial is there"),
        ("file", 1, "file is there"),
        ("dangling", 1, "dangling is there"),
        ("-", 2, "no stream"),
        ("data/inside", 1, "lies in the data directory"),
        ("data", 1, "is there"),
        ("no/such/place", 74, "make it first"),
        ("..", 1, "is there"),
        ("none/..", 1, "names no new directory"),
    ] {
        let (ended, text) = run(name);
        assert!(ended == Some(code) && text.contains(words), "{name}: {ended:?} {text}");
    }
    assert_eq!(fs::read_to_string(place.at("taken.partial/letter")).expect("there"), "kept");
    assert_eq!(fs::read_to_string(place.at("file.partial")).expect("there"), "kept");
    assert!(!place.data_dir().join("inside.partial").exists());
    // Bare names of a directory, of a backup and of the file of the epoch.
    let text = format!("[store]\nepoch_file = \"bare-epoch\"\n{}", place.world.policy("a", "pace = 200"));
    place.world.write(&text);
    for _ in 0..2 {
        let words = ["--accept-rollback"];
        let (code, text) = said(&place.run("restore", Path::new("bare"), Path::new("bare-data"), &words));
        assert_eq!(code, Some(0), "{text}");
        let mut options = place.world.options.clone();
        options.data_dir = place.at("bare-data");
        assert_eq!(Server::start(&options).stop().code(), Some(0));
        assert!(place.at("bare-epoch").exists(), "the first start makes it");
        fs::remove_dir_all(place.at("bare-data")).expect("deletes");
    }
    let inside = place.at("bare/data/new");
    let (code, text) = said(&place.run("restore", &place.at("bare"), &inside, &["--accept-rollback"]));
    assert!(code == Some(1) && text.contains("lies in the backup"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_or_on_a_read_only_file_system_nothing_is_left() {
    let place = Place::new().await;
    place.with_waiting(200).await;
    assert_eq!(said(&place.run("backup", &place.backup, place.data_dir(), &[])).0, Some(0));
    let small = Volume::tmpfs("size=48k");
    let (code, text) = said(&place.run("backup", &small.path().join("x"), place.data_dir(), &[]));
    assert!(
        code == Some(74) && text.contains("no room") && text.contains("another place"),
        "{code:?} {text}"
    );
    assert_eq!(names(&small.path()).len(), 0);
    let (code, text) = said(&place.run("restore", &place.backup, &small.path(), &["--accept-rollback"]));
    assert!(code == Some(74) && text.contains("no room") && text.contains("is not restored"), "{text}");
    assert_eq!(names(&small.path()).len(), 0);
    assert_eq!(place.verify(place.data_dir()).0, Some(0), "the first one is the newest still");
    let fixed = Volume::tmpfs("ro");
    let (code, text) = said(&place.run("backup", &fixed.path().join("x"), place.data_dir(), &[]));
    assert!(code == Some(77) && text.contains("Read-only") && text.contains("another place"), "{text}");
    let (code, text) = said(&place.run("restore", &place.backup, &fixed.path(), &["--accept-rollback"]));
    assert!(code == Some(77) && text.contains("Read-only"), "{text}");
}
