//! tidegate's own parts for a test or a bench that runs the app in its own process: the real configuration, the
//! real store and the real delivery on loopback.

use std::path::Path;

use tidegate::testkit::clock::Clock;
use tidegate::testkit::config::{Config, File, Flag, Inputs};
use tidegate::testkit::delivery::{DeliveryOptions, EgressGuard, HttpDeliverer};
use tidegate::testkit::store::StoreError;
use tidegate::testkit::store::embedded::{EmbeddedOptions, EmbeddedStore};

/// A free port and calls to loopback, and `more` settings.
pub(crate) fn config(more: &[(&'static str, &str)]) -> Config {
    let flag = |&(setting, value): &(&'static str, &str)| Flag {
        flag: "test",
        setting,
        values: vec![value.to_owned()],
    };
    let loopback = [("listen.address", "127.0.0.1:0"), ("egress.allow", "127.0.0.0/8")];
    let flags = loopback.iter().chain(more).map(flag).collect();
    let inputs = Inputs { file: File::Absent, flags, ..Inputs::default() };
    Config::load(&inputs).expect("a sound configuration").config
}

/// The embedded store under `root`.
pub(crate) fn store(root: &Path, clock: &Clock) -> EmbeddedStore {
    try_store(root, clock).expect("a store")
}

/// The same, which fails while another one has the directory open.
pub(crate) fn try_store(root: &Path, clock: &Clock) -> Result<EmbeddedStore, StoreError> {
    let options = EmbeddedOptions { needed_bytes: 1 << 20, salt: 1, ..EmbeddedOptions::default() };
    EmbeddedStore::open(&root.join("data"), options, clock.clone())
}

/// The real delivery, as far as `config` lets it go.
pub(crate) fn deliverer(config: &Config, clock: &Clock) -> HttpDeliverer {
    let egress = EgressGuard::new(&config.egress.allow);
    HttpDeliverer::new(
        DeliveryOptions { egress, hears: tidegate::testkit::manage::hears(), ..DeliveryOptions::default() },
        clock.clone(),
    )
    .expect("a client")
}
