//! The calls that are made for the CloudEvents of sources, where these do not say themselves what is to be called.
//!
//! Must not know: where they are configured.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use http::{HeaderMap, Method};

use crate::event::CanonicalUrl;

/// The call for the CloudEvents of a source.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The source, or what it begins with.
    pub source: String,
    /// Whether sources that go on behind it are meant as well.
    pub is_prefix: bool,
    /// Address that is called for each CloudEvent.
    pub url: CanonicalUrl,
    /// Verb of the call, unless the CloudEvent has its own.
    pub method: Method,
    /// Sent with the call, besides those that carry the CloudEvent; none of them is one of those. What of them may be a
    /// credential is marked as sensitive, so that `Debug` does not show it.
    pub headers: HeaderMap,
    /// Labels that the CloudEvent does not give itself.
    pub labels: BTreeMap<String, String>,
}

/// All configured targets, found by the source of a CloudEvent.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Targets {
    exact: HashMap<String, Arc<Target>>,
    /// Those whose sources are beginnings, the longest first: the first that fits is the closest.
    prefixes: Vec<Arc<Target>>,
}

impl Targets {
    /// Of several targets of one source the last counts.
    pub(crate) fn new(targets: impl IntoIterator<Item = Target>) -> Self {
        let mut all = Self::default();
        for target in targets {
            let target = Arc::new(target);
            if target.is_prefix {
                // The last one of a source counts, as in the map of those that are exact.
                all.prefixes.retain(|known| known.source != target.source);
                all.prefixes.push(target);
            } else {
                all.exact.insert(target.source.clone(), target);
            }
        }
        all.prefixes.sort_by_key(|target| std::cmp::Reverse(target.source.len()));
        all
    }

    /// The target of a source: the one that names it, else the one with the longest beginning of it.
    pub(super) fn of(&self, source: &str) -> Option<&Target> {
        let prefix = || self.prefixes.iter().find(|target| source.starts_with(&target.source));
        self.exact.get(source).or_else(prefix).map(|target| &**target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_itself_goes_before_its_beginnings_and_the_longest_of_these_first() {
        let row = |source: &str, is_prefix, path: &str| Target {
            source: source.to_owned(),
            is_prefix,
            url: CanonicalUrl::parse(&format!("http://a.test/{path}")).expect("a url"),
            method: Method::POST,
            headers: HeaderMap::new(),
            labels: BTreeMap::new(),
        };
        let targets = Targets::new([
            row("/shop/", true, "shop"),
            row("/shop/orders", false, "orders"),
            row("/shop/o", true, "o"),
            row("urn:x", false, "x"),
        ]);
        for (source, path) in [
            ("/shop/orders", Some("/orders")),
            ("/shop/orders/1", Some("/o")),
            ("/shop/", Some("/shop")),
            ("/shop", None),
            ("/Shop/orders", None),
            ("urn:x", Some("/x")),
            ("urn:x:1", None),
        ] {
            assert_eq!(targets.of(source).map(|target| target.url.path()), path, "{source}");
        }
        let all = Targets::new([row("", true, "all")]);
        assert!(all.of("anything").is_some() && Targets::default().of("anything").is_none());
    }
}
