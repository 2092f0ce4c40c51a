//! `tidegate backup` and `tidegate restore` are killed before each of their changes, some with a power cut: what is left is
//! refused, or is whole.

use std::os::unix::process::ExitStatusExt;

use serde_json::Value;

use super::*;
use crate::world::Volume;

/// Calls that change names or make changes durable; strace counts each kind apart.
const CHANGES: [&str; 5] = [
    "fsync,fdatasync",
    "rename,renameat,renameat2,link,linkat",
    "unlink,unlinkat,rmdir",
    "mkdir,mkdirat",
    "fchmod,fchown,chmod,fchmodat",
];
/// Far more than one of the two makes of a kind.
const MOST: usize = 500;

fn killed_before(n: usize, changes: &str) -> Vec<String> {
    let (trace, inject) = (format!("trace={changes}"), format!("inject={changes}:signal=KILL:when={n}"));
    let words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
    words.map(str::to_owned).to_vec()
}

/// Whether it ended by itself; everything else than that and the kill is a failure.
fn ended(output: &Output, n: usize) -> bool {
    let killed = output.status.signal() == Some(9);
    assert!(killed || output.status.success(), "change {n}: {:?} {}", output.status, said(output).1);
    !killed
}

/// The member of a sealed file.
fn number(path: &Path, member: &str) -> u64 {
    let bytes = std::fs::read(path).expect("reads");
    let body = bytes.splitn(2, |byte| *byte == b'\n').nth(1).expect("a body");
    serde_json::from_slice::<Value>(body).expect("JSON")[member].as_u64().expect("a number")
}

/// What a restore that was cut short has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    Half,
    Whole,
}

fn left(place: &Place, data: &Path) -> Left {
    if !data.exists() || names(data).iter().all(|name| name == "restoring.tmp") {
        return Left::Nothing;
    }
    let (code, text) = place.verify(data);
    if code == Some(65) && text.contains("repeat `tidegate restore`") {
        return Left::Half;
    }
    assert!(code == Some(0) && text.contains(" 10 entries, "), "{code:?} {text}");
    Left::Whole
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_is_killed_anywhere_leaves_a_refused_directory_or_a_whole_one_with_the_highest_epoch()
{
    let place = Place::new().await;
    place.with_waiting(10).await;
    assert_eq!(said(&place.run("backup", &place.backup, place.data_dir(), &[])).0, Some(0));
    let (data, epochs) = (place.data_dir().to_owned(), place.at("epoch-of-data"));
    std::fs::rename(&data, place.at("first")).expect("moves");
    let (mut halves, mut wholes, mut kills) = (0, 0, 0);
    for changes in CHANGES {
        for n in 1.. {
            assert!(n < MOST, "{changes}");
            let before = number(&epochs, "epoch");
            let wrapper = killed_before(n, changes);
            let output = place.run_in(&wrapper, "restore", &place.backup, &data, &["--accept-rollback"]);
            let (ended, left) = (ended(&output, n), left(&place, &data));
            assert!(!ended || left == Left::Whole, "{changes} {n}: {left:?}");
            kills += usize::from(!ended);
            match left {
                Left::Nothing => {}
                Left::Half => halves += 1,
                Left::Whole => {
                    wholes += 1;
                    let epoch = number(&data.join("epoch"), "epoch");
                    assert!(epoch > before, "{changes} {n}: {epoch}");
                    assert_eq!(number(&epochs, "epoch"), epoch, "{changes} {n}");
                    std::fs::remove_dir_all(&data).expect("deletes");
                }
            }
            if left == Left::Half && halves % 20 == 1 {
                let Err((Some(status), log)) = Server::start_within(&place.world.options, SOON) else {
                    panic!("{changes} {n}: it serves from a half")
                };
                assert_eq!(status.code(), Some(65), "{log:?}");
                assert!(log.join("\n").contains("repeat `tidegate restore`"), "{log:?}");
            }
            if ended {
                break;
            }
        }
    }
    assert!(kills > 50 && halves > 30 && wholes >= CHANGES.len(), "{kills} {halves} {wholes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_killed_anywhere_leaves_no_half_under_its_name() {
    let place = Place::new().await;
    place.with_waiting(10).await;
    let (to, partial) = (place.backup.clone(), place.at("backup.partial"));
    let (mut kills, mut partials) = (0, 0);
    for changes in CHANGES {
        for n in 1.. {
            assert!(n < MOST, "{changes}");
            let output = place.run_in(&killed_before(n, changes), "backup", &to, place.data_dir(), &[]);
            let ended = ended(&output, n);
            assert!(!ended || to.exists());
            kills += usize::from(!ended);
            if partial.exists() {
                partials += 1;
                if partials == 1 {
                    let (code, text) = said(&place.run("backup", &to, place.data_dir(), &[]));
                    assert!(code == Some(1) && text.contains("delete it"), "{text}");
                }
                std::fs::remove_dir_all(&partial).expect("deletes");
            }
            if to.exists() {
                let (other, words) = (place.at("other"), ["--accept-rollback"]);
                let (code, text) = said(&place.run("restore", &to, &other, &words));
                assert!(code == Some(0) && text.contains(" 10 entries, "), "{changes} {n}: {text}");
                std::fs::remove_dir_all(&other).expect("deletes");
                std::fs::remove_dir_all(&to).expect("deletes");
            }
            if ended {
                break;
            }
        }
    }
    assert!(kills > 20 && partials > 15, "{kills} {partials}");
    // The restores have taken epochs above that of the directory; its bytes are all there.
    let (_, text) = place.verify(place.data_dir());
    let found: Vec<&str> = text.lines().filter(|line| line.starts_with("found")).collect();
    assert!(found.len() == 1 && found[0].contains("older copy"), "{text}");
}

/// Whether a backup, and a directory that was restored from it, are whole after a power cut at their end.
async fn outlast_a_power_cut(wrapper: &[String]) -> [bool; 2] {
    let place = Place::new().await;
    place.with_waiting(10).await;
    let volume = Volume::ext4(256 << 20, "commit=60");
    let (to, data) = (volume.path().join("backup"), volume.path().join("deep/data"));
    let cut = || {
        volume.cut_power();
        volume.remount();
    };
    let backup = place.run_in(wrapper, "backup", &to, place.data_dir(), &[]);
    assert_eq!(said(&backup).0, Some(0), "{}", said(&backup).1);
    cut();
    let (code, text) = said(&place.run("restore", &to, &place.at("other"), &["--accept-rollback"]));
    let is_backup_whole = code == Some(0) && text.contains(" 10 entries, ");
    let _ = std::fs::remove_dir_all(&to);
    assert_eq!(said(&place.run("backup", &to, place.data_dir(), &[])).0, Some(0));
    let restore = place.run_in(wrapper, "restore", &to, &data, &["--accept-rollback"]);
    assert_eq!(said(&restore).0, Some(0), "{}", said(&restore).1);
    cut();
    let (code, text) = place.verify(&data);
    [is_backup_whole, code == Some(0) && text.contains(" 10 entries, ")]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_well_outlasts_a_power_cut() {
    assert_eq!(outlast_a_power_cut(&[]).await, [true, true]);
    let unsynced = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-e"];
    let unsynced = unsynced.into_iter().chain(["inject=fsync,fdatasync:retval=0"]).map(str::to_owned);
    let found = outlast_a_power_cut(&unsynced.collect::<Vec<_>>()).await;
    assert_eq!(found, [false, false], "the control: without syncs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_a_power_cut_ends_leaves_a_refused_directory_or_a_whole_one() {
    let place = Place::new().await;
    place.with_waiting(10).await;
    assert_eq!(said(&place.run("backup", &place.backup, place.data_dir(), &[])).0, Some(0));
    let volume = Volume::ext4(256 << 20, "commit=60");
    let (data, epochs) = (volume.path().join("data"), place.at("epoch-of-data"));
    let (mut halves, mut wholes) = (0, 0);
    for n in (1..MOST).step_by(4) {
        let before = number(&epochs, "epoch");
        let wrapper = killed_before(n, CHANGES[0]);
        let output = place.run_in(&wrapper, "restore", &place.backup, &data, &["--accept-rollback"]);
        volume.cut_power();
        volume.remount();
        match left(&place, &data) {
            Left::Nothing => assert!(n < 8, "sync {n}: the mark is durable by now"),
            Left::Half => halves += 1,
            Left::Whole => {
                wholes += 1;
                assert!(number(&data.join("epoch"), "epoch") > before, "sync {n}");
            }
        }
        if ended(&output, n) {
            break;
        }
    }
    assert!(halves > 5 && wholes == 1, "{halves} {wholes}");
}
