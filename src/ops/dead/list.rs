//! `GET /v1/dead-letters` and `GET /v1/dead-letters/{id}`. A page reads a bounded number of letters for a bounded time: with
//! a filter it may be empty and go on.
//!
//! Must not know: what can be done to letters.

use axum::extract::State;
use axum::response::Response;
use http::Uri;

use super::filter::{Filter, PARAMETERS};
use super::wire::{LetterBody, LetterList};
use super::{DeadDesk, PIECE, PIECE_BYTES, READ_AT_MOST, READ_FOR};
use super::{doc, groups, letter_id, no_letter, store_problem};
use crate::ops::desk::{OpsAnswer, PathName, json, respond, split};
use crate::ops::query::{Parameters, cursor_after, invalid};
use crate::ops::resource::LETTERS;
use crate::problem::Problem;
use crate::store::{LetterOrder, LetterPlace, PlacedLetter, ReadLimit};

/// List or group the dead letters
///
/// In the order in which they were parked, or newest first. A page reads at most 10 000 letters, and for about 50 ms: with a
/// filter it may be empty and have a `next_cursor`. With `group_by` the letters that a page has read are counted by reason, by
/// endpoint (host and port), or by both; the groups of all pages add up.
#[utoipa::path(
    get, path = "/v1/dead-letters", tag = "dead letters", operation_id = "list_dead_letters",
    params(
        ("policy" = Option<String>, Query, description = "A policy that governed the event."),
        ("reason" = Option<String>, Query, description = "Why it was parked, or the part before the colon.", example = "attempts_exhausted"),
        ("status" = Option<u16>, Query, minimum = 100, maximum = 599, description = "The HTTP status of the last attempt."),
        ("host" = Option<String>, Query, description = "The host of the URL, with or without its port."),
        ("after" = Option<String>, Query, format = DateTime, description = "Parked at this moment or later."),
        ("before" = Option<String>, Query, format = DateTime, description = "Parked before this moment."),
        ("labels" = inline(Option<crate::ops::doc::LabelParameters>), Query, style = Form, explode, description = "Labels of the \
            event, each a parameter of its own: `label.org=ACME`."),
        ("order" = Option<String>, Query, description = "`oldest` (when missing) or `newest` first.", example = "newest"),
        ("group_by" = Option<String>, Query, description = "`reason`, `endpoint` or both, with a comma; excludes `order` and \
            `limit`.", example = "reason,endpoint"),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "Entries of the page; 100 when missing."),
        ("cursor" = Option<String>, Query, description = "As an answer gave it."),
    ),
    responses(
        (status = 200, description = "A page.",
            headers(("Link" = String, description = "The next page, with `rel=\"next\"`; missing on the last one.")),
            body = doc::Listed, examples(
                ("letters" = (value = json!({"dead_letters": [doc::letter()], "unreadable": 0, "next_cursor": null}))),
                ("groups" = (value = json!({"groups": [doc::group()], "read": 12, "next_cursor": null}))))),
        doc::List,
    ),
)]
pub(in crate::ops) async fn list(State(desk): State<DeadDesk>, uri: Uri) -> Response {
    respond(desk.list(&uri).await)
}

/// Show a dead letter
///
/// The body of the event is shown on demand alone, its headers never.
#[utoipa::path(
    get, path = "/v1/dead-letters/{id}", tag = "dead letters", operation_id = "show_dead_letter",
    params(
        ("id" = String, Path, format = "uuid", description = "The event."),
        ("body" = Option<bool>, Query, description = "Whether the body is shown, too."),
    ),
    responses(
        (status = 200, description = "The letter.", body = LetterBody, example = json!(doc::letter_with_body())),
        doc::Show,
    ),
)]
pub(in crate::ops) async fn show(State(desk): State<DeadDesk>, name: PathName, uri: Uri) -> Response {
    let (id, verb) = split(&name);
    match verb {
        None => respond(desk.show(id, &uri).await),
        Some(verb) => LETTERS.refuse(Some(verb)),
    }
}

/// What a reader does with a letter.
pub(super) enum Look {
    /// It goes on with the next one.
    Next,
    /// The page ends behind this letter.
    Last,
    /// The page ends before this letter.
    Before,
}

/// How far a page has come.
pub(super) struct PageEnd {
    pub next: Option<LetterPlace>,
    pub read: u64,
    pub unreadable: u64,
}

impl DeadDesk {
    async fn list(&self, uri: &Uri) -> OpsAnswer {
        let known = [&PARAMETERS[..], &["order", "group_by", "limit", "cursor"]].concat();
        let parameters = Parameters::read(uri, &known, &["label."])?;
        let filter = Filter::of_query(&parameters, invalid)?;
        let after = place(&parameters)?;
        if let Some(by) = parameters.get("group_by") {
            return groups::page(self, uri, &parameters, by, &filter, after).await;
        }
        let order = match parameters.get("order") {
            None | Some("oldest") => LetterOrder::OldestFirst,
            Some("newest") => LetterOrder::NewestFirst,
            Some(_) => return Err(invalid("order", "must be oldest or newest".to_owned())),
        };
        let limit = parameters.page("limit")?;
        // What is not listed need not be read.
        let piece = if filter.is_everything() { limit } else { PIECE };
        let mut dead_letters = Vec::new();
        let end = self.read(order, after, piece, |placed| {
            if filter.wants(&placed.letter) {
                dead_letters.push(LetterBody::of(&placed.letter, false));
            }
            if dead_letters.len() == limit { Look::Last } else { Look::Next }
        });
        let end = end.await?;
        let next_cursor = end.next.map(cursor);
        let next = next_cursor.as_ref().map(|cursor| next_page(uri, cursor));
        Ok(json(&LetterList { dead_letters, unreadable: end.unreadable, next_cursor }, next))
    }

    /// Shows letters to `look` until it or a bound ends the page.
    pub(super) async fn read(
        &self,
        order: LetterOrder,
        mut after: Option<LetterPlace>,
        piece: usize,
        mut look: impl FnMut(&PlacedLetter) -> Look,
    ) -> Result<PageEnd, Box<Problem>> {
        let begun = self.clock.now();
        let (mut read, mut unreadable) = (0_usize, 0);
        loop {
            let limit = ReadLimit { entries: piece.min(READ_AT_MOST - read), bytes: PIECE_BYTES };
            let page = self.parked.page(order, after, limit).await.map_err(|error| store_problem(&error))?;
            unreadable += page.unreadable;
            for placed in &page.letters {
                let looked = look(placed);
                if matches!(looked, Look::Before) {
                    return Ok(PageEnd { next: after, read: read as u64, unreadable });
                }
                read += 1;
                after = Some(placed.place);
                if matches!(looked, Look::Last) {
                    return Ok(PageEnd { next: after, read: read as u64, unreadable });
                }
            }
            after = page.next;
            if after.is_none() || read >= READ_AT_MOST || self.clock.now().since(begun) >= READ_FOR {
                return Ok(PageEnd { next: after, read: read as u64, unreadable });
            }
        }
    }

    async fn show(&self, id: &str, uri: &Uri) -> OpsAnswer {
        let name = letter_id(id)?;
        let parameters = Parameters::read(uri, &["body"], &[])?;
        let with_body = match parameters.get("body") {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(invalid("body", "must be true or false".to_owned())),
        };
        let found = self.parked.find(name).await.map_err(|error| store_problem(&error))?;
        let placed = found.last().ok_or_else(|| no_letter(id))?;
        let tried = self.queue.attempts_of(placed.letter.name()).await;
        Ok(json(&LetterBody::of(&placed.letter, with_body).with_attempts(tried), None))
    }
}

fn place(parameters: &Parameters) -> Result<Option<LetterPlace>, Box<Problem>> {
    let Some(last) = parameters.cursor("cursor")? else { return Ok(None) };
    let number = last.parse().map_err(|_| {
        invalid("cursor", "must be a cursor as an answer or its Link header gave it".to_owned())
    })?;
    Ok(Some(LetterPlace::of_number(number)))
}

pub(super) fn cursor(place: LetterPlace) -> String {
    cursor_after(&place.number().to_string())
}

/// The same request with another cursor.
pub(super) fn next_page(uri: &Uri, cursor: &str) -> String {
    let pairs = uri.query().unwrap_or_default().split('&');
    let mut kept: Vec<&str> = pairs.filter(|pair| !pair.is_empty() && !pair.starts_with("cursor=")).collect();
    let cursor = format!("cursor={cursor}");
    kept.push(&cursor);
    format!("{}?{}", uri.path(), kept.join("&"))
}
