//! The rules of `[manage]`, and of `[metrics]`, whose bound is of the same kind. What `[manage]` says to the dialects
//! is read with their sections.

use std::num::NonZeroUsize;

use crate::config::check::Checker;
use crate::config::layers::POLICY;
use crate::config::{Manage, Metrics, Problem};
use crate::policy::Bounds;

/// The highest bound on policies: more of them take more memory and time than a change should.
const MAX_POLICIES: u64 = 100_000;

impl Checker<'_> {
    /// The file has no more blocks than there may be policies; the place is that of the first block beyond.
    pub(super) fn policies_of_the_file(&mut self, manage: Option<&Manage>) {
        let Some(Manage { bounds, .. }) = manage else { return };
        let bounds = [
            ("manage.max_policies_per_dialect", bounds.policies_per_dialect),
            ("manage.max_policies", bounds.policies),
        ];
        let blocks = self.layers.blocks(POLICY);
        for (setting, most) in bounds {
            // One problem is enough: the second bound would name the same blocks again.
            if let Some(beyond) = blocks.get(most) {
                let detail = format!(
                    "allows {most} policies, the file has {}; leave some out or raise it",
                    blocks.len()
                );
                let (place, subject) = (beyond.place.clone(), setting.to_owned());
                return self.problems.push(Problem { place, subject, detail });
            }
        }
    }

    pub(super) fn manage(&mut self) -> Option<Manage> {
        let refuse_as_told = self.word("manage.refusals", &[("uniform", false), ("dialect", true)]);
        let policies = self.number("manage.max_policies", 1..=MAX_POLICIES);
        let of_dialect = self.number("manage.max_policies_per_dialect", 1..=MAX_POLICIES);
        Some(Manage {
            refuse_as_told: refuse_as_told?,
            bounds: Bounds {
                policies: usize::try_from(policies?).ok()?,
                policies_per_dialect: usize::try_from(of_dialect?).ok()?,
                ..Bounds::default()
            },
        })
    }

    pub(super) fn metrics(&mut self) -> Option<Metrics> {
        let max_policies = self.number("metrics.max_policies", 1..=MAX_POLICIES)?;
        Some(Metrics { max_policies: usize::try_from(max_policies).ok().and_then(NonZeroUsize::new)? })
    }
}
