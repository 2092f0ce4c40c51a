//! What an operator may set about this dialect.

use std::time::Duration;

use crate::manage::Place;
use crate::policy::DRAIN_WINDOW;

/// What an operator may set about this dialect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediarithmicsOptions {
    /// Whether a token is asked for (contract.md 3).
    pub require_headers: bool,
    /// How long a deleted throttling may finish its backlog.
    pub drain_window: Duration,
    /// Where a call names the version of its plugin when its event does not.
    pub plugin_version_in: Option<Place>,
    /// Where it names the datamart in that case.
    pub datamart_in: Option<Place>,
    /// Where it names the organisation in that case.
    pub organisation_in: Option<Place>,
    /// Where it names the instance in that case.
    pub container_in: Option<Place>,
}

impl MediarithmicsOptions {
    /// The places that are set, each with the label that stands there.
    pub(super) fn places(&self) -> impl Iterator<Item = (&'static str, Place)> {
        let all = [
            ("plugin_version", &self.plugin_version_in),
            ("datamart", &self.datamart_in),
            ("organisation", &self.organisation_in),
            ("container", &self.container_in),
        ];
        all.into_iter().filter_map(|(label, place)| Some((label, place.clone()?)))
    }
}

impl Default for MediarithmicsOptions {
    fn default() -> Self {
        Self {
            require_headers: false,
            drain_window: DRAIN_WINDOW,
            plugin_version_in: None,
            datamart_in: None,
            organisation_in: None,
            container_in: None,
        }
    }
}
