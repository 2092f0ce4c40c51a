//! What a dialect is to the rest of the program: one type that answers for its routes, its policies and its words.
//!
//! Must not know: any one dialect.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::HeaderMap;
use utoipa::openapi::OpenApi;

use crate::clock::{Clock, Timestamp};
use crate::delivery::Hears;
use crate::event::{Call, PolicyId};
use crate::manage::{Dice, Options};
use crate::policy::{Book, Origin, Policies, Spec, SyncReport, Wanted};
use crate::problem::{ForeignRefusal, Problem, RefusedCall, codes};

/// One management dialect: the API of one system whose limits tidegate keeps.
///
/// What it answers depends on the options and the policy book that it is handed, never on a state of its own.
pub(crate) trait Dialect: Sync {
    /// The name, which is also that of the origin of its policies and objects in the policy book.
    fn name(&self) -> &'static str;

    /// The labels of events that its policies look at.
    fn labels(&self) -> &'static [&'static str];

    /// Whether it gives policies names of this form. Of several dialects the first in the list has such a name.
    fn names(&self, policy: &PolicyId) -> bool;

    /// Where its labels come from, in the order of [`Dialect::labels`].
    fn sources(&self) -> &'static [Source];

    /// The labels that a request to hand in events carries for all of them: by default those of the headers that
    /// [`Dialect::sources`] names.
    ///
    /// # Errors
    /// A problem for a header that two readers could understand differently: no event must get past its limit by that.
    fn carried(&self, options: &Options, headers: &HeaderMap) -> Result<Carried, Box<Problem>> {
        let _nothing = options;
        carried_by_headers(self.sources(), headers)
    }

    /// The routes of its management API.
    fn routes(&self, options: &Options, parts: Parts) -> Router;

    /// Ends of paths to which `POST` only asks for something and changes nothing.
    fn asks_with_post(&self) -> &'static [&'static str] {
        &[]
    }

    /// Its part of the API description, with all its routes.
    fn api_doc(&self) -> OpenApi;

    /// The policies that its objects in the book amount to; of equals that compete the earlier one applies.
    ///
    /// # Errors
    /// [`Unreadable`] names an object that this version cannot read or that means nothing any more.
    fn derive(&self, book: &Book) -> Result<Derived, Unreadable>;

    /// How the labels are found that a call implies when its event carries none of them, by the objects in the book. `None`
    /// when nothing of this dialect depends on calls, so that none is looked at. Asked once for each state of the book.
    ///
    /// # Errors
    /// [`Unreadable`] names an object that this version cannot read; calls are looked at as before then.
    fn implies(&self, options: &Options, book: &Book) -> Result<Option<Implies>, Unreadable> {
        let _nothing = (options, book);
        Ok(None)
    }

    /// How it words the refusal of a call over one of its limits; `None` where its limits only make calls wait.
    fn says(&self, options: &Options, dice: &Dice) -> Option<Says> {
        let _nothing = (options, dice);
        None
    }

    /// How its endpoints say that they are busy; `None` where they have no words of their own for that.
    fn hears(&self) -> Option<&'static dyn Hears> {
        None
    }

    /// The headers that tell callers how far its limits are used; `None` when there are none or they are switched off.
    fn usage(&self, options: &Options) -> Option<ShowsUsage> {
        let _nothing = options;
        None
    }

    /// The setting of the configuration file that lists objects of this dialect, as `section.key`.
    fn listed_in(&self) -> Option<&'static str> {
        None
    }

    /// The objects that the configuration file lists, checked; `None` where it can list none.
    ///
    /// # Errors
    /// All that is wrong with them, in words that begin with the setting.
    fn listed(&self, options: &Options) -> Result<Option<Listed>, String> {
        let _nothing = options;
        Ok(None)
    }
}

/// Where a label of a dialect comes from, when the event does not carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Source {
    /// The name of the label.
    pub label: &'static str,
    /// What of its call implies it, as a clause for people.
    pub implied: Option<&'static str>,
    /// The header of `POST /v1/events` that is this label of all events of the request.
    pub header: Option<&'static str>,
    /// Where it comes from at last, as a clause for people.
    pub otherwise: &'static str,
}

/// Labels that are carried beside events, with their values.
pub(crate) type Carried = Vec<(&'static str, String)>;

/// The labels of the headers that these sources name; a blank header counts as none.
pub(super) fn carried_by_headers(sources: &[Source], headers: &HeaderMap) -> Result<Carried, Box<Problem>> {
    let mut carried = Vec::new();
    for Source { label, header, .. } in sources {
        let Some(header) = header else { continue };
        let mut values = headers.get_all(*header).iter();
        let value = match (values.next(), values.next()) {
            (None, _) => continue,
            (Some(value), None) => value.to_str().ok().map(str::trim),
            (Some(_), Some(_)) => None,
        };
        match value {
            Some("") => {}
            Some(value) => carried.push((*label, value.to_owned())),
            None => {
                let detail = format!(
                    "the header {header} must be given once, as visible ASCII: it is the label {label} of all events \
                     of the request"
                );
                return Err(Box::new(Problem::of(codes::INVALID_HEADER, detail)));
            }
        }
    }
    Ok(carried)
}

/// What is wanted of policies, with their names.
pub(crate) type Derived = Vec<(PolicyId, Wanted)>;

/// Policies that are all to be active.
pub(super) fn all_active(policies: impl IntoIterator<Item = (PolicyId, Spec)>) -> Derived {
    policies.into_iter().map(|(id, spec)| (id, spec.into())).collect()
}

/// The labels of a dialect that a call implies, without those that its event carries itself ([`Call::own`]).
///
/// It is called for each event: what is costly, such as reading the body, comes after what tells that the call is none of
/// this dialect's. Where it is not certain which of several labels a call has, the one with the tightest limit is right.
pub(crate) type Implies = Arc<dyn Fn(&Call<'_>) -> Vec<(&'static str, String)> + Send + Sync>;

/// Words the refusal of one call; `None` for a code that the dialect does not know.
pub(crate) type Says = Box<dyn Fn(&RefusedCall<'_>) -> Option<ForeignRefusal> + Send + Sync>;

/// What the routes of a dialect work on.
pub(crate) struct Parts {
    /// The policies, through a handle with the bounds and the patience of requests.
    pub policies: Policies,
    /// The clock for drains and for the times that answers show.
    pub clock: Clock,
    /// The generator of ids; a test hands in one with a known seed.
    pub random: fastrand::Rng,
}

/// A stored object that this version cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{object} cannot be read")]
pub(crate) struct Unreadable {
    /// Which one, such as `the stored account "acme"`.
    pub object: String,
}

/// Objects that the configuration file lists.
pub(crate) struct Listed {
    /// The setting that lists them, as `section.key`.
    pub setting: &'static str,
    /// Puts them into the book in place of those that the file listed before, and makes what follows from them active. An
    /// error says which one cannot be had and why; the book must not be used then.
    pub put: PutListed,
}

/// Puts listed objects into the book: at a time, with a drain window for what is gone.
pub(crate) type PutListed =
    Box<dyn Fn(&mut Book, Timestamp, Duration) -> Result<SyncReport, String> + Send + Sync>;

/// How a dialect shows the use of its limits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShowsUsage {
    /// Whether a policy of this origin and name is the one whose counters are shown.
    pub counts: fn(&Origin, &PolicyId) -> bool,
    /// The headers for that use, as its callers know them.
    pub headers: fn(&Usage) -> HeaderMap,
}

/// What is known of the use of a policy's limits; what has no limit is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Usage {
    /// Of the limit per sliding window; `None` when there is none.
    pub window: Option<Used>,
    /// Of the limit per period; `None` when there is none.
    pub quota: Option<Used>,
    /// When the period of the quota ends; `None` when there is none.
    pub quota_resets_at: Option<Timestamp>,
}

/// How much of one limit is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Used {
    /// Calls that are allowed in its window or period.
    pub allotted: u64,
    /// Calls that were made in the present window or period.
    pub current: u64,
}

/// Whether a text is a UUID in its usual form.
pub(super) fn is_uuid(text: &str) -> bool {
    let is_dash = |at: usize| matches!(at, 8 | 13 | 18 | 23);
    // By hand, because a parser of UUIDs would take other spellings of the same id too.
    let fits = |(at, c): (usize, u8)| if is_dash(at) { c == b'-' } else { c.is_ascii_hexdigit() };
    text.len() == 36 && text.bytes().enumerate().all(fits)
}
