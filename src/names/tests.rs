//! A name server of our own on loopback: what is asked, kept, joined, bounded and read again.

mod resolving;
pub(crate) mod server;
mod table;

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use server::NameServer;

use super::{NameFiles, NameOptions, Names};
use crate::clock::{Clock, Timestamp};
use crate::event::NameFailure;

/// A resolver with files of its own and a clock that stands still.
struct World {
    names: Names,
    clock: Clock,
    dir: tempfile::TempDir,
}

const START: Timestamp = Timestamp::from_millis(1_000_000);

impl World {
    /// `resolv_conf` is the text of the file; every name server has the port of `server`.
    fn new(server: &NameServer, resolv_conf: &str, change: impl FnOnce(&mut NameOptions)) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let files = NameFiles {
            resolv_conf: dir.path().join("resolv.conf"),
            hosts: dir.path().join("hosts"),
            port: server.addr.port(),
        };
        fs::write(&files.resolv_conf, resolv_conf).expect("written");
        let mut options = NameOptions { files, ..NameOptions::default() };
        change(&mut options);
        let clock = Clock::manual(START);
        Self { names: Names::new(options, clock.clone()), clock, dir }
    }

    /// With `server` as its only name server.
    fn with(server: &NameServer) -> Self {
        Self::new(server, "nameserver 127.0.0.1\n", |_| {})
    }

    /// Replaces a file as a careful program does.
    fn write(&self, name: &str, text: &str) {
        let new = self.dir.path().join("new");
        fs::write(&new, text).expect("written");
        fs::rename(new, self.dir.path().join(name)).expect("renamed");
    }

    fn wait(&self, time: Duration) {
        self.clock.advance(time);
    }

    async fn ask(&self, name: &str) -> Result<Vec<IpAddr>, NameFailure> {
        let found = self.names.addresses(name).await;
        found.map(|addresses| addresses.to_vec()).map_err(|error| error.failure)
    }
}

fn ips(addresses: &[&str]) -> Result<Vec<IpAddr>, NameFailure> {
    Ok(addresses.iter().map(|text| text.parse().expect("an address")).collect())
}
