//! Disks without room: what is refused is not kept, what is settled is not lost, and the store goes on by itself.

use std::sync::atomic::AtomicBool;

use super::*;

/// Writes fail half-way for lack of room while it is full.
#[derive(Clone, Default)]
struct Gate {
    is_full: Arc<AtomicBool>,
    writes: Arc<AtomicUsize>,
}

impl Gate {
    fn fill(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::SeqCst);
    }

    fn writes(&self) -> usize {
        self.writes.load(Ordering::SeqCst)
    }
}

impl Disk for Gate {
    fn write_at(&mut self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        if self.is_full.load(Ordering::SeqCst) {
            OsDisk.write_at(file, &bytes[..bytes.len() / 2], offset)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        OsDisk.write_at(file, bytes, offset)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        OsDisk.sync(file)
    }
}

fn delivered(entry: &StoredEntry) -> SettleRequest {
    SettleRequest {
        why: None,
        lane: lane("a"),
        id: entry.id,
        due_at: None,
        settlement: Settlement::Delivered,
    }
}

#[test]
fn settlements_without_room_wait_for_it_while_appends_are_refused_and_the_store_goes_on_by_itself() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (runtime, gate, clock) = (runtime(), Gate::default(), clock());
    let disks = journal_on(gate.clone());
    let store = EmbeddedStore::open_on(dir.path(), options(), clock.clone(), disks).expect("opens");
    runtime.block_on(store.append(vec![plain("a", "1"), plain("a", "2")])).expect("appends");
    let entries = runtime.block_on(store.read_ready(&lane("a"), None, ALL)).expect("reads");

    gate.fill(true);
    let before = gate.writes();
    let settled = store.settle(store.owner(), vec![delivered(&entries[0])]);
    let laid = ballast::pieces(dir.path());
    let taken = laid.checked_sub(ballast::FOR_DOCUMENTS).expect("more than a start needs");
    assert!(taken > 0);
    let both = async {
        let refused = async {
            // The settlement comes first and finds no room, after all the ballast.
            while gate.writes() <= before {
                tokio::task::yield_now().await;
            }
            store.append(vec![plain("a", "3")]).await
        };
        let (settled, refused) = tokio::join!(settled, async {
            let refused = refused.await;
            let health = store.health();
            assert!(gate.writes() - before > usize::try_from(taken).expect("few"), "the ballast was tried");
            gate.fill(false);
            // Until now it was not tried again: the clock stands still.
            clock.advance(Duration::from_secs(1));
            (refused, health)
        });
        (settled, refused.0, refused.1)
    };
    let (settled, refused, health) = runtime.block_on(both);
    assert!(refused.as_ref().is_err_and(StoreError::is_full), "{refused:?}");
    assert_eq!(health.poisoned, None);
    settled.expect("settled once there was room");
    runtime.block_on(store.append(vec![plain("a", "4")])).expect("accepts again");
    drop(store);
    let found = runtime.block_on(contents(&open(dir.path()), &["a"])).remove(0).0;
    assert_eq!(found, ["2", "4"], "what was refused is not kept, what was settled stays so");
}
