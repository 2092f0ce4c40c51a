//! One canonical URL for matching, for the address check and for the request line, so that no spelling of
//! an address escapes its limit: WHATWG parsing, then percent-escapes of plain characters undone, the other
//! escapes in capitals, a `%` that begins no escape escaped itself, no trailing dot on the host, no fragment.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use url::{Host, Position, Url};

/// An absolute http(s) URL in its one form. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CanonicalUrl(Arc<Url>);

/// Why a URL is refused at the door.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// The URL is longer than [`CanonicalUrl::MAX_BYTES`].
    #[error("a url has at most {} bytes, this one has {bytes}", CanonicalUrl::MAX_BYTES)]
    TooLong {
        /// Its length as given, or in its one form.
        bytes: usize,
    },
    /// It is not an absolute URL.
    #[error("not an absolute url: {reason}")]
    Malformed {
        /// The reason that the parser gave.
        reason: String,
    },
    /// The scheme is neither http nor https.
    #[error("the scheme must be http or https, not {scheme:?}")]
    Scheme {
        /// The scheme as it was given.
        scheme: String,
    },
    /// User name or password inside the URL.
    #[error("a url must not carry a user name or password; send an Authorization header instead")]
    UserInfo,
}

impl CanonicalUrl {
    /// Longest URL, in bytes, as it is given and in its one form: what was taken once can be read again.
    pub const MAX_BYTES: usize = 2048;

    /// Parses and normalises.
    ///
    /// # Errors
    /// [`UrlError`] names the rule that is broken.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        // Before it is parsed, which costs the more the longer it is.
        if text.len() > Self::MAX_BYTES {
            return Err(UrlError::TooLong { bytes: text.len() });
        }
        let mut url = Url::parse(text).map_err(|error| UrlError::Malformed { reason: error.to_string() })?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(UrlError::Scheme { scheme: url.scheme().to_owned() });
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlError::UserInfo);
        }
        // Never sent: two URLs that differ in it alone are the same call.
        url.set_fragment(None);
        strip_trailing_dot(&mut url)?;
        // Most paths have no escapes, and setting one parses it again.
        if url.path().contains('%') {
            let path = normalise_escapes(url.path());
            url.set_path(&path);
        }
        if let Some(query) = url.query().filter(|query| query.contains('%')) {
            let query = normalise_escapes(query);
            url.set_query(Some(&query));
        }
        // Escapes make a text longer.
        if url.as_str().len() > Self::MAX_BYTES {
            return Err(UrlError::TooLong { bytes: url.as_str().len() });
        }
        Ok(Self(Arc::new(url)))
    }

    /// The whole URL in its one form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The parsed form, for the request.
    #[must_use]
    pub fn as_url(&self) -> &Url {
        &self.0
    }

    /// The path, from its first `/` on.
    #[must_use]
    pub fn path(&self) -> &str {
        self.as_url().path()
    }

    /// The path with the query, if there is one.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        // Never with a fragment.
        &self.0[Position::BeforePath..]
    }

    /// Host and port, `host:443` also where the scheme implies the port.
    #[must_use]
    pub fn host_and_port(&self) -> String {
        let url = self.as_url();
        // Canonical urls have a host and, as http or https, a port.
        debug_assert!(
            url.host_str().is_some_and(|host| !host.is_empty()) && url.port_or_known_default().is_some(),
            "a canonical url without a host or a port"
        );
        format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default())
    }

    /// The address, when the host is one: every spelling of it (`127.1`, `0x7f.1`, `[::1]`) has been read.
    #[must_use]
    pub fn ip_literal(&self) -> Option<IpAddr> {
        match self.0.host()? {
            Host::Domain(_) => None,
            Host::Ipv4(address) => Some(IpAddr::V4(address)),
            Host::Ipv6(address) => Some(IpAddr::V6(address)),
        }
    }

    /// The URL as logs may show it: without its query, which may hold secrets.
    #[must_use]
    pub fn without_query(&self) -> &str {
        let text = self.as_str();
        text.split_once('?').map_or(text, |(head, _)| head)
    }
}

fn strip_trailing_dot(url: &mut Url) -> Result<(), UrlError> {
    let bare = match url.host() {
        Some(Host::Domain(name)) if name.ends_with('.') => name.trim_end_matches('.').to_owned(),
        _ => return Ok(()),
    };
    url.set_host(Some(&bare)).map_err(|error| UrlError::Malformed { reason: error.to_string() })
}

/// Undoes escapes of unreserved characters (RFC 3986 6.2.2) and puts the others in capitals. Dots stay
/// escaped never: the parser has already read `%2e` segments as dots. A `%` without two digits is the character
/// itself and becomes `%25`: left alone it could begin an escape once what follows it has been undone.
fn normalise_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let digits = after
            .get(..2)
            .filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match digits {
            Some(byte) if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') => {
                out.push(char::from(byte));
                rest = after.get(2..).unwrap_or("");
            }
            Some(byte) => {
                out.push_str(&format!("%{byte:02X}"));
                rest = after.get(2..).unwrap_or("");
            }
            None => {
                out.push_str("%25");
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// Without the query: this is what logs show.
impl fmt::Debug for CanonicalUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.without_query())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        CanonicalUrl::parse(text).expect(text).as_str().to_owned()
    }

    #[test]
    fn spellings_of_one_address_become_one() {
        let plain = "https://api.example.org/data/2.5/x";
        for spelling in [
            "HTTPS://API.Example.ORG:443/data/2.5/x",
            "https://api.example.org./data/2.5/x#part",
            "https://api.example.org/data/./2.5/y/../x",
            "https://api.example.org/d%61ta/2%2e5/x",
            "https:\\\\api.example.org\\data/2.5/x",
            "https://ａpi.example.org/data/2.5/x",
        ] {
            assert_eq!(canonical(spelling), plain, "{spelling}");
        }
        assert_eq!(canonical("http://0x7f.1/"), "http://127.0.0.1/");
        assert_eq!(canonical("http://h.org/a%2fb?q=%c3"), "http://h.org/a%2Fb?q=%C3");
    }

    #[test]
    fn a_canonical_url_is_its_own_canonical_form() {
        for text in [
            "http://h.org/%2561",
            "http://h.org/%",
            "http://h.org/%zz?%",
            "http://h.org/%+f",
            "http://h.org/?a=%2e",
            "http://h.org/%%361",
            "http://h.org/%2%35?%%361",
            "http://h.org/a%%32fb",
            "http://h.org/%%32e/x",
        ] {
            let once = canonical(text);
            assert_eq!(canonical(&once), once, "{text}");
        }
    }

    #[test]
    fn escapes_are_undone_once_and_never_make_another() {
        assert_eq!(canonical("http://h.org/%%361dmin?%%361"), "http://h.org/%2561dmin?%2561");
        assert_eq!(canonical("http://h.org/x/%%32e/y"), "http://h.org/x/%252e/y");
        assert_eq!(canonical("http://h.org/100%"), canonical("http://h.org/100%25"));
    }

    #[test]
    fn the_one_form_stays_within_the_bound_too() {
        let escaped = |letters: usize| CanonicalUrl::parse(&format!("http://h/{}", "ü".repeat(letters)));
        let most = escaped(339).expect("within the bound");
        assert_eq!(CanonicalUrl::parse(most.as_str()), Ok(most));
        assert_eq!(escaped(340), Err(UrlError::TooLong { bytes: 2049 }));
    }

    #[test]
    fn refusals_name_the_rule() {
        assert!(matches!(CanonicalUrl::parse("/x"), Err(UrlError::Malformed { .. })));
        assert!(matches!(CanonicalUrl::parse("ftp://h/x"), Err(UrlError::Scheme { .. })));
        assert!(matches!(CanonicalUrl::parse("http://me:pw@h/x"), Err(UrlError::UserInfo)));
        assert!(matches!(CanonicalUrl::parse("http://"), Err(UrlError::Malformed { .. })));
        let long = format!("http://h/{}", "x".repeat(2048));
        assert!(matches!(CanonicalUrl::parse(&long), Err(UrlError::TooLong { bytes: 2057 })));
    }

    #[test]
    fn the_query_stays_out_of_debug_output() {
        let url = CanonicalUrl::parse("https://h.org/a?token=secret").expect("valid");
        assert_eq!(format!("{url:?}"), "https://h.org/a");
    }
}
