//! Configs to policies (contract.md 4): each is one, of the same name, active while the config is deployed.

use crate::event::PolicyId;
use crate::manage::adobe::life::Active;
use crate::manage::adobe::objects::all;
use crate::manage::dialect::{Derived, Unreadable};
use crate::manage::throttling::ThrottlingApi;
use crate::manage::throttling::check::{ANY_THROUGHPUT, check};
use crate::manage::throttling::objects::Record;
use crate::policy::{Book, Wanted};

/// The policies of all configs, oldest config first. What a config that cannot be read makes active stays as it is.
pub(super) fn derive(book: &Book) -> Result<Derived, Unreadable> {
    let policy = |(uid, record): (&str, Result<Record, Unreadable>)| {
        let id = PolicyId::parse(uid)
            .map_err(|_| Unreadable { object: format!("the stored throttling config {uid:?}") })?;
        // Left as it is and not refused as a whole: one config that cannot be read must not keep others from changing.
        Ok((id, record.as_ref().map_or(Wanted::AsItIs, wanted)))
    };
    all::<ThrottlingApi>(book).into_iter().map(policy).collect()
}

/// What is deployed was checked when it was; the range that new configs keep to does not matter to it.
fn wanted(record: &Record) -> Wanted {
    match record.life.active() {
        Active::Nothing => Wanted::Idle,
        Active::As(config) => {
            // A rule that became stricter since must not make unlimited what is deployed.
            check(config, &record.org_id, ANY_THROUGHPUT).map_or(Wanted::AsItIs, Wanted::from)
        }
        Active::Unknown => Wanted::AsItIs,
    }
}
