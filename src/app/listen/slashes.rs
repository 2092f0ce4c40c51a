//! Repeated slashes in a path count as one: clients put a base path that begins or ends with a slash beside another slash.
//!
//! Must not know: the routes.

use http::Uri;
use http::uri::PathAndQuery;

/// The same address with single slashes in its path; what follows the path is left as it is.
pub(super) fn single(uri: &mut Uri) {
    if !uri.path().contains("//") {
        return;
    }
    let mut path = String::with_capacity(uri.path().len());
    for character in uri.path().chars() {
        if character != '/' || !path.ends_with('/') {
            path.push(character);
        }
    }
    if let Some(query) = uri.query() {
        path = format!("{path}?{query}");
    }
    let mut parts = uri.clone().into_parts();
    // Of a path without some of its slashes neither ever fails; the route of the other one would not be found.
    if let Ok(path) = path.parse::<PathAndQuery>() {
        parts.path_and_query = Some(path);
        if let Ok(single) = Uri::from_parts(parts) {
            *uri = single;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_of_slashes_is_one_and_nothing_else_changes() {
        for (given, meant) in [
            ("//authoring/endpointConfigs", "/authoring/endpointConfigs"),
            ("/authoring//endpointConfigs///x", "/authoring/endpointConfigs/x"),
            ("////", "/"),
            ("/a//?b=//c", "/a/?b=//c"),
            ("http://localhost:7080//a//b", "http://localhost:7080/a/b"),
            ("/a/b/?c//d", "/a/b/?c//d"),
            ("/a%2F%2Fb", "/a%2F%2Fb"),
            ("*", "*"),
        ] {
            let mut uri: Uri = given.parse().expect("a uri");
            single(&mut uri);
            assert_eq!(uri.to_string(), meant, "{given}");
        }
    }
}
