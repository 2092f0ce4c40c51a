//! The eight routes that both APIs have, each once: the order of checks, what becomes of the config, and the answers. Checks
//! come in this order: headers, the sandbox, the body, its types, then the state of the config.
//!
//! Must not know: what a config says, which policies follow from it.

use axum::body::Body;
use axum::extract::Path;
use axum::response::IntoResponse;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::manage::adobe::Authoring;
use crate::manage::adobe::answers::{CanDeploy, Checked, Created, List, One, Updated, json, uri};
use crate::manage::adobe::body::{self, BodyError};
use crate::manage::adobe::envelope::{Answer, Facts, Refusal};
use crate::manage::adobe::errors::{Failure, Failures};
use crate::manage::adobe::objects::{self, Found, Record};
use crate::manage::adobe::policies::{self, Parts};
use crate::manage::adobe::routing::{InPath, Uid, is_forced};
use crate::manage::adobe::scope::Scope;
use crate::manage::desk::Effect;
use crate::manage::dialect::{Dialect, Unreadable};
use crate::policy::Book;

/// The configs of one API, and where it goes its own way.
pub(in crate::manage) trait Collection: Sync + Sized {
    /// The name of the collection in paths.
    const NAME: &'static str;
    /// The dialect whose objects and policies these are.
    const DIALECT: &'static dyn Dialect;
    /// The kind of its configs among the elements of the policy book.
    const KIND: &'static str;
    /// What one of its configs is called in the log.
    const CALLED: &'static str;
    /// The failures that this API alone has.
    type Own: Failures;
    /// A config as it is sent, and as it is stored.
    type Config: Clone + Serialize + DeserializeOwned + Send + Sync;
    /// What a config means, or its faults.
    type Meaning: Send + Sync;
    /// A config as it is shown, with what the system adds.
    type Element<'a>: Serialize;

    /// The parts that the routes of both APIs work on.
    fn authoring(&self) -> &Authoring;
    /// How many configs an organisation may have.
    fn most(&self) -> usize;

    /// Whether configs may be managed through the sandbox of a request.
    fn admit(&self, scope: Scope) -> Result<Scope, Refusal> {
        Ok(scope)
    }

    /// Reads a config from a body for the organisation of a request.
    fn read_config(&self, body: &[u8], scope: &Scope) -> Result<Self::Config, BodyError>;
    /// What a config of an organisation means, or its faults.
    fn check(&self, config: &Self::Config, org: &str) -> Self::Meaning;
    /// The validation status, with all faults and warnings.
    fn can_deploy(meaning: &Self::Meaning) -> CanDeploy;
    /// Whether a config has no faults, so that it can be deployed.
    fn is_sound(meaning: &Self::Meaning) -> bool;

    /// How a config is shown by the create answer.
    fn show_created<'a>(uid: &'a str, record: &'a Record<Self::Config>) -> Self::Element<'a>;
    /// How a config is shown by every other answer.
    fn show<'a>(uid: &'a str, record: &'a Record<Self::Config>) -> Self::Element<'a>;
    /// Whether a config exists for the organisation and sandbox of a request.
    fn is_visible(record: &Record<Self::Config>, scope: &Scope) -> bool;

    /// What becomes active with the update of a deployed config; `None`: what is active stays so.
    fn active_at_once(config: &Self::Config, meaning: &Self::Meaning) -> Option<Self::Config>;
    /// Whether the state of a config allows an update.
    fn may_update(book: &Book, uid: &str, record: &Record<Self::Config>) -> Result<(), Failure<Self::Own>> {
        let _any = (book, uid, record);
        Ok(())
    }
    /// What a deploy makes active; `None` when nothing is to change.
    fn deployable(&self, record: &Record<Self::Config>) -> Result<Option<Self::Config>, Failure<Self::Own>>;
    /// What the undeploy of a config comes to that is not deployed.
    fn undeploy_idle() -> Result<(), Failure<Self::Own>>;

    /// The policies that a config amounts to: active where it is deployed, idle otherwise.
    fn wanted(uid: &str, found: &Found<Self>) -> Result<Parts, Unreadable>;

    /// Is called once a deploy is stored and active, for the log.
    fn deployed(uid: &str, record: &Record<Self::Config>) {
        let _nothing = (uid, record);
    }
}

/// Why an operation of an API fails.
type FailureOf<C> = Failure<<C as Collection>::Own>;

/// `POST /list/C`: the configs that the request may see, a page of them.
pub(in crate::manage) async fn list<C: Collection>(of: &C, headers: &HeaderMap, body: Body) -> Answer {
    let scope = scope(of, headers, false)?;
    let refuse = |error| scope.refuse(FailureOf::<C>::from(error));
    let body = body::read(body).await.map_err(refuse)?;
    // A list without a body is asked for everything, and then needs no content type.
    if !body.is_empty() {
        of.authoring().gateway.content_type(headers)?;
    }
    let (skip, take) = body::page(&body).map_err(refuse)?;
    let book = of.authoring().desk.book();
    let mut configs = Vec::new();
    for (uid, record) in objects::all::<C>(&book) {
        // A page without it would look as if the config were gone.
        let record = record.map_err(|_| scope.refuse(FailureOf::<C>::Get))?;
        if C::is_visible(&record, &scope) {
            configs.push((uid, record));
        }
    }
    let page = configs.iter().skip(skip).take(take);
    Ok(json(StatusCode::OK, &List { results: page.map(|(uid, record)| C::show(uid, record)).collect() }))
}

/// `POST /C`: saves a new config, also one with faults unless they are refused.
pub(in crate::manage) async fn create<C: Collection>(of: &C, headers: &HeaderMap, body: Body) -> Answer {
    let scope = scope(of, headers, true)?;
    let config = read_config(of, &scope, body).await?;
    let meaning = of.check(&config, &scope.org);
    let is_refused = of.authoring().options.reject_invalid && !C::is_sound(&meaning);
    let record = Record::new(config, &scope, of.authoring().stamp());
    // Made before the edit, which may run several times: each run makes the same config.
    let uid = of.authoring().new_uid();
    let edit = |book: &mut Book| {
        if objects::count::<C>(book, &scope.org) >= of.most() {
            return Err(FailureOf::<C>::CreateLimit.into());
        }
        if is_refused {
            let facts = Facts::from(FailureOf::<C>::CreateFaults);
            return Err(facts.because_of(C::can_deploy(&meaning)));
        }
        // Two random ids are never the same in practice, but the edit would replace somebody's config.
        if objects::find::<C>(book, &uid).is_some() {
            return Err(FailureOf::<C>::Create.into());
        }
        objects::put::<C>(book, &uid, &record);
        // A new config has no effect before its deploy: it is taken also while another one cannot be read.
        Ok(((), Effect::Idle))
    };
    of.authoring().change(&scope, FailureOf::<C>::Create, edit).await?;
    let answer = Created {
        can_deploy: C::can_deploy(&meaning),
        created_element: C::show_created(&uid, &record),
        uid: &uid,
        uri: uri(C::NAME, &uid),
        res_status: "created",
    };
    Ok(json(StatusCode::OK, &answer))
}

/// `GET /C/{uid}`: shows one config with its state.
pub(in crate::manage) fn read<C: Collection>(of: &C, uid: &Uid, headers: &HeaderMap) -> Answer {
    let scope = scope(of, headers, false)?;
    let book = of.authoring().desk.book();
    let (uid, record) = find::<C>(&book, uid, &scope, FailureOf::<C>::Get).map_err(|f| scope.refuse(f))?;
    Ok(json(StatusCode::OK, &One { result: C::show(uid, &record) }))
}

/// `PUT /C/{uid}`: saves other values, which may become active at once.
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
        let (uid, record) = find::<C>(book, uid, &scope, FailureOf::<C>::Update)?;
        // Only once the config is found: to others it does not exist, also when their body has faults.
        if is_refused {
            let facts = Facts::from(FailureOf::<C>::UpdateFaults);
            return Err(facts.because_of(C::can_deploy(&meaning)));
        }
        C::may_update(book, uid, &record)?;
        // Only of a deployed config: of an idle one nothing is active.
        let at_once = C::active_at_once(&config, &meaning).filter(|_| record.life.is_deployed());
        let effect = if at_once.is_some() { Effect::Active } else { Effect::Idle };
        let mut record = Record { config: config.clone(), modified: stamp.clone(), ..record };
        record.life.update(at_once);
        objects::put::<C>(book, uid, &record);
        Ok(((uid, record), effect))
    };
    let (uid, record) = of.authoring().change(&scope, FailureOf::<C>::Update, edit).await?;
    let answer = Updated {
        updated_element: C::show(uid, &record),
        uid,
        uri: uri(C::NAME, uid),
        res_status: "updated",
        can_deploy: C::can_deploy(&meaning),
    };
    Ok(json(StatusCode::OK, &answer))
}

/// `DELETE /C/{uid}`: ends a config; a deployed one only by force.
pub(in crate::manage) async fn delete<C: Collection>(
    of: &C,
    uid: &Uid,
    query: Option<&str>,
    headers: &HeaderMap,
) -> Answer {
    let scope = scope(of, headers, false)?;
    let force = is_forced(query);
    let edit = |book: &mut Book| {
        let (uid, record) = find::<C>(book, uid, &scope, FailureOf::<C>::Delete)?;
        let is_deployed = record.life.is_deployed();
        if is_deployed && !force {
            return Err(FailureOf::<C>::DeleteForbidden.into());
        }
        objects::remove::<C>(book, uid);
        // An idle config can be deleted also while another one cannot be read: that may be the way out.
        Ok(((), if is_deployed { Effect::Active } else { Effect::Idle }))
    };
    of.authoring().change(&scope, FailureOf::<C>::Delete, edit).await?;
    Ok(json(StatusCode::OK, &serde_json::Map::new()))
}

/// `GET` and `POST /C/{uid}/canDeploy`: checks a config as it is saved.
pub(in crate::manage) fn may_deploy<C: Collection>(of: &C, uid: &Uid, headers: &HeaderMap) -> Answer {
    let scope = scope(of, headers, false)?;
    let book = of.authoring().desk.book();
    let (_, record) = find::<C>(&book, uid, &scope, FailureOf::<C>::Get).map_err(|f| scope.refuse(f))?;
    let meaning = of.check(&record.config, &record.org_id);
    Ok(json(StatusCode::OK, &Checked { can_deploy: C::can_deploy(&meaning) }))
}

/// `POST /C/{uid}/deploy`: makes active what is saved.
pub(in crate::manage) async fn deploy<C: Collection>(of: &C, uid: &Uid, headers: &HeaderMap) -> Answer {
    let scope = scope(of, headers, false)?;
    let stamp = of.authoring().stamp();
    // Made before the edit, which may run several times.
    let spare = of.authoring().new_uid();
    let edit = |book: &mut Book| {
        let (uid, mut record) = find::<C>(book, uid, &scope, FailureOf::<C>::Deploy)?;
        // Deployed as it is written: its time of the last deploy stays too.
        let Some(config) = of.deployable(&record)? else { return Ok((None, Effect::Idle)) };
        record.life.deploy(config);
        policies::name::<C>(book, uid, &spare, &mut record).map_err(|_| FailureOf::<C>::Deploy)?;
        record.last_deployed = Some(stamp.clone());
        objects::put::<C>(book, uid, &record);
        Ok((Some((uid, record)), Effect::Active))
    };
    if let Some((uid, record)) = of.authoring().change(&scope, FailureOf::<C>::Deploy, edit).await? {
        C::deployed(uid, &record);
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /C/{uid}/undeploy`: ends what is active and keeps the config.
pub(in crate::manage) async fn undeploy<C: Collection>(of: &C, uid: &Uid, headers: &HeaderMap) -> Answer {
    let scope = scope(of, headers, false)?;
    let edit = |book: &mut Book| {
        let (uid, mut record) = find::<C>(book, uid, &scope, FailureOf::<C>::Undeploy)?;
        if !record.life.undeploy() {
            C::undeploy_idle()?;
            return Ok(((), Effect::Idle));
        }
        objects::put::<C>(book, uid, &record);
        Ok(((), Effect::Active))
    };
    of.authoring().change(&scope, FailureOf::<C>::Undeploy, edit).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn scope<C: Collection>(of: &C, headers: &HeaderMap, with_body: bool) -> Result<Scope, Refusal> {
    of.admit(of.authoring().gateway.scope(headers, with_body)?)
}

async fn read_config<C: Collection>(of: &C, scope: &Scope, body: Body) -> Result<C::Config, Refusal> {
    let refuse = |error| scope.refuse(FailureOf::<C>::from(error));
    let body = body::read(body).await.map_err(refuse)?;
    of.read_config(&body, scope).map_err(refuse)
}

/// A config that exists for the organisation and sandbox of a request; another one is not found.
fn find<'u, C: Collection>(
    book: &Book,
    uid: &'u Uid,
    scope: &Scope,
    unreadable: FailureOf<C>,
) -> Result<(&'u str, Record<C::Config>), FailureOf<C>> {
    let Ok(Path(InPath { uid })) = uid else { return Err(Failure::NotFound) };
    // An unreadable config is refused before it is known whose it is: its owner stands in what cannot be read.
    let record = objects::find::<C>(book, uid).ok_or(Failure::NotFound)?.map_err(|_| unreadable)?;
    if C::is_visible(&record, scope) { Ok((uid, record)) } else { Err(Failure::NotFound) }
}
