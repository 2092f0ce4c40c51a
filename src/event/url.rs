//! A URL as it is called, and its one canonical form by which it is matched.
//!
//! What is called is the URL as the WHATWG parser serialises it: no escape is undone or recased. What that parser would
//! repair in silence is [refused at the doors](CanonicalUrl::handed_in), since the endpoint that its author meant is not
//! certain then.
//!
//! Matching and the address check go by one form, so that no spelling of an address escapes its limit: percent-escapes
//! of plain characters undone, the other escapes in capitals, a `%` that begins no escape escaped itself, no trailing dot
//! on the host, no fragment.

mod repairs;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::Uri;
use url::{Host, Position, Url};

/// An absolute http(s) URL. Cheap to clone. Two are equal when they are matched and called alike.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CanonicalUrl {
    /// By which it is matched.
    key: Arc<Url>,
    /// How it is called, where that differs.
    called: Option<Arc<Url>>,
}

/// Why a URL is refused at the door.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// The URL is longer than [`CanonicalUrl::MAX_BYTES`].
    #[error("a url has at most {} bytes, this one has {bytes}", CanonicalUrl::MAX_BYTES)]
    TooLong {
        /// Its length as given, or in one of its forms.
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
    /// A parser of URLs would read it in another way than it is written.
    #[error("{rule}: {way_out}")]
    Ambiguous {
        /// What a URL must not have.
        rule: &'static str,
        /// How to write what was meant.
        way_out: &'static str,
    },
}

impl CanonicalUrl {
    /// Longest URL, in bytes, as it is given and in each of its forms: what was taken once can be read again.
    pub const MAX_BYTES: usize = 2048;

    /// Parses the URL of a call that is to be made, as it was handed in.
    ///
    /// # Errors
    /// [`UrlError`] names the rule that is broken: beside those of [`CanonicalUrl::parse`] that nothing in it has to be
    /// repaired, and that a request can be made for it.
    pub fn handed_in(text: &str) -> Result<Self, UrlError> {
        let url = Self::parse(text)?;
        repairs::refuse(text, url.called())?;
        // The two libraries differ in what they let through.
        let uri = url.called().as_str().parse::<Uri>();
        uri.map_err(|error| UrlError::Malformed { reason: error.to_string() })?;
        Ok(url)
    }

    /// Parses and normalises, and repairs what can be: for patterns, settings, and what was taken before.
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
        let has_dot = matches!(url.host(), Some(Host::Domain(name)) if name.ends_with('.'));
        // Most URLs are called as they are matched.
        let called = (has_dot || url.as_str().contains('%')).then(|| url.clone());
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
        let called = called.filter(|called| *called != url);
        // Escapes make a text longer.
        let bytes = called.iter().map(|called| called.as_str().len()).chain([url.as_str().len()]).max();
        if let Some(bytes) = bytes.filter(|bytes| *bytes > Self::MAX_BYTES) {
            return Err(UrlError::TooLong { bytes });
        }
        Ok(Self { key: Arc::new(url), called: called.map(Arc::new) })
    }

    /// The whole URL in its canonical form, by which it is matched.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.key.as_str()
    }

    /// The canonical form in its parts.
    #[must_use]
    pub fn as_url(&self) -> &Url {
        &self.key
    }

    /// The URL of the request, which is also what is kept: parsing it gives the same again.
    #[must_use]
    pub fn called(&self) -> &Url {
        self.called.as_ref().unwrap_or(&self.key)
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
        &self.key[Position::BeforePath..]
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
        match self.key.host()? {
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
