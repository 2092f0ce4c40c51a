//! What is set for calls: their deadlines, and how names are resolved.
//!
//! Must not know: what the settings do.

use std::num::NonZeroUsize;

use super::Settings;
use crate::delivery::Deadlines;
use crate::names::NameOptions;

pub(super) fn delivery(settings: &mut Settings<'_>) -> Option<Deadlines> {
    let connect = settings.millis("delivery.connect_timeout_ms", 1..=600_000);
    let head = settings.millis("delivery.head_timeout_ms", 1..=600_000);
    let total = settings.millis("delivery.total_timeout_ms", 1..=600_000);
    // No part of a call can take longer than the whole.
    settings.ordered("delivery.connect_timeout_ms", connect, "delivery.total_timeout_ms", total);
    settings.ordered("delivery.head_timeout_ms", head, "delivery.total_timeout_ms", total);
    Some(Deadlines { connect: connect?, head: head?, total: total? })
}

pub(super) fn names(settings: &mut Settings<'_>) -> Option<NameOptions> {
    let timeout = settings.millis("names.timeout_ms", 1..=60_000);
    let max_questions = settings.number("names.max_questions", 1..=4096);
    let max_ttl = settings.seconds("names.max_ttl_seconds", 1..=86_400);
    Some(NameOptions {
        timeout: timeout?,
        max_questions: NonZeroUsize::new(usize::try_from(max_questions?).ok()?)?,
        max_ttl: max_ttl?,
        ..NameOptions::default()
    })
}
