//! Where a call goes: its labels, whether its address may be called, the policies that govern it, its lane. The door
//! and the explanation of a call that was not handed in ask the same router, so that they cannot disagree.
//!
//! Must not know: how answers are written, what limits hold.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method};

use crate::event::{Call, CanonicalUrl, LabelError, Labels, Lane, LaneError, Priority};
use crate::policy::Runtime;
use crate::problem::Problem;
use crate::problem::codes::{self, Code};
use crate::queue::Queue;

/// What becomes of an event that no deployed policy governs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmatched {
    /// It is refused: deployed policies are the allow-list.
    Refuse,
    /// It is sent without limits, in one lane per host and port.
    Pass,
}

/// Refuses urls whose literal address may not be called, with the reason.
pub(crate) type EgressCheck = Arc<dyn Fn(&CanonicalUrl) -> Result<(), String> + Send + Sync>;

/// The name of the `[[endpoint]]` block that rules the calls to a url, if one does.
pub(crate) type EndpointOf = Arc<dyn Fn(&CanonicalUrl) -> Option<String> + Send + Sync>;

/// The labels that a call implies, where its event carries none: a system is told apart there by its url, its headers or
/// its body.
pub(crate) type ImpliedLabels = Arc<dyn Fn(&Call<'_>) -> Vec<(&'static str, String)> + Send + Sync>;

/// Reads the labels that a request carries in its headers for all of its events, or says which header cannot be read.
pub(crate) type CarriedLabels =
    Arc<dyn Fn(&HeaderMap) -> Result<Vec<(&'static str, String)>, Box<Problem>> + Send + Sync>;

/// What events are filled up and measured with.
#[derive(Debug, Clone)]
pub(crate) struct Defaults {
    /// Labels that an event without them counts as having.
    pub labels: Arc<Labels>,
    /// The only labels that an event may carry; `None` when all are welcome.
    pub known_labels: Option<BTreeSet<String>>,
    /// The life of an event that asks for none, and the longest it may ask for.
    pub max_ttl: Duration,
}

/// Finds the lane of a call. Clones share everything.
#[derive(Clone)]
pub(crate) struct CallRouter {
    /// The queue that takes the calls; it knows which lanes there are.
    pub queue: Queue,
    /// Labels and life of calls that name none.
    pub defaults: Arc<Defaults>,
    /// What becomes of calls without a policy.
    pub unmatched: Unmatched,
    /// Which literal addresses may be called.
    pub egress: EgressCheck,
    /// What is set for their endpoints, by its name alone.
    pub endpoint_of: EndpointOf,
    /// What calls say of themselves.
    pub implied: ImpliedLabels,
    /// What requests say of all their events.
    pub carried: CarriedLabels,
}

/// Why a call has no lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NoRoute {
    /// Its address may not be called, for this reason.
    Egress(String),
    /// What it implies cannot be a label.
    Label(LabelError),
    /// What governs it cannot be put into the name of a lane.
    Lane(LaneError),
    /// No deployed policy governs it, and `unmatched` refuses such calls.
    Unmatched,
}

impl NoRoute {
    /// The code by which such an event is refused.
    #[must_use]
    pub(crate) const fn code(&self) -> Code {
        match self {
            Self::Egress(_) => codes::EGRESS_DENIED,
            Self::Label(_) => codes::INVALID_EVENT,
            Self::Lane(LaneError::TooManyPolicies { .. }) => codes::TOO_MANY_POLICIES,
            Self::Lane(LaneError::TooLong { .. } | LaneError::PolicyId { .. } | LaneError::Key { .. }) => {
                codes::LANE_TOO_LONG
            }
            Self::Unmatched => codes::UNMATCHED,
        }
    }
}

impl Defaults {
    /// Whether events may carry a label of this name.
    pub(crate) fn is_known(&self, label: &str) -> bool {
        self.known_labels.as_ref().is_none_or(|known| known.contains(label))
    }
}

impl CallRouter {
    /// All labels of a call, if it implies one; `None` when they are those that are known without looking into it.
    ///
    /// A label of the event goes first: its producer knows what it calls. What the call implies goes before every default,
    /// also before those that stand for all events of a request: the system that is called counts by what it gets, and a
    /// default in its place would let the call past its limit. What is implied is kept with the event like the labels
    /// that it carries: by them its lane was found. No metric counts how many are implied: limits count by a label whoever
    /// gave it, and what an operator has to act on is a label that is missing, which `unmatched` counts and its answer names.
    ///
    /// # Errors
    /// [`NoRoute::Label`] when what is implied cannot be a label: without it the call would be past its limit.
    pub(crate) fn implied(&self, call: &Call<'_>) -> Result<Option<Labels>, NoRoute> {
        let implied = (self.implied)(call);
        if implied.is_empty() {
            return Ok(None);
        }
        let implied = implied.iter().map(|(key, value)| (*key, value.as_str()));
        call.own.or(implied.chain(call.fallback.iter())).map(Some).map_err(NoRoute::Label)
    }

    /// The lane of a call of this priority under the policies of `runtime`.
    ///
    /// # Errors
    /// [`NoRoute`] when it would be refused at the door whatever its limits.
    pub(crate) fn route(
        &self,
        runtime: &Runtime,
        method: &Method,
        url: &CanonicalUrl,
        labels: &Labels,
        priority: Priority,
    ) -> Result<Lane, NoRoute> {
        // First, so that an address which must not be called is refused even where a policy matches it.
        (self.egress)(url).map_err(NoRoute::Egress)?;
        let governed = match runtime.route(method, url, labels).map_err(NoRoute::Lane)? {
            Some(governed) => governed,
            // Without policies the lane has host and port alone, which are added below: a slow endpoint holds up no
            // other.
            None if self.unmatched == Unmatched::Pass => Lane::of(Vec::new()).map_err(NoRoute::Lane)?,
            None => return Err(NoRoute::Unmatched),
        };
        let governed = match priority {
            Priority::Normal => governed,
            priority => governed.of_priority(priority).map_err(NoRoute::Lane)?,
        };
        Ok(self.queue.lane_at(&governed, url))
    }
}
