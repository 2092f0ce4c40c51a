//! Which calls an endpoint gets: its public domains under both schemes, its path alias as a beginning, its verbs
//! (contract.md 7).
//!
//! The alias is a beginning of the path's text, not of its segments: `/v1` takes `/v10` too, unless a longer alias
//! does. A parameter in it, such as `{id}`, stands for any text.

use http::Method as Verb;

use crate::event::CanonicalUrl;
use crate::manage::mashery::objects::record::Endpoint;

impl Endpoint {
    /// The canonical beginnings of its addresses, each once, with `*` for parameters of the alias.
    pub(in crate::manage::mashery) fn prefixes(&self) -> Vec<String> {
        let mut prefixes = Vec::new();
        for domain in &self.public_domains {
            for scheme in ["http", "https"] {
                let text = format!("{scheme}://{}{}", domain.address, self.request_path_alias);
                // Both parts were checked when they were taken, and together they are short enough.
                let prefix = CanonicalUrl::parse(&text).ok().map(|url| with_wildcards(url.as_str()));
                prefixes.extend(prefix.filter(|prefix| !prefixes.contains(prefix)));
            }
        }
        prefixes
    }

    /// How many segments an alias with parameters has; `None` for one without.
    pub(in crate::manage::mashery) fn open_segments(&self) -> Option<usize> {
        let alias = self.canonical_alias();
        let segments = alias.split('/').filter(|segment| !segment.is_empty());
        (with_wildcards(&alias) != alias).then(|| segments.count())
    }

    /// Its alias as it stands in canonical addresses.
    pub(in crate::manage::mashery) fn canonical_alias(&self) -> String {
        let url = CanonicalUrl::parse(&format!("http://h{}", self.request_path_alias));
        url.map(|url| url.as_url().path().to_owned()).unwrap_or_default()
    }

    /// The verbs that it takes; an empty list means all.
    pub(in crate::manage::mashery) fn verbs(&self) -> Vec<Verb> {
        let verbs = self.supported_http_methods.iter();
        verbs.filter_map(|verb| Verb::from_bytes(verb.to_ascii_uppercase().as_bytes()).ok()).collect()
    }

    /// An address of which another endpoint with the same alias would get the same calls: whose they are could not be
    /// told.
    pub(in crate::manage::mashery) fn clash(&self, other: &Self) -> Option<String> {
        let (verbs, others) = (self.verbs(), other.verbs());
        // No verb means all verbs.
        let shared = verbs.is_empty() || others.is_empty() || verbs.iter().any(|verb| others.contains(verb));
        let taken = other.prefixes();
        shared.then(|| self.prefixes().into_iter().find(|prefix| taken.contains(prefix))).flatten()
    }
}

/// A canonical address in which braces and the name between them have become a wildcard.
fn with_wildcards(address: &str) -> String {
    let (mut found, mut rest) = (String::with_capacity(address.len()), address);
    while let Some((before, name)) = rest.split_once("%7B") {
        found.push_str(before);
        match name.split_once("%7D").filter(|(name, _)| !name.contains('/')) {
            Some((_, after)) => {
                found.push('*');
                rest = after;
            }
            None => {
                found.push_str("%7B");
                rest = name;
            }
        }
    }
    found.push_str(rest);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manage::mashery::objects::record::Domain;

    fn endpoint(alias: &str, domains: &[&str], verbs: &[&str]) -> Endpoint {
        Endpoint {
            name: "e".to_owned(),
            request_path_alias: alias.to_owned(),
            public_domains: domains.iter().map(|address| Domain { address: (*address).to_owned() }).collect(),
            supported_http_methods: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
            rate_limit_ceiling: None,
            qps_limit_ceiling: None,
            allow_missing_api_key: None,
            api_key_value_locations: Vec::new(),
            api_key_value_location_key: None,
            api_method_detection_locations: Vec::new(),
            api_method_detection_key: None,
        }
    }

    #[test]
    fn addresses_begin_with_each_domain_under_both_schemes() {
        let prefixes =
            endpoint("/v1/../v2/ü", &["API.example.com", "h:8443", "api.example.com."], &[]).prefixes();
        assert_eq!(
            prefixes,
            [
                "http://api.example.com/v2/%C3%BC",
                "https://api.example.com/v2/%C3%BC",
                "http://h:8443/v2/%C3%BC",
                "https://h:8443/v2/%C3%BC"
            ]
        );
        assert_eq!(endpoint("/v1/../v2/ü", &["h"], &[]).canonical_alias(), "/v2/%C3%BC");
        assert_eq!(endpoint("/", &["h:443"], &[]).prefixes(), ["http://h:443/", "https://h/"]);
    }

    #[test]
    fn parameters_of_an_alias_stand_for_any_text() {
        let with = |alias: &str| endpoint(alias, &["h:443"], &[]);
        assert_eq!(with("/pets/{id}/x{y}").prefixes(), ["http://h:443/pets/*/x*", "https://h/pets/*/x*"]);
        assert_eq!(with("/pets/%7Bid}").prefixes()[1], "https://h/pets/*");
        assert_eq!(with("/{a/b}").prefixes()[1], "https://h/%7Ba/b%7D", "not over a slash");
        assert_eq!((with("/pets/{id}").open_segments(), with("/pets/id").open_segments()), (Some(2), None));
        assert!(with("/pets/{a}").clash(&with("/pets/{b}")).is_some());
    }

    #[test]
    fn verbs_are_read_in_any_case() {
        assert_eq!(
            endpoint("/", &["h"], &["get", "Post", "PATCH"]).verbs(),
            [Verb::GET, Verb::POST, Verb::PATCH]
        );
        assert_eq!(endpoint("/", &["h"], &[]).verbs(), [Verb::GET; 0]);
    }

    #[test]
    fn two_endpoints_clash_where_they_share_address_and_verb() {
        let one = endpoint("/v1", &["a", "b"], &["get"]);
        assert_eq!(one.clash(&endpoint("/v1", &["b"], &[])), Some("http://b/v1".to_owned()));
        assert_eq!(one.clash(&endpoint("/v1", &["B."], &["post", "GET"])), Some("http://b/v1".to_owned()));
        assert_eq!(one.clash(&endpoint("/v%31", &["a:443"], &["get"])), Some("https://a/v1".to_owned()));
        assert_eq!(one.clash(&endpoint("/v1", &["b"], &["post"])), None, "other verbs");
        assert_eq!(one.clash(&endpoint("/v1/", &["b"], &[])), None, "longer");
        assert_eq!(one.clash(&endpoint("/v1", &["c"], &[])), None, "other domain");
    }
}
