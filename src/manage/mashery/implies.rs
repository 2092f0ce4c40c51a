//! Which key and method a call has (contract.md 7) when its event does not say so: where the endpoint that it goes to says
//! that they stand.
//!
//! Must not know: what the limits of keys and methods are.

mod spot;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use http::Method as Verb;

use crate::event::Call;
use crate::manage::call::is_label_value;
use crate::manage::dialect::Implies;
use crate::manage::mashery::derive::{API_KEY, API_METHOD};
use crate::manage::mashery::implies::spot::Spot;
use crate::manage::mashery::objects::catalogue::Catalogue;
use crate::manage::mashery::objects::record::Endpoint;
use crate::policy::UrlPattern;

/// The apikey under which calls without a key are counted where they are let through, if there is such a key (contract.md 4, 7).
const NOBODY: &str = "noapikey";
/// What a call has in place of a key where it must have one: no key can be called so, for it has a blank.
const NO_KEY: &str = "no key";
/// What a key is called where its endpoint does not say so.
const KEY_NAME: &str = "api_key";

/// What calls imply while these objects are there; `None` without endpoints, to which nothing else goes.
pub(super) fn implies(catalogue: &Catalogue) -> Option<Implies> {
    if catalogue.endpoints.is_empty() {
        return None;
    }
    let reader = Reader::of(catalogue);
    Some(Arc::new(move |call| reader.labels(call)))
}

/// All endpoints by the beginnings of their addresses.
struct Reader {
    endpoints: Vec<Known>,
    by_prefix: HashMap<String, Vec<usize>>,
    /// The lengths that these beginnings have, the longest first.
    lengths: Vec<usize>,
    /// Those whose alias has parameters, by their addresses.
    open: Vec<(UrlPattern, usize)>,
    /// Whether there is a key for calls without one.
    has_nobody: bool,
}

/// What matters of one endpoint.
struct Known {
    verbs: Vec<Verb>,
    key: Vec<Spot>,
    /// Whether a call without a key is turned away.
    wants_key: bool,
    method: Vec<Spot>,
    methods: BTreeSet<String>,
    /// How many segments of the path its alias is, where that has parameters.
    open_segments: Option<usize>,
}

impl Reader {
    fn of(catalogue: &Catalogue) -> Self {
        let mut by_prefix: HashMap<String, Vec<usize>> = HashMap::new();
        let mut open = Vec::new();
        for (place, endpoint) in catalogue.endpoints.iter().enumerate() {
            for prefix in endpoint.of.prefixes() {
                if prefix.contains('*') {
                    open.extend(UrlPattern::parse(&format!("{prefix}*")).map(|pattern| (pattern, place)));
                } else {
                    by_prefix.entry(prefix).or_default().push(place);
                }
            }
        }
        let lengths: BTreeSet<usize> = by_prefix.keys().map(String::len).collect();
        let endpoints = catalogue.endpoints.iter().map(|endpoint| {
            let methods = catalogue.methods_of(&endpoint.id).map(|method| method.of.name.clone());
            Known::of(&endpoint.of, methods.collect())
        });
        Self {
            endpoints: endpoints.collect(),
            by_prefix,
            lengths: lengths.into_iter().rev().collect(),
            open,
            has_nobody: catalogue.keys.iter().any(|key| key.of.apikey == NOBODY),
        }
    }

    fn labels(&self, call: &Call<'_>) -> Vec<(&'static str, String)> {
        let Some(endpoint) = self.endpoint(call) else { return Vec::new() };
        let mut labels = Vec::new();
        if call.own.get(API_KEY).is_none() {
            labels.extend(self.key(endpoint, call).map(|key| (API_KEY, key)));
        }
        if call.own.get(API_METHOD).is_none() && !endpoint.methods.is_empty() {
            labels.extend(endpoint.method(call).map(|method| (API_METHOD, method)));
        }
        labels
    }

    /// The one with the longest alias, as its policies have it.
    fn endpoint(&self, call: &Call<'_>) -> Option<&Known> {
        let url = call.url.as_str();
        let takes = |place: &usize| {
            let verbs = self.endpoints.get(*place).map(|known| &known.verbs);
            verbs.is_some_and(|verbs| verbs.is_empty() || verbs.contains(call.method))
        };
        let plain = self.lengths.iter().filter_map(|length| {
            let places = self.by_prefix.get(url.get(..*length)?)?;
            Some((*length, *places.iter().find(|place| takes(place))?))
        });
        let open = self.open.iter().filter(|(pattern, place)| takes(place) && pattern.matches(call.url));
        let open = open.map(|(pattern, place)| (pattern.literals(), *place));
        // Beginnings are in ASCII, so that their lengths count characters as the patterns do.
        let best = plain.take(1).chain(open).max_by_key(|(literals, _)| *literals);
        best.and_then(|(_, place)| self.endpoints.get(place))
    }

    fn key(&self, endpoint: &Known, call: &Call<'_>) -> Option<String> {
        if let Some(key) = endpoint.key.iter().find_map(|spot| spot.find(call)) {
            // What cannot be the name of a key is the name of none.
            return Some(if is_label_value(&key) { key.into_owned() } else { NO_KEY.to_owned() });
        }
        if call.fallback.get(API_KEY).is_some() {
            return None;
        }
        match (endpoint.wants_key, self.has_nobody) {
            (true, _) => Some(NO_KEY.to_owned()),
            (false, true) => Some(NOBODY.to_owned()),
            (false, false) => None,
        }
    }
}

impl Known {
    fn of(endpoint: &Endpoint, methods: BTreeSet<String>) -> Self {
        let spots = |locations: &[String], name: Option<&str>, otherwise: &str| -> Vec<Spot> {
            let name = name.filter(|name| !name.trim().is_empty()).unwrap_or(otherwise);
            locations.iter().filter_map(|location| Spot::new(location, name)).collect()
        };
        let Endpoint { api_key_value_locations, api_method_detection_locations, .. } = endpoint;
        let key_name = endpoint.api_key_value_location_key.as_deref();
        Self {
            verbs: endpoint.verbs(),
            key: spots(api_key_value_locations, key_name, KEY_NAME),
            // One that says where its key stands wants one, unless it says otherwise.
            wants_key: endpoint.allow_missing_api_key.map_or(!api_key_value_locations.is_empty(), |may| !may),
            method: spots(
                api_method_detection_locations,
                endpoint.api_method_detection_key.as_deref(),
                API_METHOD,
            ),
            methods,
            open_segments: endpoint.open_segments(),
        }
    }

    /// Only a name of one of its methods: of any other text the path may say more.
    fn method(&self, call: &Call<'_>) -> Option<String> {
        let found = self.method.iter().filter_map(|spot| spot.find(call));
        let mut stated = found.map(std::borrow::Cow::into_owned);
        let is_one = |name: &String| self.methods.contains(name);
        // Behind an alias without parameters the policies of the methods look themselves.
        stated.find(is_one).or_else(|| spot::segments(call).skip(self.open_segments?).find(is_one))
    }
}
