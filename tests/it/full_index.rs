//! The index on a disk that others fill: it waits for room as settlements do, and nothing is lost.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::world::{Api, Receiver, Server, ServerOptions, Volume, alone, eventually};

const EVENTS: u64 = 30_000;
const SOON: Duration = Duration::from_secs(90);
/// Pieces of the ballast that settlements and the index leave.
const KEPT_PIECES: u32 = 14;
/// Tens of thousands of calls, on a machine that does other things as well.
const ALL_SENT: Duration = Duration::from_secs(300);

fn options(volume: &Volume) -> ServerOptions {
    let config = volume.beside().join("tidegate.toml");
    std::fs::write(&config, "[store]\nmin_free_bytes = 4194304\nsegment_bytes = 16777216\n").expect("a file");
    let mut options = ServerOptions::new(&volume.path().join("data"));
    options.args = vec!["--config".to_owned(), config.display().to_string()];
    options
}

/// Hands in events that wait for a due time, each of which takes rows of its own.
async fn hand_in(api: &Api, url: &str) {
    for from in (0..EVENTS).step_by(5000) {
        let line = |n: u64| {
            let delay_seconds = 15 + n % 5;
            format!("{}\n", json!({"url": url, "body": {"n": n}, "delay_seconds": delay_seconds}))
        };
        let body: String = (from..from + 5000).map(line).collect();
        let (_, answer) = api.post("/v1/events", "application/x-ndjson", body).await.expect("an answer");
        assert_eq!(answer.matches("\"status\":202").count(), 5000, "{answer:.300}");
    }
}

/// Takes what becomes free as long as it is asked to.
struct Filler {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Filler {
    fn start(volume: &Arc<Volume>) -> Self {
        for kept_bytes in [16 << 20, 8 << 20, 2 << 20, 0] {
            volume.fill_but(kept_bytes);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, volume) = (Arc::clone(&stop), Arc::clone(volume));
        let fill = move || {
            while !stopped.load(Ordering::Relaxed) {
                volume.fill_but(0);
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        Self { stop, thread: Some(std::thread::spawn(fill)) }
    }

    fn free(mut self, volume: &Volume) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("runs").join().expect("no panic");
        std::fs::remove_file(volume.other()).expect("deletes");
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn refuses(api: &Api, url: &str) {
    let (head, body) = api.hand_in(&json!({"url": url, "body": {"n": 0}})).await;
    assert_eq!(head.status, 503, "{body}");
}

/// Takes away what is put aside, as if it had been used: the ballast but for what is kept for a start and for documents, and
/// the blocks behind the end of the index. Others take them at once; when the store was faster they are taken away again.
/// Nothing is due yet, so that nothing is written meanwhile.
async fn use_up_reserves(data_dir: &Path) {
    let index = File::options().write(true).open(data_dir.join("index/db")).expect("an index");
    let mut times_gone = 0;
    eventually("the reserves are used up", SOON, async || {
        for entry in std::fs::read_dir(data_dir).expect("lists").flatten() {
            let name = entry.file_name();
            let piece =
                name.to_string_lossy().strip_prefix("ballast.").and_then(|number| number.parse().ok());
            if piece.is_some_and(|number: u32| number >= KEPT_PIECES) {
                let _ = std::fs::remove_file(entry.path());
                times_gone = 0;
            }
        }
        let meta = index.metadata().expect("there");
        if meta.blocks() * 512 >= meta.len() + 65_536 {
            index.set_len(meta.len()).expect("cuts");
            times_gone = 0;
        }
        times_gone += 1;
        // Longer than the others need to take what is free.
        times_gone > 20
    })
    .await;
}

/// The index wanted more room than all reserves had.
fn waited(server: &Server) -> bool {
    server.log().iter().any(|line| line.contains("the index finds no room"))
}

async fn outlasts_a_full_disk(volume: Volume, with_restart: bool) {
    let volume = Arc::new(volume);
    let options = options(&volume);
    let receiver = Receiver::start().await;
    let mut server = Server::start(&options);
    let mut api = server.api();
    api.deploy_throttling(&receiver.url("/*"), 5000).await;
    hand_in(&api, &receiver.url("/x")).await;
    let mut filler = Filler::start(&volume);
    use_up_reserves(&options.data_dir).await;
    refuses(&api, &receiver.url("/x")).await;
    eventually("the index waits for room", SOON, async || waited(&server)).await;
    eventually("it dispatches meanwhile", SOON, async || receiver.count() > 0).await;
    if with_restart {
        server.signal("TERM");
        let status = server.ended_within(SOON).expect("it ends");
        assert_eq!(status.code(), Some(0), "{:#?}", server.log());
        // Whatever a start frees others could take before it does: they have all, and want no more meanwhile.
        drop(filler);
        volume.fill_but(0);
        server = Server::start(&options);
        api = server.api();
        filler = Filler::start(&volume);
        refuses(&api, &receiver.url("/x")).await;
        assert_eq!(api.get("/livez").await.0, 200);
    }
    filler.free(&volume);
    eventually("all are delivered", ALL_SENT, async || {
        if (receiver.count() as u64) < EVENTS {
            return false;
        }
        let seen: BTreeSet<u64> = receiver.arrivals().iter().filter_map(|arrival| arrival.number).collect();
        seen.len() as u64 == EVENTS
    })
    .await;
    eventually("all are settled", ALL_SENT, async || {
        let waiting = api.metric("tidegate_queue_events", "").await;
        waiting == 0.0 && api.get("/readyz").await.0 == 200
    })
    .await;
    let (head, body) = api.hand_in(&json!({"url": receiver.url("/x"), "body": {"n": 0}})).await;
    assert_eq!(head.status, 202, "{body}");
    assert_eq!(api.metric("tidegate_store_lost_events", "").await, 0.0);
    assert_eq!(server.stop().code(), Some(0));
    let verify = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["store", "verify", "--data-dir"])
        .arg(&options.data_dir)
        .output()
        .expect("the program");
    assert_eq!(verify.status.code(), Some(0), "{}", String::from_utf8_lossy(&verify.stdout));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_index_on_a_full_tmpfs_waits_for_room_and_goes_on() {
    let _alone = alone().await;
    outlasts_a_full_disk(Volume::tmpfs("size=96m"), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_index_on_a_full_ext4_waits_for_room_and_goes_on() {
    let _alone = alone().await;
    outlasts_a_full_disk(Volume::ext4(112 << 20, "errors=remount-ro"), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stop_and_a_start_while_the_index_waits_lose_nothing() {
    let _alone = alone().await;
    outlasts_a_full_disk(Volume::ext4(112 << 20, "errors=remount-ro"), true).await;
}
