//! `PUT` and `DELETE /v1/policies/{id}`: policies whose origin is this API. They have the members of the configuration
//! file's blocks, are deployed as soon as they are made, and go on in their generation when they are changed.
//!
//! Must not know: how limits are kept, what the members mean.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde::Serialize;
use tracing::{info, warn};
use utoipa::ToSchema;

use crate::clock::{Clock, Timestamp};
use crate::event::PolicyId;
use crate::ingest::CallRouter;
use crate::ops::body::read;
use crate::ops::desk::{Desk, OpsAnswer, PathName, json, late, no_policy, policy_id, respond, split};
use crate::ops::doc;
use crate::ops::precondition::{self, Precondition};
use crate::ops::query::{self, Parameters};
use crate::ops::resource::POLICIES;
use crate::ops::wire::{Definition, HoldBody};
use crate::policy::{
    Book, BookError, ChangeError, Fault, GenerationState, Given, Members, Origin, Policies, Policy,
    PolicyError, Put, Spec, read_name, read_spec, write,
};
use crate::problem::{Problem, codes};
use crate::telemetry::Defect;

/// What a change has made different, or would make different.
#[derive(Serialize, ToSchema)]
#[schema(as = PolicyChange)]
pub(super) struct ChangeBody {
    id: String,
    change: ChangeKind,
    /// Whether nothing was changed: it was only asked what would be.
    dry_run: bool,
    /// Names of the members that differ between `before` and `after`.
    differs: Vec<String>,
    #[schema(required, value_type = Option<Definition>)]
    before: Option<Members>,
    #[schema(required, value_type = Option<Definition>)]
    after: Option<Members>,
    /// The `ETag` of the policy after the change; `null` once it is deleted.
    #[schema(required)]
    etag: Option<String>,
    /// The pause that holds it: a policy that is made again while an earlier one of its name drains keeps that one's
    /// pause until it is resumed.
    #[schema(required)]
    hold: Option<HoldBody>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PolicyChangeKind)]
enum ChangeKind {
    Created,
    Updated,
    Unchanged,
    Deleted,
}

/// Why a change is not made.
enum AuthoringError {
    /// Another origin has the policy; the rest of one that is deleted drains there until this time.
    Owned { origin: Origin, drains_until: Option<Timestamp> },
    /// Its edition is another one than was asked for.
    Found(Option<String>),
    /// There is no policy of this id.
    Unknown,
    /// Names of this form are those of a dialect.
    Reserved(&'static str),
    /// It cannot be as the book has it.
    Book(BookError),
}

/// Create or replace a policy
///
/// With the members of a `[[policy]]` block of the configuration file, all of them: what is left out takes its default.
/// When the answer is there, the policy is stored and active. A change of a policy goes on in its generation and grants
/// no fresh burst. Policies of the file and of the dialects are refused, and new names of the forms that dialects give.
#[utoipa::path(
    put, path = "/v1/policies/{id}", tag = "policies", operation_id = "put_policy",
    params(
        ("id" = String, Path, description = "The policy."),
        ("dry_run" = Option<bool>, Query, description = "With `true` nothing is changed; the answer says what would be."),
        ("If-Match" = Option<String>, Header, description = "The `ETag` that the policy must have, or `*`: it must be there."),
        ("If-None-Match" = Option<String>, Header, description = "`*`: there must be no such policy."),
    ),
    request_body(content = Definition, example = json!(doc::definition())),
    responses(
        (status = 200, description = "It is so now, or would be.",
            headers(("ETag" = String, description = "Of the policy as it is now; missing with `dry_run`.")),
            body = ChangeBody, example = json!(doc::changed())),
        (status = 201, description = "It is new.",
            headers(("ETag" = String, description = "Of the policy.")),
            body = ChangeBody, example = json!(doc::created())),
        doc::Put,
    ),
)]
pub(super) async fn put(
    State(desk): State<Desk>,
    name: PathName,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match split(&name) {
        (id, None) => respond(Authoring::from(&desk).put(id, &uri, &headers, body).await),
        (_, verb) => POLICIES.refuse(verb),
    }
}

/// Delete a policy
///
/// One that was made by `PUT`. It governs no more events; what waits under it drains for `queue.drain_seconds` at most.
/// May be repeated while it drains.
#[utoipa::path(
    delete, path = "/v1/policies/{id}", tag = "policies", operation_id = "delete_policy",
    params(
        ("id" = String, Path, description = "The policy."),
        ("dry_run" = Option<bool>, Query, description = "With `true` nothing is changed; the answer says what would be."),
        ("If-Match" = Option<String>, Header, description = "The `ETag` that the policy must have, or `*`."),
    ),
    responses(
        (status = 204, description = "It is deleted."),
        (status = 200, description = "What would be, with `dry_run`.", body = ChangeBody, example = json!(doc::deleted())),
        doc::Delete,
    ),
)]
pub(super) async fn delete(
    State(desk): State<Desk>,
    name: PathName,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    match split(&name) {
        (id, None) => respond(Authoring::from(&desk).delete(id, &uri, &headers).await),
        (_, verb) => POLICIES.refuse(verb),
    }
}

/// Makes, changes and deletes the policies of this API.
struct Authoring<'d> {
    authoring: &'d Policies,
    reserved: fn(&PolicyId) -> Option<&'static str>,
    drain: Duration,
    clock: &'d Clock,
    router: &'d CallRouter,
}

impl<'d> From<&'d Desk> for Authoring<'d> {
    fn from(desk: &'d Desk) -> Self {
        Self {
            authoring: &desk.authoring,
            reserved: desk.reserved,
            drain: desk.drain,
            clock: &desk.clock,
            router: &desk.router,
        }
    }
}

impl Authoring<'_> {
    async fn put(&self, id: &str, uri: &Uri, headers: &HeaderMap, body: Body) -> OpsAnswer {
        let dry_run = dry_run(uri)?;
        let members: Members = read(headers, body).await?;
        let (id, spec) = self.checked(id, &members)?;
        let precondition = Precondition::of(headers);
        let (now, reserved) = (self.clock.now(), (self.reserved)(&id));
        // It may run several times, each time on a fresh copy of the book, and so reads all it goes by from there.
        let edit = |book: &mut Book| {
            // Only new names of this form are refused: a policy that has one already can be changed.
            match reserved.filter(|_| book.known(&id).is_none()) {
                Some(dialect) => Err(AuthoringError::Reserved(dialect)),
                None => put_in(book, &id, &spec, &precondition, now),
            }
        };
        let change = self.made(&id, dry_run, edit).await?;
        if dry_run {
            return Ok(json(&change, None));
        }
        info!(policy = %id, change = ?change.change, differs = change.differs.join(", "), "policy put");
        let mut response = json(&change, None);
        if change.change == ChangeKind::Created {
            *response.status_mut() = StatusCode::CREATED;
        }
        if let Some(etag) = change.etag.and_then(|etag| HeaderValue::try_from(etag).ok()) {
            response.headers_mut().insert(header::ETAG, etag);
        }
        Ok(response)
    }

    async fn delete(&self, id: &str, uri: &Uri, headers: &HeaderMap) -> OpsAnswer {
        let (id, dry_run) = (policy_id(id)?, dry_run(uri)?);
        let (now, drain) = (self.clock.now(), self.drain);
        let precondition = Precondition::of(headers);
        let edit = |book: &mut Book| {
            let change = delete_in(book, &id, &precondition)?;
            if change.change == ChangeKind::Deleted {
                book.remove(&id, now, drain).map_err(AuthoringError::Book)?;
            }
            Ok(change)
        };
        let change = self.made(&id, dry_run, edit).await?;
        if dry_run {
            return Ok(json(&change, None));
        }
        info!(policy = %id, change = ?change.change, "policy deleted");
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    /// The id of the path and what the members say, or every fault of them.
    fn checked(&self, id: &str, members: &Members) -> Result<(PolicyId, Spec), Box<Problem>> {
        let named = Members(vec![("name".to_owned(), Given::Text(id.to_owned()))]);
        let id = read_name(&named).map_err(|fault| faults(&[fault]))?;
        // The name may stand in the body as well: an exported block can be sent as it is.
        let same_name = members.get("name").is_none_or(|name| *name == Given::Text(id.to_string()));
        let other = Fault {
            path: vec!["name".to_owned()],
            detail: format!("must be {:?}, the name in the path; it may be left out", id.as_str()),
        };
        let other_name = (!same_name).then_some(other);
        match (read_spec(members, self.router.defaults.known_labels.as_ref()), other_name) {
            (Ok(spec), None) => Ok((id, spec)),
            (spec, name) => {
                let all: Vec<Fault> = name.into_iter().chain(spec.err().into_iter().flatten()).collect();
                Err(faults(&all))
            }
        }
    }

    /// Makes a change, or finds out what it would be.
    async fn made(
        &self,
        id: &PolicyId,
        dry_run: bool,
        edit: impl FnMut(&mut Book) -> Result<ChangeBody, AuthoringError>,
    ) -> Result<ChangeBody, Box<Problem>> {
        let made = if dry_run { self.authoring.rehearse(edit) } else { self.authoring.change(edit).await };
        made.map(|change| ChangeBody { dry_run, ..change }).map_err(|error| refused(id, error))
    }
}

fn put_in(
    book: &mut Book,
    id: &PolicyId,
    spec: &Spec,
    precondition: &Precondition,
    now: Timestamp,
) -> Result<ChangeBody, AuthoringError> {
    let known = book.known(id);
    own(known)?;
    let edition = known.and_then(Policy::edition);
    if !precondition.holds(edition.as_deref()) {
        return Err(AuthoringError::Found(edition));
    }
    // A deleted policy that drains has no edition: to put it again is to make it, not to change it.
    let before = known.filter(|_| edition.is_some()).and_then(|policy| definition(id, policy));
    let change = match book.put(&Origin::api(), id, spec.clone()).map_err(AuthoringError::Book)? {
        Put::Same => ChangeKind::Unchanged,
        Put::Added => ChangeKind::Created,
        Put::Changed | Put::Ended => ChangeKind::Updated,
    };
    let after = write(id, spec);
    let etag = book.known(id).and_then(Policy::edition).map(|edition| precondition::quoted(&edition));
    let hold = book.known(id).and_then(|policy| HoldBody::of(policy, now));
    Ok(ChangeBody { hold, ..changed(id, change, before, after, etag) })
}

fn delete_in(book: &Book, id: &PolicyId, precondition: &Precondition) -> Result<ChangeBody, AuthoringError> {
    let policy = book.known(id).ok_or(AuthoringError::Unknown)?;
    own(Some(policy))?;
    let Some(edition) = policy.edition() else {
        // It is deleted already, and drains.
        return Ok(changed(id, ChangeKind::Unchanged, None, None, None));
    };
    if !precondition.holds(Some(&edition)) {
        return Err(AuthoringError::Found(Some(edition)));
    }
    Ok(changed(id, ChangeKind::Deleted, definition(id, policy), None, None))
}

/// Whether a policy may be changed here.
fn own(policy: Option<&Policy>) -> Result<(), AuthoringError> {
    match policy.filter(|policy| *policy.origin() != Origin::api()) {
        Some(policy) => {
            let until = |state: &GenerationState| match state {
                GenerationState::Draining { until } => Some(*until),
                GenerationState::Active => None,
            };
            let is_deleted = policy.edition().is_none();
            // Only a deleted policy gives its name back when it has drained; one that is active keeps it.
            let drains_until =
                policy.lifecycle().generations().values().filter_map(until).max().filter(|_| is_deleted);
            Err(AuthoringError::Owned { origin: policy.origin().clone(), drains_until })
        }
        None => Ok(()),
    }
}

/// A policy as the configuration file would say it.
pub(super) fn definition(id: &PolicyId, policy: &Policy) -> Option<Members> {
    write(id, policy.ruling()?)
}

fn changed(
    id: &PolicyId,
    change: ChangeKind,
    before: Option<Members>,
    after: Option<Members>,
    etag: Option<String>,
) -> ChangeBody {
    let none = Members::default();
    let differs = before.as_ref().unwrap_or(&none).differing(after.as_ref().unwrap_or(&none));
    ChangeBody { id: id.to_string(), change, dry_run: false, differs, before, after, etag, hold: None }
}

fn dry_run(uri: &Uri) -> Result<bool, Box<Problem>> {
    match Parameters::read(uri, &["dry_run"], &[])?.get("dry_run") {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(query::invalid("dry_run", "must be true or false".to_owned())),
    }
}

/// The problem of members that break rules: the first ones are named.
fn faults(faults: &[Fault]) -> Box<Problem> {
    let sentence = |fault: &Fault| match fault.field() {
        field if field.is_empty() => format!("the policy {}", fault.detail),
        field => format!("{field} {}", fault.detail),
    };
    let mut sentences: Vec<String> = faults.iter().map(sentence).take(Problem::MAX_ERRORS).collect();
    if faults.len() > sentences.len() {
        sentences.push(format!("and {} more", faults.len() - sentences.len()));
    }
    let problem = Problem::of(codes::INVALID_REQUEST, sentences.join("; "));
    let named = |problem: Problem, fault: &Fault| problem.field(fault.pointer(), fault.detail.clone());
    Box::new(faults.iter().fold(problem, named))
}

fn refused(id: &PolicyId, error: ChangeError<AuthoringError>) -> Box<Problem> {
    let conflict = |code, detail: String| Box::new(Problem::of(code, detail));
    match error {
        ChangeError::Refused(AuthoringError::Unknown) => no_policy(id.as_str()),
        ChangeError::Refused(AuthoringError::Reserved(dialect)) => {
            let detail =
                format!("has the form of the names that the dialect {dialect} gives; take another one");
            faults(&[Fault { path: vec!["name".to_owned()], detail }])
        }
        ChangeError::Refused(AuthoringError::Found(edition)) => precondition::failed(edition.as_deref()),
        ChangeError::Refused(AuthoringError::Owned { origin, drains_until }) => {
            let (rule, way_out) = owner(&origin, drains_until);
            let detail = format!("policy {:?} {rule}: {way_out}", id.as_str());
            let problem = conflict(codes::POLICY_OWNED, detail);
            Box::new(problem.field("/name", format!("{rule}; {way_out}")))
        }
        ChangeError::Refused(AuthoringError::Book(error)) => {
            // Origin and edition were checked in the same edit: the book has no reason left to refuse it.
            Defect { place: "a change that the policy book refuses after its checks" }.emit();
            warn!(policy = %id, %error, "a policy was not changed");
            let detail = format!("the policy cannot be changed: {error}");
            Box::new(Problem::of(codes::INTERNAL, detail))
        }
        ChangeError::Failed(PolicyError::Full(bound)) => conflict(codes::POLICIES_FULL, bound.to_string()),
        ChangeError::Failed(error @ PolicyError::TooLarge { .. }) => {
            conflict(codes::POLICIES_FULL, error.to_string())
        }
        ChangeError::Failed(error) => {
            warn!(policy = %id, %error, "a policy was not changed");
            let slow = match &error {
                PolicyError::Store(error) => late(error),
                _ => None,
            };
            slow.unwrap_or_else(|| {
                let detail = "the store cannot take changes; look at the policy before repeating";
                Box::new(Problem::of(codes::STORAGE_ERROR, detail).retry_after(10))
            })
        }
    }
}

/// Who has the policy, and the way out.
fn owner(origin: &Origin, drains_until: Option<Timestamp>) -> (String, String) {
    let (has, change, back) = if *origin == Origin::file() {
        let change = "change its [[policy]] block there and send SIGHUP".to_owned();
        ("the configuration file".to_owned(), change, "put its [[policy]] block back there and send SIGHUP")
    } else {
        let name = origin.as_str();
        (
            format!("the dialect {name}"),
            format!("change it through that API, which the manual's chapter {name} describes"),
            "make it there again",
        )
    };
    let Some(until) = drains_until else {
        return (format!("belongs to {has}"), format!("{change}, or take another name"));
    };
    let rule = format!(
        "of {has} was deleted there, and its name stays with it while it drains, which it does until {until} \
         (queue.drain_seconds), whether or not anything waits"
    );
    (rule, format!("take another name, {back}, or repeat this after that time"))
}
