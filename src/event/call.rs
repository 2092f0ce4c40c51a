//! A call as far as labels can be read from it.
//!
//! Must not know: which system it is for, where in it labels stand.

use std::fmt;

use http::{HeaderMap, Method};

use crate::event::{CanonicalUrl, Labels};

/// A call that is to be made, with the labels that are known without looking into it. Cheap to copy.
#[derive(Clone, Copy)]
pub(crate) struct Call<'c> {
    /// The verb of the call, in capitals.
    pub method: &'c Method,
    /// Where it goes, in its one form.
    pub url: &'c CanonicalUrl,
    /// The headers that it is sent with.
    pub headers: &'c HeaderMap,
    /// The body as it will be sent; empty where it is not known.
    pub body: &'c [u8],
    /// The labels that the event carries itself.
    pub own: &'c Labels,
    /// The labels that it has where neither the event nor its call names one.
    pub fallback: &'c Labels,
}

/// Bodies and header values stay out of logs: only their sizes are shown.
impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("method", self.method)
            .field("url", self.url)
            .field("headers", &self.headers.len())
            .field("body_bytes", &self.body.len())
            .field("own", self.own)
            .field("fallback", self.fallback)
            .finish()
    }
}
