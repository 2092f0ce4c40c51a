//! The accounts among the elements of the policy book: those of the configuration file and those of the route, kept
//! apart. Every change of them changes what is active with it.

pub(super) mod account;
pub(super) mod catalogue;
pub(super) mod functions;
pub(super) mod token;

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::manage::desk::{NotActive, activate};
use crate::manage::dialect::{Listed, Unreadable};
use crate::manage::responsys::objects::account::Account;
use crate::manage::responsys::{ACCOUNTS, ORIGIN, Responsys};
use crate::policy::{Book, Origin, SyncReport};

/// Where an account comes from, and so where it is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The configuration file lists it, and only a change there ends it.
    File,
    /// The route of tidegate's own made it.
    Route,
}

/// Why the accounts of the configuration file are not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FileAccountsError {
    /// An account of this name was made through the route.
    #[error(
        "account {name:?} was made through /v1/responsys/accounts; delete it there or leave it out of the file"
    )]
    Taken {
        /// The name that both accounts have.
        name: String,
    },
    /// One cannot be read, or what they allow cannot be applied.
    #[error(transparent)]
    NotActive(#[from] NotActive),
}

impl Source {
    const fn kind(self) -> &'static str {
        match self {
            Self::File => "file_account",
            Self::Route => "account",
        }
    }

    /// The word by which answers show the source.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Route => "api",
        }
    }
}

/// The origin of this dialect's policies.
pub(super) fn origin() -> Origin {
    Origin::new(ORIGIN)
}

/// Makes the accounts of the configuration file those in `list`, and no others of it, and makes what all accounts may
/// call active, also where an earlier version understood them differently. On an error nothing may be stored.
///
/// # Errors
/// [`FileAccountsError`] names the first account that cannot be had.
pub(crate) fn put_file_accounts(
    book: &mut Book,
    list: &[Account],
    now: Timestamp,
    drain_window: Duration,
) -> Result<SyncReport, FileAccountsError> {
    let kind = Source::File.kind();
    for Account { name, .. } in list {
        // Checked before anything is changed. Neither silently wins: two people believe to have set the limits.
        if book.element(&origin(), Source::Route.kind(), name).is_some() {
            return Err(FileAccountsError::Taken { name: name.clone() });
        }
    }
    let before = book.elements(&origin(), kind).into_iter().map(|(name, _)| name.to_owned());
    // The file is the whole truth about its own accounts; those of the route stay.
    let gone: Vec<String> = before.filter(|name| list.iter().all(|kept| kept.name != *name)).collect();
    for name in gone {
        book.remove_element(&origin(), kind, &name);
    }
    for account in list {
        put(book, Source::File, account);
    }
    Ok(activate(&Responsys, book, now, drain_window)?)
}

/// Checked accounts as the objects that the configuration file lists.
pub(crate) fn listed_accounts(accounts: Vec<Account>) -> Listed {
    let put = move |book: &mut Book, now, drain_window| {
        put_file_accounts(book, &accounts, now, drain_window).map_err(|error| error.to_string())
    };
    Listed { setting: ACCOUNTS, put: Box::new(put) }
}

/// All accounts, those of the file first.
pub(super) fn all(book: &Book) -> Result<Vec<(Source, Account)>, Unreadable> {
    let of = |source: Source| {
        let elements = book.elements(&origin(), source.kind()).into_iter();
        elements.map(move |(name, value)| Ok((source, read(name, value)?)))
    };
    of(Source::File).chain(of(Source::Route)).collect()
}

/// The account of this name, whatever its source; `None` where there is none.
pub(super) fn find(book: &Book, name: &str) -> Result<Option<(Source, Account)>, Unreadable> {
    // No name is in both, as `put_file_accounts` and the route see to it.
    for source in [Source::File, Source::Route] {
        if let Some(value) = book.element(&origin(), source.kind(), name) {
            return Ok(Some((source, read(name, value)?)));
        }
    }
    Ok(None)
}

/// How many accounts were made through the route.
pub(super) fn of_route(book: &Book) -> usize {
    book.elements(&origin(), Source::Route.kind()).len()
}

/// Adds an account of this source, or replaces the one of its name.
pub(super) fn put(book: &mut Book, source: Source, account: &Account) {
    // Text and numbers always make a value.
    let value = serde_json::to_value(account).unwrap_or_default();
    debug_assert!(value.is_object(), "an account that is stored can be read again");
    book.put_element(&origin(), source.kind(), &account.name, value);
}

/// Removes an account of the route; `false` when there is none.
pub(super) fn remove(book: &mut Book, name: &str) -> bool {
    book.remove_element(&origin(), Source::Route.kind(), name)
}

fn read(name: &str, value: &Value) -> Result<Account, Unreadable> {
    Account::deserialize(value).map_err(|_| Unreadable { object: format!("the stored account {name:?}") })
}
