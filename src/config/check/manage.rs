//! The rules of `[manage]`, and of `[metrics]`, whose bound is of the same kind.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use crate::config::check::Checker;
use crate::config::layers::POLICY;
use crate::config::{Manage, Metrics, Problem, Refusals, Sandbox};

/// The highest bound on policies: more of them take more memory and time than a change should.
const MAX_POLICIES: u64 = 100_000;

impl Checker<'_> {
    /// The file has no more blocks than there may be policies; the place is that of the first block beyond.
    pub(super) fn policies_of_the_file(&mut self, manage: Option<&Manage>) {
        let Some(manage) = manage else { return };
        let bounds = [
            ("manage.max_policies_per_dialect", manage.max_policies_per_dialect),
            ("manage.max_policies", manage.max_policies),
        ];
        let blocks = self.layers.blocks(POLICY);
        for (setting, most) in bounds {
            if let Some(beyond) = blocks.get(most.get()) {
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
        let require_headers = self.flag("manage.require_headers");
        let reject_invalid = self.flag("manage.reject_invalid");
        let error_as_object = self.flag("manage.error_as_object");
        let refusals =
            self.word("manage.refusals", &[("uniform", Refusals::Uniform), ("dialect", Refusals::Dialect)]);
        let max_policies = self.number("manage.max_policies", 1..=MAX_POLICIES);
        let of_dialect = self.number("manage.max_policies_per_dialect", 1..=MAX_POLICIES);
        let sandboxes = self.sandboxes();
        Some(Manage {
            require_headers: require_headers?,
            reject_invalid: reject_invalid?,
            error_as_object: error_as_object?,
            refusals: refusals?,
            max_policies: count(max_policies?)?,
            max_policies_per_dialect: count(of_dialect?)?,
            sandboxes: sandboxes?,
        })
    }

    pub(super) fn metrics(&mut self) -> Option<Metrics> {
        let max_policies = self.number("metrics.max_policies", 1..=MAX_POLICIES)?;
        Some(Metrics { max_policies: count(max_policies)? })
    }

    fn sandboxes(&mut self) -> Option<Vec<Sandbox>> {
        const SETTING: &str = "manage.sandboxes";
        let sandboxes: Vec<Sandbox> = self.tables(SETTING, "name, id and production")?;
        let mut seen = BTreeSet::new();
        for sandbox in &sandboxes {
            let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            if sandbox.name.is_empty() || !sandbox.name.bytes().all(plain) {
                self.wrong::<()>(
                    SETTING,
                    format!("name {:?} must be lower-case letters, digits, '-'", sandbox.name),
                );
            }
            if uuid::Uuid::try_parse(&sandbox.id).is_err() {
                self.wrong::<()>(SETTING, format!("id {:?} of {:?} is not a UUID", sandbox.id, sandbox.name));
            }
            for key in [&sandbox.name, &sandbox.id] {
                if !seen.insert(key) {
                    self.wrong::<()>(SETTING, format!("{key:?} is there twice"));
                }
            }
        }
        Some(sandboxes)
    }
}

fn count(number: u64) -> Option<NonZeroUsize> {
    usize::try_from(number).ok().and_then(NonZeroUsize::new)
}
