//! The stored form of the configs of both APIs: elements of the policy book, each with what the system adds and its
//! authoring state.
//!
//! Must not know: what a config says.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::manage::adobe::api::Collection;
use crate::manage::adobe::life::Life;
use crate::manage::adobe::policies::Names;
use crate::manage::adobe::scope::Scope;
use crate::manage::adobe::stamp::Stamp;
use crate::manage::dialect::Unreadable;
use crate::policy::{Book, Origin};

/// A config with what the system adds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::manage) struct Record<C> {
    pub(in crate::manage) config: C,
    pub(in crate::manage) org_id: String,
    pub(in crate::manage) sandbox_id: String,
    pub(in crate::manage) sandbox_name: String,
    pub(in crate::manage) created: Stamp,
    pub(in crate::manage) modified: Stamp,
    /// Kept after an undeploy. Records that come from books up to format 4 have it under the other name.
    #[serde(alias = "deployed")]
    pub(in crate::manage) last_deployed: Option<Stamp>,
    pub(in crate::manage) life: Life<C>,
    /// The names of its policies where they are not its own.
    #[serde(default, skip_serializing_if = "Names::is_empty")]
    pub(in crate::manage) names: Names,
}

impl<C> Record<C> {
    /// A record of a config that was just made and is not deployed.
    pub(in crate::manage) fn new(config: C, scope: &Scope, stamp: Stamp) -> Self {
        Self {
            config,
            org_id: scope.org.clone(),
            sandbox_id: scope.sandbox.id.clone(),
            sandbox_name: scope.sandbox.name.clone(),
            created: stamp.clone(),
            modified: stamp,
            last_deployed: None,
            life: Life::created(),
            names: Names::new(),
        }
    }
}

fn origin<A: Collection>() -> Origin {
    Origin::new(A::DIALECT.name())
}

/// The config `uid`, if it was written by its dialect.
pub(super) fn read<A: Collection>(uid: &str, value: &Value) -> Found<A> {
    Record::deserialize(value).map_err(|_| Unreadable { object: format!("the stored {} {uid:?}", A::CALLED) })
}

/// A config of one API, as it is found in the book.
pub(in crate::manage) type Found<A> = Result<Record<<A as Collection>::Config>, Unreadable>;

/// All configs of one API as they are stored, the oldest first.
pub(super) fn values<A: Collection>(book: &Book) -> Vec<(&str, &Value)> {
    book.elements(&origin::<A>(), A::KIND)
}

/// All configs of one API, the oldest first; one that cannot be read has its place too.
pub(in crate::manage) fn all<A: Collection>(book: &Book) -> Vec<(&str, Found<A>)> {
    values::<A>(book).into_iter().map(|(uid, value)| (uid, read::<A>(uid, value))).collect()
}

/// One config of any organisation; `None` where there is none.
pub(in crate::manage) fn find<A: Collection>(book: &Book, uid: &str) -> Option<Found<A>> {
    book.element(&origin::<A>(), A::KIND, uid).map(|value| read::<A>(uid, value))
}

/// How many an organisation has, over all sandboxes, without reading the rest of them.
pub(in crate::manage) fn count<A: Collection>(book: &Book, org: &str) -> usize {
    // Without reading whole records, so that one that cannot be read counts too: a bound must not be passed by damage.
    let is_of = |value: &Value| value.get("org_id").and_then(Value::as_str) == Some(org);
    book.elements(&origin::<A>(), A::KIND).into_iter().filter(|(_, value)| is_of(value)).count()
}

/// Adds a config as the newest, or replaces it in its place.
pub(in crate::manage) fn put<A: Collection>(book: &mut Book, uid: &str, record: &Record<A::Config>) {
    // Text, numbers and lists always make a value.
    let value = serde_json::to_value(record).unwrap_or_default();
    debug_assert!(value.is_object(), "a config that is stored can be read again");
    book.put_element(&origin::<A>(), A::KIND, uid, value);
}

/// Takes a config out; nothing happens when it is not there.
pub(in crate::manage) fn remove<A: Collection>(book: &mut Book, uid: &str) {
    book.remove_element(&origin::<A>(), A::KIND, uid);
}
