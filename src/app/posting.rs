//! Posts how events ended to the operator's URL, in order and at least once, one call at a time at a pace of its own. What
//! is posted is read from the log of ends: a receiver that is slow or dead keeps nothing in memory and no event waiting, and
//! the posts are no events, so that nothing is posted about them.
//!
//! Must not know: how ends are kept, how calls are signed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::Timestamp;
use crate::config::OutcomePosts;
use crate::delivery::{Call, Deliver};
use crate::dispatch::EndpointsInForce;
use crate::event::{CanonicalUrl, EventId, Outcome, digest128};
use crate::ops::OutcomeLine;
use crate::store::{DocumentStore, EndLog, EndPlace, EndRecord, EndsRead, Expect, StoreError, Version};
use crate::telemetry::OutcomesPosted;

/// The document that says how far the posts are.
const DOCUMENT: &str = "outcomes-posted";
/// Between two tries of one post: doubled each time.
const MIN_WAIT: Duration = Duration::from_secs(1);
const MAX_WAIT: Duration = Duration::from_secs(60);
/// The place is kept at the latest after this many posts: after a crash so many are repeated at most.
const POSTS_PER_KEEP: u32 = 10;

/// What the posts need.
pub(super) struct PostingParts {
    pub(super) ends: Arc<dyn EndLog>,
    pub(super) documents: Arc<dyn DocumentStore>,
    pub(super) deliver: Arc<dyn Deliver>,
    pub(super) endpoints: EndpointsInForce,
    pub(super) options: OutcomePosts,
}

/// Posts until it is told to end.
pub(super) struct Posting {
    parts: PostingParts,
    url: CanonicalUrl,
    /// Behind what was posted.
    place: EndPlace,
    kept: KeptPlace,
    /// Ends before this time were not posted: they were kept no longer.
    missed_before: Option<Timestamp>,
    is_failing: bool,
}

/// The place as the document has it.
#[derive(Default)]
struct KeptPlace {
    version: Option<Version>,
    posts_since: u32,
}

#[derive(Serialize, Deserialize)]
struct PlaceDocument {
    log: u64,
    number: u64,
}

impl Posting {
    /// `None` where nothing is to be posted. What ended before the first start with a URL is not posted.
    ///
    /// # Errors
    /// [`StoreError`] when the place cannot be read.
    pub(super) async fn open(parts: PostingParts) -> Result<Option<Self>, StoreError> {
        let Some(url) = parts.options.url.clone() else { return Ok(None) };
        let mut kept = KeptPlace::default();
        let mut place = parts.ends.kept().next;
        match parts.documents.get(DOCUMENT).await {
            Ok(Some((version, body))) => {
                kept.version = Some(version);
                match serde_json::from_slice::<PlaceDocument>(&body) {
                    Ok(PlaceDocument { log, number }) => place = EndPlace { log, number },
                    // Of a newer version: everything that is kept is posted once more.
                    Err(_) => place = parts.ends.kept().first,
                }
            }
            Ok(None) => {}
            // The store keeps what is damaged, and says so; repeating is better than leaving out.
            Err(StoreError::Damaged { .. }) => place = parts.ends.kept().first,
            Err(error) => return Err(error),
        }
        // At once: what ends from now on is to be posted, whatever happens before the first post.
        kept.posts_since = POSTS_PER_KEEP;
        Ok(Some(Self { parts, url, place, kept, missed_before: None, is_failing: false }))
    }

    /// Posts each end once it is on record, until `ended`; a failed post is repeated.
    pub(super) async fn run(mut self, ended: CancellationToken) {
        let mut turns = tokio::time::interval(self.parts.options.every());
        // Late ones must not be made up for by a burst.
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ended.run_until_cancelled(self.post_all(&mut turns)).await;
        self.keep().await;
    }

    async fn post_all(&mut self, turns: &mut Interval) {
        self.keep().await;
        loop {
            // Before the look: an end in between is not missed.
            let mut grown = self.parts.ends.grown();
            match self.parts.ends.read(Some(self.place), self.parts.options.batch).await {
                Ok(EndsRead::Page(page)) if page.ends.is_empty() && page.next == self.place => {
                    if self.kept.posts_since > 0 {
                        self.keep().await;
                    }
                    // It ends only with the store.
                    if grown.changed().await.is_err() {
                        return;
                    }
                }
                Ok(EndsRead::Page(page)) => {
                    if !page.ends.is_empty() {
                        self.post(&page.ends, page.next, turns).await;
                    }
                    self.place = page.next;
                    self.kept.posts_since += 1;
                    if self.kept.posts_since >= POSTS_PER_KEEP {
                        self.keep().await;
                    }
                }
                Ok(EndsRead::Gone) => {
                    let kept = self.parts.ends.kept();
                    warn!(known_since = ?kept.known_since, "ends that were not posted are kept no longer");
                    let is_the_same = self.place == kept.first;
                    (self.place, self.missed_before) = (kept.first, kept.known_since);
                    // It may not be read from yet, and asking again at once says the same.
                    if is_the_same {
                        tokio::time::sleep(MAX_WAIT).await;
                    }
                }
                Err(error) => {
                    warn!(%error, "ends cannot be read to be posted; it is tried again");
                    tokio::time::sleep(MAX_WAIT).await;
                }
            }
        }
    }

    /// Posts some ends until they are taken.
    async fn post(&mut self, ends: &[(EndPlace, EndRecord)], next: EndPlace, turns: &mut Interval) {
        let lines: Vec<OutcomeLine> =
            ends.iter().map(|(behind, end)| OutcomeLine::of(*behind, end)).collect();
        let newest = ends.last().map_or(Timestamp::ZERO, |(_, end)| end.ended_at);
        let mut data = json!({ "outcomes": lines });
        if let (Some(data), Some(missed)) = (data.as_object_mut(), self.missed_before) {
            data.insert("missed_before".to_owned(), missed.to_string().into());
        }
        let body = json!({ "type": "tidegate.outcomes", "timestamp": newest.to_string(), "data": data });
        let body = Bytes::from(body.to_string());
        let name = name(self.place, next, newest);
        let mut wait = MIN_WAIT;
        for attempt in (1..=u16::MAX).chain(std::iter::repeat(u16::MAX)) {
            turns.tick().await;
            let outcome = self.parts.deliver.attempt(self.call(name, attempt, body.clone())).await;
            let is_taken = matches!(outcome.end(), Outcome::Delivered { .. });
            OutcomesPosted { result: if is_taken { "delivered" } else { "failed" } }.emit();
            self.note(&outcome, is_taken);
            if is_taken {
                self.missed_before = None;
                return;
            }
            tokio::time::sleep(outcome.asked().unwrap_or_default().clamp(wait, MAX_WAIT.max(wait))).await;
            wait = (wait * 2).min(MAX_WAIT);
        }
    }

    fn call(&self, name: EventId, attempt: u16, body: Bytes) -> Call {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // Looked up for each call: the secrets may have been exchanged since.
        let endpoints = self.parts.endpoints.load();
        let options = endpoints.find(&self.url).map(|endpoint| Arc::clone(&endpoint.calls));
        let url = self.url.clone();
        Call { id: name, name, attempt, method: Method::POST, url, headers, body, timeout: None, options }
    }

    /// One line for each run of failures.
    fn note(&mut self, outcome: &Outcome, is_taken: bool) {
        let was_failing = std::mem::replace(&mut self.is_failing, !is_taken);
        match outcome.cause() {
            Some(cause) if !was_failing && !is_taken => {
                warn!(%cause, "outcomes cannot be posted; they wait in the log of ends and are tried again");
            }
            _ if was_failing && is_taken => info!("outcomes are posted again"),
            _ => {}
        }
    }

    /// Keeps the place, durably. What fails is made up for by a later one: posts are repeated then.
    async fn keep(&mut self) {
        let EndPlace { log, number } = self.place;
        // Two numbers always serialise.
        let body = Bytes::from(serde_json::to_vec(&PlaceDocument { log, number }).unwrap_or_default());
        let expect = self.kept.version.map_or(Expect::Absent, Expect::At);
        match self.parts.documents.put(DOCUMENT, expect, body).await {
            Ok(version) => self.kept = KeptPlace { version: Some(version), posts_since: 0 },
            // A put whose answer was lost may have been made.
            Err(StoreError::VersionConflict { found }) => self.kept.version = found,
            Err(error) => tracing::debug!(%error, "how far outcomes are posted is not kept"),
        }
    }
}

/// The id of a post, the same for each repetition of the same ends and of no others.
fn name(from: EndPlace, next: EndPlace, newest: Timestamp) -> EventId {
    let numbers = [from.log, from.number, next.number].map(u64::to_be_bytes).concat();
    let tail = digest128(&numbers) & ((1 << EventId::TAIL_BITS) - 1);
    EventId::new(newest.as_millis(), tail)
}

#[cfg(test)]
mod tests;
