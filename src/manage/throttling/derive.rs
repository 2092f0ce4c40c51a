//! Configs to policies (contract.md 4): each is one, active while the config is deployed.

use crate::manage::adobe::life::Active;
use crate::manage::adobe::policies;
use crate::manage::dialect::{Derived, Unreadable};
use crate::manage::throttling::ThrottlingApi;
use crate::manage::throttling::check::{ANY_THROUGHPUT, check};
use crate::manage::throttling::objects::Record;
use crate::policy::{Book, Wanted};

/// The policies of all configs, oldest config first. What a config that cannot be read makes active stays as it is.
pub(super) fn derive(book: &Book) -> Result<Derived, Unreadable> {
    policies::derive::<ThrottlingApi>(book)
}

/// What is deployed was checked when it was; the range that new configs keep to does not matter to it.
pub(super) fn wanted(record: &Record) -> Wanted {
    match record.life.active() {
        Active::Nothing => Wanted::Idle,
        Active::As(config) => {
            // A rule that became stricter since must not make unlimited what is deployed.
            check(config, &record.org_id, ANY_THROUGHPUT).map_or(Wanted::AsItIs, Wanted::from)
        }
        Active::Unknown => Wanted::AsItIs,
    }
}
