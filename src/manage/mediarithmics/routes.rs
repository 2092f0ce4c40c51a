//! The routes (contract.md 1). Order of checks: token, path, query or body, then what is there already.

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State as Shared};
use axum::response::Response;
use axum::routing::get;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::manage::Dice;
use crate::manage::call::{has_plain_token, is_label_value, read_json};
use crate::manage::desk::{Desk, NotChanged};
use crate::manage::dialect::Parts;
use crate::manage::mediarithmics::derive::policy_id;
use crate::manage::mediarithmics::errors::{Failure, json};
use crate::manage::mediarithmics::objects::{Record, THROTTLING, origin};
use crate::manage::mediarithmics::wire::{Done, List, One, Page, read_new, read_replacement};
use crate::manage::mediarithmics::{Mediarithmics, MediarithmicsOptions, doc};
use crate::policy::{Book, PolicyError};

/// The kind and the id of the element that says which id comes next.
const COUNTER: (&str, &str) = ("counter", "next");
/// The first id that is given to a throttling.
const FIRST_ID: u64 = 1_001;

/// All routes of the dialect; every other verb on them is refused with 405.
pub(crate) fn router(options: &MediarithmicsOptions, parts: Parts) -> Router {
    let Parts { policies, clock, random } = parts;
    let throttlings = Throttlings {
        desk: Desk::new(&Mediarithmics, policies, clock, options.drain_window),
        dice: Dice::new(random),
        require_headers: options.require_headers,
    };
    let all = get(list).post(create).head(no_verb_of_all).fallback(no_verb_of_all);
    let one = get(read).put(replace).delete(remove).head(no_verb_of_one).fallback(no_verb_of_one);
    Router::new()
        .route("/v1/plugins/{plugin_id}/versions/{version_id}/throttlings", all)
        .route("/v1/plugins/{plugin_id}/versions/{version_id}/throttlings/{throttling_id}", one)
        .with_state(throttlings)
}

/// The ids in the path of a list.
pub(super) type OfVersion = Result<Path<(String, String)>, PathRejection>;
/// The ids in the path of a throttling.
pub(super) type OfThrottling = Result<Path<(String, String, String)>, PathRejection>;
type Answer = Result<Response, Failure>;

/// List the throttlings of a plugin version
#[utoipa::path(
    get, path = "/v1/plugins/{plugin_id}/versions/{version_id}/throttlings",
    tag = "mediarithmics", operation_id = "list_mediarithmics_throttlings",
    params(doc::OfVersion, doc::PageParameters),
    responses(
        (status = 200, description = "A page of them.", body = List<'_>, example = json!(doc::list())),
        doc::ListRefused,
    ),
)]
pub(super) async fn list(
    Shared(throttlings): Shared<Throttlings>,
    path: OfVersion,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    throttlings.answer(throttlings.list(path, query.as_deref(), &headers))
}

/// Create a throttling
///
/// It governs the calls that come after the answer.
#[utoipa::path(
    post, path = "/v1/plugins/{plugin_id}/versions/{version_id}/throttlings",
    tag = "mediarithmics", operation_id = "create_mediarithmics_throttling",
    params(doc::OfVersion),
    request_body(content = doc::New, example = json!(doc::new())),
    responses(
        (status = 201, description = "It is active.", body = One<'_>, example = json!(doc::one())),
        doc::CreateRefused,
    ),
)]
pub(super) async fn create(
    Shared(throttlings): Shared<Throttlings>,
    path: OfVersion,
    headers: HeaderMap,
    body: Body,
) -> Response {
    throttlings.answer(throttlings.create(path, &headers, body).await)
}

/// Show a throttling
#[utoipa::path(
    get, path = "/v1/plugins/{plugin_id}/versions/{version_id}/throttlings/{throttling_id}",
    tag = "mediarithmics", operation_id = "get_mediarithmics_throttling",
    params(doc::OfVersion, ("throttling_id" = String, Path, description = "The id of the throttling.")),
    responses(
        (status = 200, description = "The throttling.", body = One<'_>, example = json!(doc::one())),
        doc::ReadRefused,
    ),
)]
pub(super) async fn read(
    Shared(throttlings): Shared<Throttlings>,
    path: OfThrottling,
    headers: HeaderMap,
) -> Response {
    throttlings.answer(throttlings.read(path, &headers))
}

/// Replace a throttling as a whole
#[utoipa::path(
    put, path = "/v1/plugins/{plugin_id}/versions/{version_id}/throttlings/{throttling_id}",
    tag = "mediarithmics", operation_id = "replace_mediarithmics_throttling",
    params(doc::OfVersion, ("throttling_id" = String, Path, description = "The id of the throttling.")),
    request_body(content = doc::Replacement, example = json!(doc::replacement())),
    responses(
        (status = 200, description = "It is active.", body = One<'_>, example = json!(doc::one())),
        doc::ReplaceRefused,
    ),
)]
pub(super) async fn replace(
    Shared(throttlings): Shared<Throttlings>,
    path: OfThrottling,
    headers: HeaderMap,
    body: Body,
) -> Response {
    throttlings.answer(throttlings.replace(path, &headers, body).await)
}

/// Delete a throttling
///
/// What waits under it goes on.
#[utoipa::path(
    delete, path = "/v1/plugins/{plugin_id}/versions/{version_id}/throttlings/{throttling_id}",
    tag = "mediarithmics", operation_id = "delete_mediarithmics_throttling",
    params(doc::OfVersion, ("throttling_id" = String, Path, description = "The id of the throttling.")),
    responses(
        (status = 200, description = "It governs no new calls.", body = Done, example = json!(doc::done())),
        doc::RemoveRefused,
    ),
)]
pub(super) async fn remove(
    Shared(throttlings): Shared<Throttlings>,
    path: OfThrottling,
    headers: HeaderMap,
) -> Response {
    throttlings.answer(throttlings.remove(path, &headers).await)
}

async fn no_verb_of_all(Shared(throttlings): Shared<Throttlings>) -> Response {
    Failure::Method { allowed: "GET, POST" }.answer(&throttlings.dice)
}

async fn no_verb_of_one(Shared(throttlings): Shared<Throttlings>) -> Response {
    Failure::Method { allowed: "GET, PUT, DELETE" }.answer(&throttlings.dice)
}

/// Keeps the throttlings. Cheap to clone.
#[derive(Clone)]
pub(super) struct Throttlings {
    desk: Desk,
    dice: Dice,
    require_headers: bool,
}

/// The plugin version that a path names.
struct Version {
    plugin_id: String,
    version_id: String,
}

impl Version {
    fn has(&self, record: &Record) -> bool {
        record.plugin_id == self.plugin_id && record.version_id == self.version_id
    }

    fn of(plugin_id: String, version_id: String) -> Result<Self, Failure> {
        // An id that no label can equal is none that a plugin or version has.
        if is_label_value(&plugin_id) && is_label_value(&version_id) {
            Ok(Self { plugin_id, version_id })
        } else {
            Err(Failure::NotFound)
        }
    }
}

impl Throttlings {
    fn answer(&self, answer: Answer) -> Response {
        answer.unwrap_or_else(|failure| failure.answer(&self.dice))
    }

    fn list(&self, path: OfVersion, query: Option<&str>, headers: &HeaderMap) -> Answer {
        let version = self.version(path, headers)?;
        let page = Page::read(query).map_err(invalid)?;
        let book = self.desk.book();
        let mut all = Vec::new();
        for (id, value) in book.elements(&origin(), THROTTLING) {
            let record = Record::read(value).ok_or(Failure::Unexpected)?;
            if version.has(&record) {
                all.push((id, record));
            }
        }
        Ok(json(StatusCode::OK, &List::of(&all, page)))
    }

    async fn create(&self, path: OfVersion, headers: &HeaderMap, body: Body) -> Answer {
        let version = self.version(path, headers)?;
        let body = read_json(headers, body).await.map_err(Failure::Body)?;
        let throttling = read_new(&body, &version.version_id).map_err(invalid)?;
        let Version { plugin_id, version_id } = version;
        let record = Record { plugin_id, version_id, throttling };
        let edit = |book: &mut Book| {
            refuse_duplicate(book, None, &record)?;
            // In the edit and from the book, so that an id is never given twice, whichever run of the edit is stored.
            let id = take_id(book)?;
            book.put_element(&origin(), THROTTLING, &id, record.write());
            Ok(id)
        };
        let id = self.change(edit).await?;
        Ok(json(StatusCode::CREATED, &One::of(&id, &record)))
    }

    fn read(&self, path: OfThrottling, headers: &HeaderMap) -> Answer {
        let (version, id) = self.throttling(path, headers)?;
        let record = find(&self.desk.book(), &version, &id)?;
        Ok(json(StatusCode::OK, &One::of(&id, &record)))
    }

    async fn replace(&self, path: OfThrottling, headers: &HeaderMap, body: Body) -> Answer {
        let (version, id) = self.throttling(path, headers)?;
        let body = read_json(headers, body).await.map_err(Failure::Body)?;
        let throttling = read_replacement(&body).map_err(invalid)?;
        let edit = |book: &mut Book| {
            let record = Record { throttling: throttling.clone(), ..find(book, &version, &id)? };
            refuse_duplicate(book, Some(&id), &record)?;
            book.put_element(&origin(), THROTTLING, &id, record.write());
            Ok(record)
        };
        let record = self.change(edit).await?;
        Ok(json(StatusCode::OK, &One::of(&id, &record)))
    }

    async fn remove(&self, path: OfThrottling, headers: &HeaderMap) -> Answer {
        let (version, id) = self.throttling(path, headers)?;
        let edit = |book: &mut Book| {
            find(book, &version, &id)?;
            book.remove_element(&origin(), THROTTLING, &id);
            Ok(())
        };
        self.change(edit).await?;
        Ok(json(StatusCode::OK, &Done::OK))
    }

    fn version(&self, path: OfVersion, headers: &HeaderMap) -> Result<Version, Failure> {
        self.check_token(headers)?;
        let Path((plugin_id, version_id)) = path.map_err(|_| Failure::NotFound)?;
        Version::of(plugin_id, version_id)
    }

    fn throttling(&self, path: OfThrottling, headers: &HeaderMap) -> Result<(Version, String), Failure> {
        self.check_token(headers)?;
        let Path((plugin_id, version_id, id)) = path.map_err(|_| Failure::NotFound)?;
        Ok((Version::of(plugin_id, version_id)?, id))
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Failure> {
        if self.require_headers && !has_plain_token(headers) {
            return Err(Failure::NoToken);
        }
        Ok(())
    }

    async fn change<T>(&self, edit: impl FnMut(&mut Book) -> Result<T, Failure>) -> Result<T, Failure> {
        self.desk.change(edit).await.map_err(|error| match error {
            NotChanged::Refused(failure) => failure,
            // The author can do something about it, unlike about what else cannot be applied.
            NotChanged::TooLarge(PolicyError::TooLarge { .. }) => Failure::Full(
                "the endpoints of all throttlings are too many or too long together; delete some".to_owned(),
            ),
            NotChanged::Full(bound) => Failure::Full(bound.to_string()),
            NotChanged::Late(late) => Failure::Late(late),
            NotChanged::NotActive(_) | NotChanged::TooLarge(_) | NotChanged::Failed => Failure::Unexpected,
        })
    }
}

/// All faults in one text, which is the only place for them in the envelope.
fn invalid(faults: Vec<String>) -> Failure {
    Failure::Invalid(faults.join("; "))
}

/// A throttling of the plugin version; that of another is not found.
fn find(book: &Book, version: &Version, id: &str) -> Result<Record, Failure> {
    let value = book.element(&origin(), THROTTLING, id).ok_or(Failure::NotFound)?;
    let record = Record::read(value).ok_or(Failure::Unexpected)?;
    if version.has(&record) { Ok(record) } else { Err(Failure::NotFound) }
}

/// `id` is the throttling that the record takes the place of.
fn refuse_duplicate(book: &Book, id: Option<&str>, record: &Record) -> Result<(), Failure> {
    let others = book.elements(&origin(), THROTTLING).into_iter().filter(|(other, _)| Some(*other) != id);
    // One that cannot be read is no twin; it keeps the change from being applied anyway.
    let records = others.filter_map(|(other, value)| Some((other, Record::read(value)?)));
    let twin = records.into_iter().find(|(_, other)| other.collides_with(record));
    twin.map_or(Ok(()), |(other, _)| Err(Failure::Duplicate(other.to_owned())))
}

/// The next id. It is never one that was given before, also after that was removed, and skips ids under which another
/// origin has a policy.
fn take_id(book: &mut Book) -> Result<String, Failure> {
    let (kind, name) = COUNTER;
    let mut id = match book.element(&origin(), kind, name) {
        None => FIRST_ID,
        Some(value) => value.as_u64().ok_or(Failure::Unexpected)?,
    };
    while policy_id(&id.to_string()).is_some_and(|policy| book.known(&policy).is_some()) {
        // A policy of the file may have such a name, which then cannot be taken.
        id += 1;
    }
    book.put_element(&origin(), kind, name, Value::from(id + 1));
    Ok(id.to_string())
}
