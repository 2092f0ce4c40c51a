//! The eight routes that both APIs have, each once: the order of checks, what is asked of a collection of configs, and the
//! answers. Checks come in this order: headers, the sandbox, the body, its types, then the state of the config.
//!
//! Must not know: what a config says, where it is kept, what a deploy makes active.

use axum::body::Body;
use axum::extract::Path;
use axum::response::IntoResponse;
use http::{HeaderMap, StatusCode};
use serde::Serialize;

use crate::manage::adobe::Authoring;
use crate::manage::adobe::answers::{CanDeploy, Checked, Created, List, One, Updated, json, uri};
use crate::manage::adobe::body::{self, BodyError};
use crate::manage::adobe::envelope::{Answer, Failures, Refusal};
use crate::manage::adobe::routing::{Uid, is_forced};
use crate::manage::adobe::scope::Scope;
use crate::manage::adobe::stamp::Stamp;
use crate::manage::dialect::Unreadable;
use crate::policy::Book;

/// The failures of the operations of one API, by their names.
pub(in crate::manage) trait Operations: Failures + From<BodyError> + Send + Sync {
    /// No such config.
    const NOT_FOUND: Self;
    /// As many configs as there may be.
    const CREATE_LIMIT: Self;
    /// Create failed.
    const CREATE: Self;
    /// Get failed.
    const GET: Self;
    /// Update failed.
    const UPDATE: Self;
    /// Delete failed.
    const DELETE: Self;
    /// Deploy failed.
    const DEPLOY: Self;
    /// Undeploy failed.
    const UNDEPLOY: Self;

    /// What create or update, which fail as `self`, say of faults that are refused.
    fn of_faults(self) -> Self;
}

/// The configs of one API. Changes edit a book that replaces the one in use as a whole or not at all.
pub(in crate::manage) trait Collection: Sync {
    /// Its name in paths.
    const NAME: &'static str;
    /// Why an operation fails.
    type Failure: Operations;
    /// A config as it is sent.
    type Config: Clone + Send + Sync;
    /// A config as it is kept, with its state.
    type Kept: Send + Sync;
    /// What a config means, or its faults.
    type Meaning: Send + Sync;
    /// A config as it is shown.
    type Element<'a>: Serialize;

    /// What the routes work on.
    fn authoring(&self) -> &Authoring;
    /// How many configs an organisation may have.
    fn most(&self) -> usize;

    /// Whether configs may be managed through the sandbox of a request.
    fn admit(&self, scope: Scope) -> Result<Scope, Refusal> {
        Ok(scope)
    }

    /// Reads a config.
    fn read_config(&self, body: &[u8], scope: &Scope) -> Result<Self::Config, BodyError>;
    /// What a config of an organisation means, or its faults.
    fn check(&self, config: &Self::Config, org: &str) -> Self::Meaning;
    /// The validation status.
    fn can_deploy(meaning: &Self::Meaning) -> CanDeploy;
    /// Whether a config has no faults.
    fn is_sound(meaning: &Self::Meaning) -> bool;

    /// A new config.
    fn made(config: Self::Config, scope: &Scope, stamp: Stamp) -> Self::Kept;
    /// How a config is shown by the create answer.
    fn show_created<'a>(uid: &'a str, kept: &'a Self::Kept) -> Self::Element<'a>;
    /// How a config is shown by every other answer.
    fn show<'a>(uid: &'a str, kept: &'a Self::Kept) -> Self::Element<'a>;
    /// Its config and the organisation that it belongs to.
    fn content(kept: &Self::Kept) -> (&Self::Config, &str);
    /// Whether it exists for whoever asks.
    fn is_visible(kept: &Self::Kept, scope: &Scope) -> bool;

    /// All configs, oldest first.
    fn all(book: &Book) -> Vec<(&str, Result<Self::Kept, Unreadable>)>;
    /// One config, whoever it belongs to.
    fn find(book: &Book, uid: &str) -> Option<Result<Self::Kept, Unreadable>>;
    /// How many an organisation has, over all sandboxes.
    fn count(book: &Book, org: &str) -> usize;

    /// Adds a config.
    fn add(&self, book: &mut Book, uid: &str, kept: &Self::Kept) -> Result<(), Self::Failure>;
    /// Replaces what a config says.
    fn update(
        &self,
        book: &mut Book,
        uid: &str,
        kept: Self::Kept,
        edit: (&Self::Config, &Stamp, &Self::Meaning),
    ) -> Result<Self::Kept, Self::Failure>;
    /// Takes a config out; a deployed one only by force.
    fn remove(&self, book: &mut Book, uid: &str, kept: &Self::Kept, force: bool)
    -> Result<(), Self::Failure>;
    /// Makes a config active as it is written; `None` when nothing is to change.
    fn deploy(
        &self,
        book: &mut Book,
        uid: &str,
        kept: Self::Kept,
        stamp: &Stamp,
    ) -> Result<Option<Self::Kept>, Self::Failure>;
    /// Ends what a config makes active.
    fn undeploy(&self, book: &mut Book, uid: &str, kept: Self::Kept) -> Result<(), Self::Failure>;

    /// A deploy is stored.
    fn deployed(uid: &str, kept: &Self::Kept) {
        let _nothing = (uid, kept);
    }
}

/// `POST /list/C`
pub(in crate::manage) async fn list<C: Collection>(of: &C, headers: &HeaderMap, body: Body) -> Answer {
    let scope = scope(of, headers, false)?;
    let refuse = |error| scope.refuse(C::Failure::from(error));
    let body = body::read(body).await.map_err(refuse)?;
    if !body.is_empty() {
        of.authoring().content_type(headers)?;
    }
    let (skip, take) = body::page(&body).map_err(refuse)?;
    let book = of.authoring().policies.book();
    let mut configs = Vec::new();
    for (uid, kept) in C::all(&book) {
        let kept = kept.map_err(|_| scope.refuse(C::Failure::GET))?;
        if C::is_visible(&kept, &scope) {
            configs.push((uid, kept));
        }
    }
    let page = configs.iter().skip(skip).take(take);
    Ok(json(StatusCode::OK, &List { results: page.map(|(uid, kept)| C::show(uid, kept)).collect() }))
}

/// `POST /C`
pub(in crate::manage) async fn create<C: Collection>(of: &C, headers: &HeaderMap, body: Body) -> Answer {
    let scope = scope(of, headers, true)?;
    let config = read_config(of, &scope, body).await?;
    let meaning = of.check(&config, &scope.org);
    let is_refused = of.authoring().options.reject_invalid && !C::is_sound(&meaning);
    let kept = C::made(config, &scope, of.authoring().stamp());
    let uid = of.authoring().new_uid();
    let edit = |book: &mut Book| {
        if C::count(book, &scope.org) >= of.most() {
            return Err(C::Failure::CREATE_LIMIT);
        }
        if is_refused {
            return Err(C::Failure::CREATE.of_faults());
        }
        of.add(book, &uid, &kept)
    };
    of.authoring().change(&scope, C::Failure::CREATE, edit).await?;
    let answer = Created {
        can_deploy: C::can_deploy(&meaning),
        created_element: C::show_created(&uid, &kept),
        uid: &uid,
        uri: uri(C::NAME, &uid),
        res_status: "created",
    };
    Ok(json(StatusCode::OK, &answer))
}

/// `GET /C/{uid}`
pub(in crate::manage) fn read<C: Collection>(of: &C, uid: &Uid, headers: &HeaderMap) -> Answer {
    let scope = scope(of, headers, false)?;
    let book = of.authoring().policies.book();
    let (uid, kept) = find::<C>(&book, uid, &scope, C::Failure::GET).map_err(|f| scope.refuse(f))?;
    Ok(json(StatusCode::OK, &One { result: C::show(uid, &kept) }))
}

/// `PUT /C/{uid}`
pub(in crate::manage) async fn update<C: Collection>(
    of: &C,
    uid: &Uid,
    headers: &HeaderMap,
    body: Body,
) -> Answer {
    let scope = scope(of, headers, true)?;
    let config = read_config(of, &scope, body).await?;
    let meaning = of.check(&config, &scope.org);
    let is_refused = of.authoring().options.reject_invalid && !C::is_sound(&meaning);
    let stamp = of.authoring().stamp();
    let edit = |book: &mut Book| {
        let (uid, kept) = find::<C>(book, uid, &scope, C::Failure::UPDATE)?;
        if is_refused {
            return Err(C::Failure::UPDATE.of_faults());
        }
        Ok((uid, of.update(book, uid, kept, (&config, &stamp, &meaning))?))
    };
    let (uid, kept) = of.authoring().change(&scope, C::Failure::UPDATE, edit).await?;
    let answer = Updated {
        updated_element: C::show(uid, &kept),
        uid,
        uri: uri(C::NAME, uid),
        res_status: "updated",
        can_deploy: C::can_deploy(&meaning),
    };
    Ok(json(StatusCode::OK, &answer))
}

/// `DELETE /C/{uid}`
pub(in crate::manage) async fn delete<C: Collection>(
    of: &C,
    uid: &Uid,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Answer {
    let scope = scope(of, headers, false)?;
    let force = is_forced(query);
    let edit = |book: &mut Book| {
        let (uid, kept) = find::<C>(book, uid, &scope, C::Failure::DELETE)?;
        of.remove(book, uid, &kept, force)
    };
    of.authoring().change(&scope, C::Failure::DELETE, edit).await?;
    Ok(json(StatusCode::OK, &serde_json::Map::new()))
}

/// `GET` and `POST /C/{uid}/canDeploy`
pub(in crate::manage) fn may_deploy<C: Collection>(of: &C, uid: &Uid, headers: &HeaderMap) -> Answer {
    let scope = scope(of, headers, false)?;
    let book = of.authoring().policies.book();
    let (_, kept) = find::<C>(&book, uid, &scope, C::Failure::GET).map_err(|f| scope.refuse(f))?;
    let (config, org) = C::content(&kept);
    Ok(json(StatusCode::OK, &Checked { can_deploy: C::can_deploy(&of.check(config, org)) }))
}

/// `POST /C/{uid}/deploy`
pub(in crate::manage) async fn deploy<C: Collection>(of: &C, uid: &Uid, headers: &HeaderMap) -> Answer {
    let scope = scope(of, headers, false)?;
    let stamp = of.authoring().stamp();
    let edit = |book: &mut Book| {
        let (uid, kept) = find::<C>(book, uid, &scope, C::Failure::DEPLOY)?;
        Ok(of.deploy(book, uid, kept, &stamp)?.map(|kept| (uid, kept)))
    };
    if let Some((uid, kept)) = of.authoring().change(&scope, C::Failure::DEPLOY, edit).await? {
        C::deployed(uid, &kept);
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /C/{uid}/undeploy`
pub(in crate::manage) async fn undeploy<C: Collection>(of: &C, uid: &Uid, headers: &HeaderMap) -> Answer {
    let scope = scope(of, headers, false)?;
    let edit = |book: &mut Book| {
        let (uid, kept) = find::<C>(book, uid, &scope, C::Failure::UNDEPLOY)?;
        of.undeploy(book, uid, kept)
    };
    of.authoring().change(&scope, C::Failure::UNDEPLOY, edit).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn scope<C: Collection>(of: &C, headers: &HeaderMap, with_body: bool) -> Result<Scope, Refusal> {
    of.admit(of.authoring().scope(headers, with_body)?)
}

async fn read_config<C: Collection>(of: &C, scope: &Scope, body: Body) -> Result<C::Config, Refusal> {
    let refuse = |error| scope.refuse(C::Failure::from(error));
    let body = body::read(body).await.map_err(refuse)?;
    of.read_config(&body, scope).map_err(refuse)
}

/// A config that exists for whoever asks; another one is not found.
fn find<'u, C: Collection>(
    book: &Book,
    uid: &'u Uid,
    scope: &Scope,
    unreadable: C::Failure,
) -> Result<(&'u str, C::Kept), C::Failure> {
    let Ok(Path(uid)) = uid else { return Err(C::Failure::NOT_FOUND) };
    let kept = C::find(book, uid).ok_or(C::Failure::NOT_FOUND)?.map_err(|_| unreadable)?;
    if C::is_visible(&kept, scope) { Ok((uid, kept)) } else { Err(C::Failure::NOT_FOUND) }
}
