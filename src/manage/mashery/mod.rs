//! Mashery's call limiting through a subset of the V3 management API (contract.md): services, endpoints and methods; packages,
//! plans and what is in them; members, applications and package keys under `/v3/rest`; the token before it.
//!
//! Choices where the contract is open, beyond those it decides itself:
//!
//! - Every change is active when it is answered. Any credentials get a token, and any `Authorization` is let in; with
//!   `manage.require_headers` a request without one gets the gateway's 403 `ERR_403_NOT_AUTHORIZED`.
//! - PUT changes the members that are given and no others (the vendor's page on the resource hierarchy); `null` unsets
//!   one. DELETE answers 200 with an empty body.
//! - Members that are not understood are kept and given back as they are; they have no effect. A password of a member is
//!   passed over. What lies within an object (`endpoints`, `methods`, `plans`, `services`, `applications`, `packageKeys`)
//!   may be given with it, all or nothing; in a change what is named by its id is changed, what is not is created, and what is
//!   not mentioned stays. It is shown where `fields` names it.
//! - `rateLimitPeriod` of a service or plan is `day` unless given, that of a method its service's or plan's. Ceilings of 0 are
//!   refused on services too; `null` is without limit there.
//! - A key needs a `service`, or a `package` and a `plan` of it, and stays with them; given both, the service counts. Its
//!   `apikey` is unique over all services, made up when it is not given, and set once. Without `secret` it has none: tidegate
//!   checks no signatures. `status` is `active` unless given.
//! - An exemption counts, as a ceiling of the key's own does, only when the service or plan allows the override. It frees a
//!   key from the limit of its service or plan; bounds of endpoints and limits of methods go on. A limit that neither key nor
//!   plan names is that of each service.
//! - A service in a plan is in it with all its endpoints, until one of them is put into the plan by itself: from then on
//!   (`onlyListed`) only such ones, also when the last of them is taken out.
//! - Two endpoints cannot have the same alias on the same domain for the same verb, two methods of an endpoint cannot have
//!   the same name: 400 with the property. Other names may be repeated.
//! - What others refer to is not deleted (409): a service, package, plan or application with keys, what is in a plan, a member
//!   with applications. What lies within goes with it.
//!
//! Must not know: how limits are kept, what waits in the queue.
#![doc = include_str!("contract.md")]

mod derive;
mod doc;
mod errors;
mod hears;
mod implies;
mod objects;
mod options;
mod routes;
mod says;
#[cfg(test)]
mod tests;
mod usage;
mod wire;

use std::sync::Arc;

use axum::Router;
use utoipa::openapi::OpenApi;

use crate::clock::Clock;
use crate::delivery::Hears;
use crate::event::PolicyId;
use crate::manage::desk::Desk;
use crate::manage::dialect::{
    Derived, Dialect, Implies, Parts, Says, ShowsUsage, Source, Unreadable, is_uuid,
};
use crate::manage::mashery::objects::catalogue::Catalogue;
use crate::manage::{Dice, Options};
use crate::policy::{Book, Policies};

pub(crate) use options::MasheryOptions;
pub(crate) use routes::router;

/// The name of the origin of this dialect's policies and objects.
pub(crate) const ORIGIN: &str = "mashery";

/// Letters and digits of an `apikey` that is made up, as many as the vendor's have.
const APIKEY_CHARS: usize = 24;

/// Mashery's call limiting, as a dialect.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mashery;

impl Dialect for Mashery {
    fn name(&self) -> &'static str {
        ORIGIN
    }

    fn labels(&self) -> &'static [&'static str] {
        &["api_key", "api_method"]
    }

    fn names(&self, policy: &PolicyId) -> bool {
        policy.as_str().split_once('.').is_some_and(|(id, _)| is_uuid(id))
    }

    fn sources(&self) -> &'static [Source] {
        &[
            Source {
                label: "api_key",
                implied: Some("the place of the call in which its endpoint says that keys stand"),
                header: Some("x-api-key"),
                otherwise: "nowhere: what the endpoint says of calls without a key applies",
            },
            Source {
                label: "api_method",
                implied: Some("the place of the call in which its endpoint says that methods stand"),
                header: None,
                otherwise: "the first segment of the path behind the endpoint's alias that is the name of a method",
            },
        ]
    }

    fn routes(&self, options: &Options, parts: Parts) -> Router {
        let Parts { policies, clock, random } = parts;
        router(MasheryApi::new(policies, options.mashery.clone(), clock, random))
    }

    fn asks_with_post(&self) -> &'static [&'static str] {
        &[routes::token::PATH]
    }

    fn api_doc(&self) -> OpenApi {
        doc::api_doc()
    }

    fn derive(&self, book: &Book) -> Result<Derived, Unreadable> {
        objects::derive_all(book)
    }

    fn implies(&self, _: &Options, book: &Book) -> Result<Option<Implies>, Unreadable> {
        let catalogue = Catalogue::of(book).ok_or_else(objects::unreadable_object)?;
        Ok(implies::implies(&catalogue))
    }

    fn says(&self, _: &Options, _: &Dice) -> Option<Says> {
        Some(Box::new(says::tell))
    }

    fn hears(&self) -> Option<&'static dyn Hears> {
        Some(&Self)
    }

    fn usage(&self, options: &Options) -> Option<ShowsUsage> {
        let shows = ShowsUsage { counts: usage::counts_for_a_key, headers: usage::headers };
        options.mashery.usage_headers.then_some(shows)
    }
}

/// What the routes work on. Cheap to clone.
#[derive(Clone)]
pub(crate) struct MasheryApi {
    desk: Desk,
    options: Arc<MasheryOptions>,
    /// Makes the ids of objects, and keys that are not given.
    dice: Dice,
}

impl MasheryApi {
    /// The routes over these policies, under the dialect's options.
    #[must_use]
    pub(crate) fn new(
        policies: Policies,
        options: MasheryOptions,
        clock: Clock,
        random: fastrand::Rng,
    ) -> Self {
        let desk = Desk::new(&Mashery, policies, clock, options.drain_window);
        Self { desk, options: Arc::new(options), dice: Dice::new(random) }
    }
}
