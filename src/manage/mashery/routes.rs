//! The routes of all objects under `/v3/rest`. Order of checks: token, query, the objects of the path, type and size of the body, JSON, members,
//! then the rules beside other objects.

pub(super) mod rpc;
pub(super) mod token;

use std::collections::HashMap;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State as Shared};
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde_json::Value;

use crate::manage::call;
use crate::manage::desk::NotChanged;
use crate::manage::mashery::MasheryApi;
use crate::manage::mashery::errors::{Refusal, json};
use crate::manage::mashery::objects::change::{Planned, create, remove, update};
use crate::manage::mashery::objects::show::show;
use crate::manage::mashery::objects::{self, Place};
use crate::manage::mashery::wire::Draft;
use crate::manage::mashery::wire::listing::Query;
use crate::manage::mashery::wire::ways::{BASE, WAYS, Way};
use crate::policy::Book;

/// All routes of the dialect: one pair for each way to objects, the token, the V2 API.
pub(crate) fn router(api: MasheryApi) -> Router {
    let routes = WAYS.iter().fold(Router::new(), |router, way| {
        router.route(way.collection, collection(way)).route(way.object, object(way))
    });
    let routes = routes
        .fallback(async || Refusal::not_found().answer())
        .method_not_allowed_fallback(async || Refusal::method_not_allowed().answer())
        .with_state(api.clone());
    Router::new().nest(BASE, routes).merge(token::routes(api.clone())).merge(rpc::routes(api))
}

type Ids = Result<Path<HashMap<String, String>>, PathRejection>;
type Answer = Result<Response, Refusal>;

/// HEAD is answered as GET, for the count alone (the vendor's page on lists).
fn collection(way: &'static Way) -> MethodRouter<MasheryApi> {
    get(move |Shared(api): Shared<MasheryApi>, ids: Ids, uri: Uri, headers: HeaderMap| async move {
        answer(api.list(way, ids, &uri, &headers))
    })
    .post(
        move |Shared(api): Shared<MasheryApi>, ids: Ids, uri: Uri, headers: HeaderMap, body: Body| async move {
            answer(api.create(way, ids, &uri, &headers, body).await)
        },
    )
}

fn object(way: &'static Way) -> MethodRouter<MasheryApi> {
    get(move |Shared(api): Shared<MasheryApi>, ids: Ids, uri: Uri, headers: HeaderMap| async move {
        answer(api.read(way, ids, &uri, &headers))
    })
    .put(
        move |Shared(api): Shared<MasheryApi>, ids: Ids, uri: Uri, headers: HeaderMap, body: Body| async move {
            answer(api.update(way, ids, &uri, &headers, body).await)
        },
    )
    .delete(move |Shared(api): Shared<MasheryApi>, ids: Ids, headers: HeaderMap| async move {
        answer(api.delete(way, ids, &headers).await)
    })
}

fn answer(answer: Answer) -> Response {
    answer.unwrap_or_else(|refusal| refusal.answer())
}

impl MasheryApi {
    fn list(&self, way: &'static Way, ids: Ids, uri: &Uri, headers: &HeaderMap) -> Answer {
        let (place, query) = (self.enter(way, ids, headers)?, Query::read(uri, way.kind)?);
        let book = self.desk.book();
        place.ancestors(&book)?;
        let all = place.children(&book)?;
        let shown = all.iter().map(|(id, record)| show(&book, way.kind, id, record, &query.wanted()));
        let page = query.page(shown.collect::<Result<_, _>>()?);
        let mut response = json(StatusCode::OK, &page.elements);
        response.headers_mut().insert("x-total-count", HeaderValue::from(page.total));
        Ok(response)
    }

    async fn create(
        &self,
        way: &'static Way,
        ids: Ids,
        uri: &Uri,
        headers: &HeaderMap,
        body: Body,
    ) -> Answer {
        let (place, query) = (self.enter(way, ids, headers)?, Query::read(uri, way.kind)?);
        // Before the body, so that a wrong path is 404 whatever is sent; again in the edit, because the parent may go
        // meanwhile.
        place.ancestors(&self.desk.book())?;
        let draft = Draft::read(way.kind, &read_body(headers, body).await?)?;
        let planned = Planned::new(draft, &self.dice);
        // The same in every run of the edit.
        let now = objects::show_time(self.desk.clock().wall());
        let shown = self.change(|book| {
            place.ancestors(book)?;
            let (id, record) = create(book, &planned, place.parent().as_deref(), &now)?;
            show(book, way.kind, &id, &record, &query.wanted())
        });
        Ok(json(StatusCode::OK, &query.pick(Value::Object(shown.await?))))
    }

    fn read(&self, way: &'static Way, ids: Ids, uri: &Uri, headers: &HeaderMap) -> Answer {
        let (place, query) = (self.enter(way, ids, headers)?, Query::read(uri, way.kind)?);
        let book = self.desk.book();
        let (id, record) = place.find(&book)?;
        let shown = show(&book, way.kind, &id, &record, &query.wanted())?;
        Ok(json(StatusCode::OK, &query.pick(Value::Object(shown))))
    }

    async fn update(
        &self,
        way: &'static Way,
        ids: Ids,
        uri: &Uri,
        headers: &HeaderMap,
        body: Body,
    ) -> Answer {
        let (place, query) = (self.enter(way, ids, headers)?, Query::read(uri, way.kind)?);
        place.find(&self.desk.book())?;
        let draft = Draft::read_named(way.kind, place.shown_id(), &read_body(headers, body).await?)?;
        let planned = Planned::new(draft, &self.dice);
        let now = objects::show_time(self.desk.clock().wall());
        let shown = self.change(|book| {
            let known = place.find(book)?;
            let (id, record) = update(book, &planned, known, &now)?;
            show(book, way.kind, &id, &record, &query.wanted())
        });
        Ok(json(StatusCode::OK, &query.pick(Value::Object(shown.await?))))
    }

    async fn delete(&self, way: &'static Way, ids: Ids, headers: &HeaderMap) -> Answer {
        let place = self.enter(way, ids, headers)?;
        let edit = |book: &mut Book| {
            let (id, _) = place.find(book)?;
            remove(book, way.kind, &id)
        };
        self.change(edit).await?;
        Ok(Response::new(Body::empty()))
    }

    /// The token, then the objects of the path.
    fn enter(&self, way: &'static Way, ids: Ids, headers: &HeaderMap) -> Result<Place, Refusal> {
        // That there is one is enough: until callers have tokens of tidegate, any is as good as those that it gave.
        let token = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes().trim_ascii());
        if self.options.require_headers && token.is_none_or(<[u8]>::is_empty) {
            return Err(Refusal::NoToken);
        }
        let Ok(Path(ids)) = ids else { return Err(Refusal::not_found()) };
        Ok(Place::new(way, ids))
    }

    /// Changes objects and what they make active, or says in the words of the V3 API why not.
    pub(super) async fn change<T>(
        &self,
        edit: impl FnMut(&mut Book) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
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
