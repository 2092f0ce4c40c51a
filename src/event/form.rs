//! Forms: pairs such as `a=b&c=d`, as queries of urls and bodies of calls have them.
//!
//! Must not know: what the pairs mean.

use std::borrow::Cow;

/// The pairs of a form in their order, each with its escapes undone.
pub(crate) fn form_pairs(text: &[u8]) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    url::form_urlencoded::parse(text)
}
