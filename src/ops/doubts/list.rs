//! `GET /v1/doubts` and `GET /v1/doubts/{id}`.
//!
//! Must not know: what can be done about doubts.

use axum::extract::State;
use axum::response::Response;
use http::Uri;

use crate::ops::desk::{OpsAnswer, json, respond};
use crate::ops::doubts::wire::{DoubtBody, DoubtList};
use crate::ops::doubts::{DoubtDesk, Name, doc, split};
use crate::ops::query::{Parameters, cursor_after, invalid};
use crate::ops::resource::DOUBTS;
use crate::store::doubts::Doubts;
use crate::telemetry::defect;

/// List the open doubts
///
/// What the store could not establish, or has lost, by id: the oldest first.
#[utoipa::path(
    get, path = "/v1/doubts", tag = "doubts", operation_id = "list_doubts",
    params(
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "Entries of the page; 100 when missing."),
        ("cursor" = Option<String>, Query, description = "As an answer gave it."),
        ("acknowledged" = Option<bool>, Query, description = "Only those that are acknowledged, or only the others."),
    ),
    responses(
        (status = 200, description = "A page.",
            headers(("Link" = String, description = "The next page, with `rel=\"next\"`; missing on the last one.")),
            body = DoubtList, example = json!({"doubts": [doc::doubt()], "next_cursor": null})),
        doc::List,
    ),
)]
pub(in crate::ops) async fn list(State(desk): State<DoubtDesk>, uri: Uri) -> Response {
    respond(page(&desk.doubts, &uri))
}

/// Show a doubt
#[utoipa::path(
    get, path = "/v1/doubts/{id}", tag = "doubts", operation_id = "show_doubt",
    params(("id" = u64, Path, description = "The doubt.")),
    responses((status = 200, description = "The doubt.", body = DoubtBody, example = json!(doc::doubt())), doc::Show),
)]
pub(in crate::ops) async fn show(State(desk): State<DoubtDesk>, name: Name) -> Response {
    let (id, verb) = split(&name);
    match verb {
        None => respond(desk.find(id).map(|doubt| json(&DoubtBody::of(&doubt), None))),
        Some(verb) => DOUBTS.refuse(Some(verb)),
    }
}

/// A page of the open doubts.
fn page(doubts: &Doubts, uri: &Uri) -> OpsAnswer {
    let parameters = Parameters::read(uri, &["limit", "cursor", "acknowledged"], &[])?;
    let limit = parameters.page("limit")?;
    let only = match parameters.get("acknowledged") {
        None => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(_) => return Err(invalid("acknowledged", "must be true or false".to_owned())),
    };
    let after = match parameters.cursor("cursor")? {
        // The first doubt has the number 1.
        None => 0,
        Some(last) => last.parse::<u64>().map_err(|_| {
            invalid("cursor", "must be a cursor as an answer or its Link header gave it".to_owned())
        })?,
    };
    let mut page = doubts.list();
    defect!(unless page.is_sorted_by_key(|doubt| doubt.id), "doubts out of order, which cursors rely on");
    // Ids grow and are not used again, so that a page goes on where the last one ended although doubts end in between.
    page.retain(|doubt| doubt.id > after && only.is_none_or(|only| doubt.acknowledged == only));
    let more = page.len() > limit;
    page.truncate(limit);
    let next_cursor = page.last().filter(|_| more).map(|last| cursor_after(&last.id.to_string()));
    let filter = only.map(|only| format!("&acknowledged={only}")).unwrap_or_default();
    let next = next_cursor.as_ref().map(|cursor| format!("/v1/doubts?limit={limit}{filter}&cursor={cursor}"));
    Ok(json(&DoubtList { doubts: page.iter().map(DoubtBody::of).collect(), next_cursor }, next))
}
