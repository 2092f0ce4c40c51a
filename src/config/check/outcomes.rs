//! The rules of `[outcomes]`.

use super::Settings;
use crate::config::OutcomePosts;
use crate::event::CanonicalUrl;

pub(super) fn outcomes(settings: &mut Settings<'_>) -> Option<OutcomePosts> {
    let url = match settings.text("outcomes.url")? {
        text if text.is_empty() => Some(None),
        text => match CanonicalUrl::parse(&text) {
            Ok(url) => Some(Some(url)),
            // The text itself is not shown: it may hold a password.
            Err(error) => {
                let rule =
                    format!("must be empty, or a url such as https://ops.example.org/outcomes: {error}");
                settings.wrong("outcomes.url", rule)
            }
        },
    };
    let pace = settings.number("outcomes.pace", 1..=1_000);
    let batch = settings.number("outcomes.batch", 1..=1_000);
    Some(OutcomePosts { url: url?, pace: u32::try_from(pace?).ok()?, batch: usize::try_from(batch?).ok()? })
}
