//! The rules of `[manage]`, and of `[metrics]`, whose bound is of the same kind. What `[manage]` says to the dialects
//! is read with their sections.

use std::num::NonZeroUsize;

use crate::config::check::Settings;
use crate::config::layers::ConfigBlock;
use crate::config::{Manage, Metrics};
use crate::policy::Bounds;

/// The highest bound on policies: more of them take more memory and time than a change should.
const MAX_POLICIES: u64 = 100_000;

/// The file has no more blocks than there may be policies; the place of the problem is that of the first block beyond.
pub(super) fn policies_of_the_file(
    settings: &mut Settings<'_>,
    blocks: &[ConfigBlock],
    manage: Option<&Manage>,
) {
    let Some(Manage { bounds, .. }) = manage else { return };
    let bounds = [
        ("manage.max_policies_per_dialect", bounds.policies_per_dialect),
        ("manage.max_policies", bounds.policies),
    ];
    for (setting, most) in bounds {
        // One problem is enough: the second bound would name the same blocks again.
        if let Some(beyond) = blocks.get(most) {
            let detail =
                format!("allows {most} policies, the file has {}; leave some out or raise it", blocks.len());
            return settings.wrong_at(&beyond.place, setting, detail);
        }
    }
}

pub(super) fn manage(settings: &mut Settings<'_>) -> Option<Manage> {
    let refuse_as_told = settings.word("manage.refusals", &[("uniform", false), ("dialect", true)]);
    let policies = settings.number("manage.max_policies", 1..=MAX_POLICIES);
    let of_dialect = settings.number("manage.max_policies_per_dialect", 1..=MAX_POLICIES);
    Some(Manage {
        refuse_as_told: refuse_as_told?,
        bounds: Bounds {
            policies: usize::try_from(policies?).ok()?,
            policies_per_dialect: usize::try_from(of_dialect?).ok()?,
            ..Bounds::default()
        },
    })
}

pub(super) fn metrics(settings: &mut Settings<'_>) -> Option<Metrics> {
    let max_policies = settings.number("metrics.max_policies", 1..=MAX_POLICIES)?;
    Some(Metrics { max_policies: usize::try_from(max_policies).ok().and_then(NonZeroUsize::new)? })
}
