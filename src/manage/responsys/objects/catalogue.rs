//! The functions of the Responsys API that have a limit: their names, where they are called and their default limits.
//! The table is the file `catalogue.tsv` beside this one.
//!
//! Must not know: any account.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::LazyLock;

use http::Method;

use crate::policy::UrlPattern;

/// One function of the API that has a limit.
#[derive(Debug)]
pub(in crate::manage::responsys) struct Api {
    /// The system name, which limits and labels use.
    pub(in crate::manage::responsys) name: &'static str,
    pub(in crate::manage::responsys) verb: &'static str,
    /// `api`, or `haApi` for those that are highly available.
    pub(in crate::manage::responsys) interface: &'static str,
    /// The path below `/rest/<interface>/v1.x/`, with parameters in braces.
    pub(in crate::manage::responsys) resource_path: &'static str,
    /// Requests per minute of an account that has no limit of its own.
    pub(in crate::manage::responsys) default_limit: u32,
    pub(in crate::manage::responsys) description: &'static str,
    /// The member `action` of the query by which it is told from those that share its verb and path.
    pub(in crate::manage::responsys) action: Option<&'static str>,
    /// By which members of the body it is told from those, as the table writes them.
    body: &'static str,
}

static CATALOGUE: LazyLock<Vec<Api>> =
    LazyLock::new(|| include_str!("catalogue.tsv").lines().filter_map(Api::of_line).collect());

/// All functions in the order in which they are listed.
pub(in crate::manage::responsys) fn catalogue() -> &'static [Api] {
    &CATALOGUE
}

/// The function of this system name, compared byte by byte.
pub(in crate::manage::responsys) fn find(name: &str) -> Option<&'static Api> {
    catalogue().iter().find(|api| api.name == name)
}

impl Api {
    /// A line of the table; `None` for a comment.
    fn of_line(line: &'static str) -> Option<Self> {
        if line.starts_with('#') {
            return None;
        }
        let api = Self::read(line);
        // A function that is not listed would not be limited.
        debug_assert!(api.is_some(), "a line of the table of functions does not read");
        api
    }

    fn read(line: &'static str) -> Option<Self> {
        let mut columns = line.split('\t');
        Some(Self {
            name: columns.next()?,
            verb: columns.next()?,
            interface: columns.next()?,
            resource_path: columns.next()?,
            default_limit: columns.next()?.parse().ok()?,
            description: columns.next()?,
            action: columns.next().filter(|action| !action.is_empty()),
            body: columns.next().unwrap_or_default(),
        })
    }

    pub(in crate::manage::responsys) fn method(&self) -> Option<Method> {
        self.verb.parse().ok()
    }

    /// Whether a path with these segments below the version is one of its template.
    pub(in crate::manage::responsys) fn fits(&self, segments: &[&str]) -> bool {
        let mut parts = self.resource_path.split('/').peekable();
        let mut given = segments.iter();
        while let Some(part) = parts.next() {
            match given.next() {
                Some(segment) if part == *segment || is_parameter(part) => {}
                _ => return false,
            }
            if template(part) == ANY_DEPTH && parts.peek().is_none() {
                return true;
            }
        }
        given.next().is_none()
    }

    /// How many characters of its template are literal: the more, the more specific.
    pub(in crate::manage::responsys) fn literals(&self) -> usize {
        self.resource_path.split('/').filter(|part| !is_parameter(part)).map(str::len).sum()
    }

    /// Whether a body with these members is one of its.
    pub(in crate::manage::responsys) fn has_body_of(&self, members: &BTreeSet<Cow<'_, str>>) -> bool {
        let holds = |rule: &str| match rule.strip_prefix('!') {
            Some(absent) => !members.contains(absent),
            None => rule.split('|').any(|member| members.contains(member)),
        };
        !self.body.is_empty() && self.body.split(',').all(holds)
    }

    /// Where it is called, if nothing else is called in the same way: then a call needs no label to be known as its.
    pub(in crate::manage::responsys) fn pattern(&self) -> Option<UrlPattern> {
        // Calls with the same verb, interface and template tell their function by the label `api` alone.
        let is_alone = !catalogue().iter().any(|other| {
            other.name != self.name
                && self.place() == other.place()
                && self.resource_path == other.resource_path
        });
        let segments: Vec<&str> = self.resource_path.split('/').map(template).collect();
        // Any version of the interface: all of them count against the same limit.
        let path = format!("/rest/{}/v1.{{}}/{}", self.interface, segments.join("/"));
        is_alone.then(|| UrlPattern::any_host(&path).ok()).flatten()
    }

    /// Whether some path is one of both.
    pub(in crate::manage::responsys) fn overlaps(&self, other: &Self) -> bool {
        let (mine, others) = (self.resource_path.split('/'), other.resource_path.split('/'));
        self.place() == other.place()
            && mine.clone().count() == others.clone().count()
            && mine.zip(others).all(|(a, b)| a == b || is_parameter(a) || is_parameter(b))
    }

    fn place(&self) -> (&str, &str) {
        (self.verb, self.interface)
    }
}

fn is_parameter(segment: &str) -> bool {
    segment.starts_with('{')
}

/// One or more segments, as a pattern spells them.
const ANY_DEPTH: &str = "{}*";

/// A segment as a pattern spells it. The paths of the content library have segments of their own.
fn template(segment: &str) -> &str {
    match segment {
        "{docPath}" | "{folderPath}" | "{documentPath}" | "{itemPath}" | "{destinationItemPath}" => ANY_DEPTH,
        parameter if is_parameter(parameter) => "{}",
        literal => literal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::PolicyId;
    use crate::policy::testing::url;

    #[test]
    fn the_whole_table_is_read() {
        let lines = include_str!("catalogue.tsv").lines().filter(|line| !line.starts_with('#'));
        assert_eq!(lines.count(), 90);
        assert_eq!(catalogue().len(), 90);
        let names: BTreeSet<&str> = catalogue().iter().map(|api| api.name).collect();
        assert_eq!(names.len(), 90, "each name once");
        for api in catalogue() {
            assert!(PolicyId::parse(&format!("responsys.{}.block", api.name)).is_ok(), "{}", api.name);
            assert!(matches!(api.verb, "GET" | "POST" | "PUT" | "DELETE" | "PATCH"), "{}", api.name);
            assert!(api.method().is_some());
            assert!(matches!(api.interface, "api" | "haApi"), "{}", api.name);
            assert!(!api.resource_path.starts_with('/') && !api.description.is_empty(), "{}", api.name);
            assert!(matches!(api.default_limit, 10 | 100 | 200 | 1000), "{}", api.name);
        }
    }

    #[test]
    fn default_limits_are_those_of_the_contract() {
        let limit = |name: &str| find(name).expect(name).default_limit;
        for (name, expected) in [
            ("login", 10),
            ("retrieveProfileLists", 100),
            ("mergeListRecipients", 1000),
            ("retrieveListRecipients", 100),
            ("HaMergeListRecipients", 1000),
            ("triggerEmailMessage", 200),
            ("triggerCustomEvent", 200),
            ("deleteListRecipients", 200),
            ("retrieveCampaigns", 100),
            ("createFolder", 100),
        ] {
            assert_eq!(limit(name), expected, "{name}");
        }
        assert!(find("mergelistrecipients").is_none(), "names count as they are");
    }

    #[test]
    fn what_is_called_in_one_way_with_others_is_known_by_label_alone() {
        let shared: Vec<&str> =
            catalogue().iter().filter(|api| api.pattern().is_none()).map(|api| api.name).collect();
        let mut expected = vec![
            "mergeListRecipients",
            "deleteMultipleListRecipients",
            "retrieveMultipleListRecipients",
            "mergeProfileExtensionRecipients",
            "deleteMultipleProfileExtensionRecipients",
            "retrieveMultipleProfileExtensionRecipients",
            "mergeTriggerEmail",
            "triggerEmailMessage",
            "mergeTableRecordsWithPk",
            "mergeTableRecords",
        ];
        expected.sort_unstable();
        let mut found = shared;
        found.sort_unstable();
        assert_eq!(found, expected);
    }

    #[test]
    fn paths_are_those_of_the_interface_and_version() {
        let fits = |name: &str, to: &str| find(name).and_then(Api::pattern).expect(name).matches(&url(to));
        let host = "https://rest001.example.org";
        assert!(fits("HaMergeListRecipients", &format!("{host}/rest/haApi/v1.3/lists/L/members")));
        assert!(!fits("HaMergeListRecipients", &format!("{host}/rest/api/v1.3/lists/L/members")));
        assert!(fits("retrieveListRecipients", &format!("{host}/rest/api/v1.1/lists/L/members?qa=e&fs=all")));
        assert!(!fits("retrieveListRecipients", &format!("{host}/rest/api/lists/L/members")));
        assert!(!fits("retrieveListRecipients", &format!("{host}/rest/api/v1.3/lists/L/x/members")));
        assert!(fits("login", "http://10.0.0.1:8080/rest/api/v1.3/auth/token"));
        let document = format!("{host}/rest/api/v1.3/clDocs/contentlibrary/f/d.htm");
        assert!(fits("retrieveContentLibraryDocument", &document));
        assert!(!fits("retrieveContentLibraryDocument", &format!("{host}/rest/api/v1.3/clDocs/")));
    }

    #[test]
    fn one_pair_of_templates_overlaps_without_being_the_same() {
        let mut pairs = Vec::new();
        for (at, one) in catalogue().iter().enumerate() {
            for two in catalogue().iter().skip(at + 1) {
                if one.overlaps(two) && one.resource_path != two.resource_path {
                    pairs.push((one.name, two.name));
                }
            }
        }
        assert_eq!(pairs, [("retrieveListRecipientByRiid", "retrieveListRecipientsCount")]);
    }
}
