//! `GET /v1/policies` and `GET /v1/policies/{id}`: what is deployed, drains or is authored, with live figures.
//!
//! Must not know: how limits count.

use std::collections::HashSet;

use http::{Uri, header};

use crate::clock::{Clock, Timestamp};
use crate::dispatch::DispatchHandle;
use crate::event::PolicyId;
use crate::ops::desk::{Desk, OpsAnswer, json, no_policy, policy_id, shutting_down};
use crate::ops::figures::{LiveFigures, drains_in};
use crate::ops::precondition::etag;
use crate::ops::query::{Parameters, cursor_after, invalid};
use crate::ops::wire::{KeyBody, List, PolicyBody};
use crate::policy::{Policies, Policy, Scope};
use crate::problem::Problem;
use crate::telemetry::defect;

/// Shows policies of the book with their live figures.
pub(super) struct PolicyViews<'d> {
    policies: &'d Policies,
    dispatch: &'d DispatchHandle,
    clock: &'d Clock,
    figures: LiveFigures<'d>,
}

impl<'d> From<&'d Desk> for PolicyViews<'d> {
    fn from(desk: &'d Desk) -> Self {
        Self {
            policies: &desk.policies,
            dispatch: &desk.dispatch,
            clock: &desk.clock,
            figures: LiveFigures::from(desk),
        }
    }
}

impl PolicyViews<'_> {
    pub(super) async fn list(&self, uri: &Uri) -> OpsAnswer {
        let parameters = Parameters::read(uri, &["limit", "cursor"], &[])?;
        let limit = parameters.page("limit")?;
        let after = match parameters.cursor("cursor")? {
            Some(last) => {
                let rule = "must be a cursor as an answer or its Link header gave it".to_owned();
                Some(PolicyId::parse(&last).map_err(|_| invalid("cursor", rule))?)
            }
            None => None,
        };
        let book = self.policies.book();
        // One more than the page has: whether there is a next page.
        let mut page: Vec<_> = book.after(after.as_ref()).take(limit + 1).collect();
        defect!(unless page.is_sorted_by(|(a, _), (b, _)| a < b), "policies out of order, which cursors rely on");
        let more = page.len() > limit;
        page.truncate(limit);
        let scopes = page.iter().filter_map(|(id, policy)| scope(id, policy)).collect();
        let waits = self.figures.waits(scopes, None).await?;
        let going_on = self.dispatch.figures().await.ok_or_else(shutting_down)?;
        let now = self.clock.now();
        let mut policies = Vec::with_capacity(page.len());
        for (id, policy) in &page {
            let paused = is_paused(policy, now);
            let figures = self.figures.of(id, &waits, &going_on, paused).await.ok_or_else(shutting_down)?;
            policies.push(PolicyBody::of(id, policy, now).with(figures));
        }
        let last = page.last().filter(|_| more);
        let next_cursor = last.map(|(id, _)| cursor_after(id.as_str()));
        let next = next_cursor.as_ref().map(|cursor| format!("/v1/policies?limit={limit}&cursor={cursor}"));
        Ok(json(&List { policies, next_cursor }, next))
    }

    pub(super) async fn show(&self, id: &str, uri: &Uri) -> OpsAnswer {
        let id = policy_id(id)?;
        let parameters = Parameters::read(uri, &["keys_limit", "keys_cursor"], &[])?;
        let limit = parameters.page("keys_limit")?;
        let after = parameters.cursor("keys_cursor")?;
        let book = self.policies.book();
        let policy = book.known(&id).ok_or_else(|| no_policy(id.as_str()))?;
        let first_page = after.is_none();
        // One more than the page has: whether there is a next page.
        let found = self.dispatch.limiters_of(&id, after, limit + 1).await;
        let mut page = found.ok_or_else(shutting_down)?;
        defect!(unless page.is_sorted_by(|a, b| a.key < b.key), "keys out of order, which cursors rely on");
        let more = page.len() > limit;
        page.truncate(limit);
        let scopes = scope(&id, policy).into_iter().collect();
        let shown: HashSet<Box<str>> = page.iter().map(|limiter| limiter.key.clone()).collect();
        // What is counted over all keys stands on the first page.
        let waits = self.figures.waits(scopes, (!first_page).then_some(shown)).await?;
        let now = self.clock.now();
        let paused = is_paused(policy, now);
        let mut body = PolicyBody::of(&id, policy, now);
        if first_page {
            let going_on = self.dispatch.figures().await.ok_or_else(shutting_down)?;
            let figures = self.figures.of(&id, &waits, &going_on, paused).await;
            body = body.with(figures.ok_or_else(shutting_down)?);
        }
        let keys = page.iter().map(|limiter| {
            let wait = waits.of(&id, &limiter.key);
            KeyBody::of(limiter, &wait, drains_in(limiter, &wait, paused, now))
        });
        body.keys = Some(keys.collect());
        body.next_keys_cursor = page.last().filter(|_| more).map(|last| cursor_after(&last.key));
        let next = body
            .next_keys_cursor
            .as_ref()
            .map(|cursor| format!("/v1/policies/{id}?keys_limit={limit}&keys_cursor={cursor}"));
        let mut response = json(&body, next);
        if let Some(etag) = policy.edition().as_deref().and_then(etag) {
            response.headers_mut().insert(header::ETAG, etag);
        }
        Ok(response)
    }

    /// A policy with its figures and without its keys.
    pub(super) async fn state_of(&self, id: &PolicyId) -> Result<PolicyBody, Box<Problem>> {
        let book = self.policies.book();
        let policy = book.known(id).ok_or_else(|| no_policy(id.as_str()))?;
        let scopes = scope(id, policy).into_iter().collect();
        let waits = self.figures.waits(scopes, None).await?;
        let going_on = self.dispatch.figures().await.ok_or_else(shutting_down)?;
        let now = self.clock.now();
        let figures = self.figures.of(id, &waits, &going_on, is_paused(policy, now)).await;
        Ok(PolicyBody::of(id, policy, now).with(figures.ok_or_else(shutting_down)?))
    }
}

/// The labels by which a policy keeps separate counters; an idle one has none.
fn scope(id: &PolicyId, policy: &Policy) -> Option<(PolicyId, Scope)> {
    policy.ruling().map(|spec| (id.clone(), spec.scope.clone()))
}

fn is_paused(policy: &Policy, now: Timestamp) -> bool {
    policy.pause().is_some_and(|pause| pause.holds(now))
}
