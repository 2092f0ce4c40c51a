//! Clients whose connections are given up at an age, so that a name that leads elsewhere by now is noticed although the
//! connections to where it led before would be used on and on.
//!
//! The pool of a client does not know the age of a connection: the client as a whole is replaced, and its idle connections
//! close with the last call that it makes.
//!
//! Must not know: which endpoints have such an age, how a client is made.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::client::HttpClient;
use crate::clock::Timestamp;

/// The clients in use by the age of their connections; all were made under one guard.
#[derive(Default)]
pub(super) struct AgedClients {
    by_age: BTreeMap<Duration, Aged>,
}

#[derive(Clone)]
struct Aged {
    client: HttpClient,
    made_at: Timestamp,
}

impl AgedClients {
    /// The client for connections of at most this age; `None` until the first one is made.
    pub(super) fn get(&self, age: Duration) -> Option<&HttpClient> {
        self.by_age.get(&age).map(|aged| &aged.client)
    }

    /// For which of these ages a new client is to be made at `now`.
    pub(super) fn missing(&self, ages: &BTreeSet<Duration>, now: Timestamp) -> Vec<Duration> {
        let is_young =
            |age: &&Duration| self.by_age.get(age).is_some_and(|aged| now.since(aged.made_at) < **age);
        ages.iter().filter(|age| !is_young(age)).copied().collect()
    }

    /// The same with these clients, made at `now`, and without those of other ages than `ages`.
    pub(super) fn with(
        &self,
        made: impl IntoIterator<Item = (Duration, HttpClient)>,
        ages: &BTreeSet<Duration>,
        now: Timestamp,
    ) -> Self {
        let kept = self.by_age.iter().filter(|(age, _)| ages.contains(age));
        let mut by_age: BTreeMap<Duration, Aged> = kept.map(|(age, aged)| (*age, aged.clone())).collect();
        by_age.extend(made.into_iter().map(|(age, client)| (age, Aged { client, made_at: now })));
        Self { by_age }
    }
}
