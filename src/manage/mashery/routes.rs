//! The routes under `/v3/rest`. Order of checks: token, query, the objects of the path, type and size of the body, JSON, members,
//! then the rules beside other objects.

use std::collections::HashMap;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State as Shared};
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde_json::{Map, Value};

use crate::manage::call;
use crate::manage::desk::NotChanged;
use crate::manage::mashery::MasheryApi;
use crate::manage::mashery::errors::{Refusal, json};
use crate::manage::mashery::objects::record::Record;
use crate::manage::mashery::objects::{self, Place};
use crate::manage::mashery::wire::listing::Query;
use crate::manage::mashery::wire::{Kind, Purpose, merged, read_edit};
use crate::policy::Book;

/// The path under which all routes are found.
pub(super) const BASE: &str = "/v3/rest";

/// All routes of the dialect, one pair for each kind of object.
pub(crate) fn router(api: MasheryApi) -> Router {
    let routes = Kind::ALL.into_iter().fold(Router::new(), |router, kind| {
        let (of_collection, of_object) = paths(kind);
        router.route(of_collection, collection(kind)).route(of_object, object(kind))
    });
    let routes = routes
        .fallback(async || Refusal::not_found().answer())
        .method_not_allowed_fallback(async || Refusal::method_not_allowed().answer())
        .with_state(api);
    Router::new().nest(BASE, routes)
}

/// Where the objects of a kind are found below [`BASE`], all of them and one.
pub(super) const fn paths(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Service => ("/services", "/services/{service}"),
        Kind::Endpoint => ("/services/{service}/endpoints", "/services/{service}/endpoints/{endpoint}"),
        Kind::Method => (
            "/services/{service}/endpoints/{endpoint}/methods",
            "/services/{service}/endpoints/{endpoint}/methods/{method}",
        ),
        Kind::PackageKey => ("/packageKeys", "/packageKeys/{key}"),
    }
}

type Ids = Result<Path<HashMap<String, String>>, PathRejection>;
type Answer = Result<Response, Refusal>;

/// HEAD is answered as GET, for the count alone (the vendor's page on lists).
fn collection(kind: Kind) -> MethodRouter<MasheryApi> {
    get(move |Shared(api): Shared<MasheryApi>, ids: Ids, uri: Uri, headers: HeaderMap| async move {
        answer(api.list(kind, ids, &uri, &headers))
    })
    .post(
        move |Shared(api): Shared<MasheryApi>, ids: Ids, uri: Uri, headers: HeaderMap, body: Body| async move {
            answer(api.create(kind, ids, &uri, &headers, body).await)
        },
    )
}

fn object(kind: Kind) -> MethodRouter<MasheryApi> {
    get(move |Shared(api): Shared<MasheryApi>, ids: Ids, uri: Uri, headers: HeaderMap| async move {
        answer(api.read(kind, ids, &uri, &headers))
    })
    .put(
        move |Shared(api): Shared<MasheryApi>, ids: Ids, uri: Uri, headers: HeaderMap, body: Body| async move {
            answer(api.update(kind, ids, &uri, &headers, body).await)
        },
    )
    .delete(move |Shared(api): Shared<MasheryApi>, ids: Ids, headers: HeaderMap| async move {
        answer(api.delete(kind, ids, &headers).await)
    })
}

fn answer(answer: Answer) -> Response {
    answer.unwrap_or_else(|refusal| refusal.answer())
}

impl MasheryApi {
    fn list(&self, kind: Kind, ids: Ids, uri: &Uri, headers: &HeaderMap) -> Answer {
        let (place, query) = (self.enter(kind, ids, headers)?, Query::read(uri, kind)?);
        let book = self.desk.book();
        place.ancestors(&book)?;
        let page = query.page(place.children(&book)?);
        let mut response = json(StatusCode::OK, &page.elements);
        response.headers_mut().insert("x-total-count", HeaderValue::from(page.total));
        Ok(response)
    }

    async fn create(&self, kind: Kind, ids: Ids, uri: &Uri, headers: &HeaderMap, body: Body) -> Answer {
        let (place, query) = (self.enter(kind, ids, headers)?, Query::read(uri, kind)?);
        // Before the body, so that a wrong path is 404 whatever is sent; again in the edit, because the parent may go
        // meanwhile.
        place.ancestors(&self.desk.book())?;
        let mut edit = read_edit(kind, Purpose::Create, &read_body(headers, body).await?)?;
        // Made up before the edit, which may run several times.
        if kind == Kind::PackageKey && edit.get("apikey").is_none_or(Value::is_null) {
            edit.insert("apikey".to_owned(), Value::from(self.new_apikey()));
        }
        let members = merged(kind, &Map::new(), &edit)?;
        // The same in every run of the edit.
        let (id, now) = (self.new_id(), objects::show_time(self.desk.clock().wall()));
        let parent = place.parent().map(str::to_owned);
        let record = Record { members, parent, created: now.clone(), updated: now };
        let shown = self.change(|book| {
            place.ancestors(book)?;
            objects::put(book, kind, &id, &record)?;
            objects::show(book, kind, &id, &record)
        });
        Ok(json(StatusCode::OK, &query.pick(Value::Object(shown.await?))))
    }

    fn read(&self, kind: Kind, ids: Ids, uri: &Uri, headers: &HeaderMap) -> Answer {
        let (place, query) = (self.enter(kind, ids, headers)?, Query::read(uri, kind)?);
        let book = self.desk.book();
        let (id, record) = place.find(&book)?;
        Ok(json(StatusCode::OK, &query.pick(Value::Object(objects::show(&book, kind, id, &record)?))))
    }

    async fn update(&self, kind: Kind, ids: Ids, uri: &Uri, headers: &HeaderMap, body: Body) -> Answer {
        let (place, query) = (self.enter(kind, ids, headers)?, Query::read(uri, kind)?);
        place.find(&self.desk.book())?;
        let edit = read_edit(kind, Purpose::Update, &read_body(headers, body).await?)?;
        let now = objects::show_time(self.desk.clock().wall());
        let shown = self.change(|book| {
            let (id, old) = place.find(book)?;
            let members = merged(kind, &old.members, &edit)?;
            // Its calls were counted under the other service: a key that moved would begin as if unused.
            if old.members.get("service") != members.get("service") {
                let rule = "cannot be changed: delete the key and create it for the other service";
                return Err(Refusal::property("service", rule));
            }
            let record = Record { members, updated: now.clone(), ..old };
            objects::put(book, kind, id, &record)?;
            objects::show(book, kind, id, &record)
        });
        Ok(json(StatusCode::OK, &query.pick(Value::Object(shown.await?))))
    }

    async fn delete(&self, kind: Kind, ids: Ids, headers: &HeaderMap) -> Answer {
        let place = self.enter(kind, ids, headers)?;
        let edit = |book: &mut Book| {
            let (id, _) = place.find(book)?;
            objects::remove(book, kind, id)
        };
        self.change(edit).await?;
        Ok(Response::new(Body::empty()))
    }

    /// The token, then the objects of the path.
    fn enter(&self, kind: Kind, ids: Ids, headers: &HeaderMap) -> Result<Place, Refusal> {
        // That there is one is enough: tidegate does not know which tokens the vendor gave.
        let token = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes().trim_ascii());
        if self.options.require_headers && token.is_none_or(<[u8]>::is_empty) {
            return Err(Refusal::NoToken);
        }
        let Ok(Path(ids)) = ids else { return Err(Refusal::not_found()) };
        Ok(Place::new(kind, ids))
    }

    async fn change<T>(&self, edit: impl FnMut(&mut Book) -> Result<T, Refusal>) -> Result<T, Refusal> {
        self.desk.change(edit).await.map_err(|error| match error {
            NotChanged::Refused(refusal) => refusal,
            // The contract has no code for bounds: 400 with the way out, which a client does not repeat blindly.
            NotChanged::TooLarge(error) => Refusal::invalid(error.to_string()),
            NotChanged::Full(bound) => Refusal::invalid(bound.to_string()),
            NotChanged::Late(late) => Refusal::late(late),
            NotChanged::NotActive(_) | NotChanged::Failed => Refusal::internal(),
        })
    }
}

async fn read_body(headers: &HeaderMap, body: Body) -> Result<bytes::Bytes, Refusal> {
    call::read_json(headers, body).await.map_err(|refused| Refusal::of_body(&refused))
}
