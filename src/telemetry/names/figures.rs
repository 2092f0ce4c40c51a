//! Names of the metrics of policies and their limits, of the ledger, and of tidegate's own API.
//!
//! Must not know: who counts.

use metrics::Unit;

use super::{Buckets, Metric, counter, gauge, histogram};

pub(in crate::telemetry) const LEDGER_EVENTS: Metric = gauge(
    "tidegate_ledger_events",
    Some(Unit::Count),
    &["term"],
    "Every event once, by where it is, all terms at one moment: accepted (with what an earlier process left) + redriven = \
     delivered + expired + dead + drained + cancelled + lost (these since the start of the process) + ready + delayed + \
     inflight (their calls have started). A difference is a defect.",
);
pub(in crate::telemetry) const DISPATCH_STOPS: Metric = gauge(
    "tidegate_dispatch_stops",
    Some(Unit::Count),
    &["target"],
    "Emergency stops in force, by what they stop (everything, host, organisation).",
);
pub(in crate::telemetry) const PRIORITY_EVENTS: Metric = gauge(
    "tidegate_priority_events",
    Some(Unit::Count),
    &["priority"],
    "Events that have not ended and are not put off, by priority (high, normal, low): those that wait for their turn and those \
     taken up.",
);
pub(in crate::telemetry) const EVENT_LIFETIME: Metric = histogram(
    "tidegate_event_lifetime_seconds",
    Buckets::Waits,
    &["outcome"],
    "Time from the acceptance of an event to its end, by outcome.",
);
pub(in crate::telemetry) const QUEUE_BYTES: Metric = gauge(
    "tidegate_queue_bytes",
    Some(Unit::Bytes),
    &["policy"],
    "About the bytes of the events that are owed an end, before compression: their number times the mean of those that came \
     last.",
);
pub(in crate::telemetry) const QUEUE_OLDEST_DUE: Metric = gauge(
    "tidegate_queue_oldest_due_timestamp_seconds",
    Some(Unit::Seconds),
    &["policy"],
    "The earliest due time among the events that wait for one and are not taken up; the present time while there is none.",
);
pub(in crate::telemetry) const CONCURRENCY_LIMIT: Metric = gauge(
    "tidegate_concurrency_limit",
    Some(Unit::Count),
    &["policy"],
    "Most calls that may be under way at once, for each combination of label values of the scope.",
);
pub(in crate::telemetry) const CONCURRENCY_CAPACITY: Metric = gauge(
    "tidegate_concurrency_capacity",
    Some(Unit::Count),
    &["policy"],
    "Most calls that may be under way at once over all combinations of label values in use, each of which has all slots.",
);
pub(in crate::telemetry) const LIMIT_CAPACITY_PER_SECOND: Metric = gauge(
    "tidegate_limit_capacity_per_second",
    None,
    &["policy"],
    "Starts per second that the policy allows over all combinations of label values in use, each of which has the whole \
     pace; absent without a pace.",
);
pub(in crate::telemetry) const LIMITER_PERMITS: Metric = counter(
    "tidegate_limiter_permits_total",
    &["policy", "limit"],
    "Starts of calls that a limit allowed, by kind of limit (pace, window, quota, slots).",
);
pub(in crate::telemetry) const LIMITER_HELD_SECONDS: Metric = Metric {
    unit: Some(Unit::Seconds),
    ..counter(
        "tidegate_limiter_held_seconds_total",
        &["policy", "limit"],
        "Time during which events were ready and this kind of limit let none start, added up over all label values.",
    )
};
pub(in crate::telemetry) const LANES_STALLED: Metric = gauge(
    "tidegate_lanes_stalled",
    Some(Unit::Count),
    &["policy"],
    "Lanes with events to send that no hold, limit or share has kept back for 60 s, and of which none started: anything above \
     0 is a defect.",
);
pub(in crate::telemetry) const LANES_NEAR_EXPIRY: Metric = gauge(
    "tidegate_lanes_near_expiry",
    Some(Unit::Count),
    &["policy"],
    "Lanes with an event of whose life two thirds are over: the next to go, one under way, or one that is put off for a \
     retry (one put off before a restart counts from its next try on). The life of an event with a delay begins when the \
     delay ends.",
);
pub(in crate::telemetry) const ENDPOINT_HELD: Metric = gauge(
    "tidegate_endpoint_held",
    None,
    &["policy", "reason"],
    "1 while at least one lane is held for this reason, else 0: retry_after, busy, breaker or paused.",
);
pub(in crate::telemetry) const LANES_SLOWED: Metric = gauge(
    "tidegate_lanes_slowed",
    Some(Unit::Count),
    &["policy", "reason"],
    "Lanes that start fewer calls than their limits allow: reduced (their endpoint answered 429 or 503) or ramp (their breaker \
     has closed a short time ago).",
);
pub(in crate::telemetry) const SLOWED_RATE: Metric = gauge(
    "tidegate_slowed_calls_per_second",
    None,
    &["policy"],
    "Calls that the slowest of the lanes may start in a second that start fewer than their limits allow; absent while none does.",
);
pub(in crate::telemetry) const RATE_HALVINGS: Metric = counter(
    "tidegate_rate_halvings_total",
    &[],
    "Times that the rate of a lane was halved because its endpoint answered 429 or 503.",
);
pub(in crate::telemetry) const TOKEN_REQUESTS: Metric = counter(
    "tidegate_token_requests_total",
    &["result"],
    "Questions for tokens that the calls to endpoints carry, by result: granted, refused, unreadable, unreachable, timeout, \
     blocked, shortage or setup.",
);
pub(in crate::telemetry) const ENDPOINTS_WITHOUT_TOKEN: Metric = gauge(
    "tidegate_endpoints_without_token",
    Some(Unit::Count),
    &[],
    "Endpoint blocks whose calls wait because no token could be had.",
);
pub(in crate::telemetry) const POLICIES: Metric = gauge(
    "tidegate_policies",
    Some(Unit::Count),
    &["state"],
    "Policies, each in one state: deployed, paused (by an operator, deployed or draining), draining, or idle (not deployed).",
);
pub(in crate::telemetry) const POLICY_DRAIN_DEADLINE: Metric = gauge(
    "tidegate_policy_drain_deadline_timestamp_seconds",
    Some(Unit::Seconds),
    &["policy"],
    "When what is left of the generation that drains is dropped, the earliest of several; absent while none drains.",
);
pub(in crate::telemetry) const POLICY_DRAINING_EVENTS: Metric = gauge(
    "tidegate_policy_draining_events",
    Some(Unit::Count),
    &["policy"],
    "Events that are left of the generations that drain, whatever their state: what is not sent by the deadline is dropped.",
);
pub(in crate::telemetry) const QUOTA_RESET: Metric = gauge(
    "tidegate_quota_reset_timestamp_seconds",
    Some(Unit::Seconds),
    &["policy"],
    "When the present period of the quota ends; absent without a quota.",
);
pub(in crate::telemetry) const POLICIES_WITHOUT_SERIES: Metric = gauge(
    "tidegate_policies_without_series",
    Some(Unit::Count),
    &[],
    "Deployed and draining policies beyond metrics.max_policies: their figures are added up under the policy other.",
);
pub(in crate::telemetry) const EVENTS_ENDED: Metric = counter(
    "tidegate_events_ended_total",
    &["outcome", "reason"],
    "Events that reached their end, each once, by outcome and by why: the reasons of GET /v1/events/{id}, HTTP statuses by class.",
);
pub(in crate::telemetry) const DEAD_LETTERS_REMOVED: Metric = counter(
    "tidegate_dead_letters_removed_total",
    &["how"],
    "Dead letters that are gone: redriven, purged, or let go by the retention.",
);
pub(in crate::telemetry) const OUTCOME_POSTS: Metric = counter(
    "tidegate_outcome_posts_total",
    &["result"],
    "Posts of the ends of events to outcomes.url, by what they came to; a failed one is repeated.",
);
pub(in crate::telemetry) const EVENTS_CHANGED: Metric = counter(
    "tidegate_events_changed_total",
    &["change"],
    "Events that waited and that an operator cancelled, delayed, sent ahead of their turn or purged; a purge of a policy does not count.",
);
pub(in crate::telemetry) const POLICY_INFO: Metric = gauge(
    "tidegate_policy_info",
    None,
    &["policy", "name", "system"],
    "Always 1; what people call the policy (empty where its id is all), and whose limit it is: a dialect, file or api. Only \
     policies with series of their own have it.",
);
pub(in crate::telemetry) const STORE_LOST_EVENTS: Metric = gauge(
    "tidegate_store_lost_events",
    Some(Unit::Count),
    &[],
    "Events lost to damage, or given up, since the data directory was made; a restart does not reset it; it falls when \
     a segment that was missing is back.",
);
pub(in crate::telemetry) const STORE_RECORDS: Metric = gauge(
    "tidegate_store_records",
    Some(Unit::Count),
    &["key"],
    "Waiting events and dead letters at rest, by the key that encrypts them: first (of store.key_file), other (of it), missing \
     (they wait until it is back), none (not encrypted; counted while anything is).",
);
pub(in crate::telemetry) const STORE_RECOVERED_EVENTS: Metric = counter(
    "tidegate_store_recovered_events_total",
    &[],
    "Events of an earlier process that were owed an end when this one started; those that were under way then are sent \
     again.",
);
pub(in crate::telemetry) const HTTP_REQUESTS: Metric = counter(
    "tidegate_http_requests_total",
    &["route", "method", "code"],
    "Requests that tidegate answered, by route template (other: no route), method and status code.",
);
pub(in crate::telemetry) const HTTP_REQUEST_DURATION: Metric = histogram(
    "tidegate_http_request_duration_seconds",
    Buckets::Calls,
    &["route"],
    "Time from the head of a request to the head of its answer, by route template.",
);
pub(in crate::telemetry) const DEFECTS: Metric = counter(
    "tidegate_defects_total",
    &[],
    "States found that cannot be: anything above 0 is a defect of tidegate.",
);
/// What has become of spans, by result.
pub(in crate::telemetry) const TRACE_SPANS: Metric = counter(
    "tidegate_trace_spans_total",
    &["result"],
    "Spans of traces that were exported, or dropped: queue_full, failed (not taken by the collector in four tries or before \
     the end), rejected (by the collector, which took the rest of the export).",
);
pub(in crate::telemetry) const QUEUE_TTL: Metric = gauge(
    "tidegate_queue_ttl_seconds",
    Some(Unit::Seconds),
    &[],
    "The longest life of an event (queue.ttl_seconds); an event may ask for less.",
);
pub(in crate::telemetry) const CONFIG_LAST_RELOAD_SUCCESSFUL: Metric = gauge(
    "tidegate_config_last_reload_successful",
    None,
    &[],
    "1 when the configuration was applied the last time that it was read, 0 when it was refused.",
);
pub(in crate::telemetry) const STORE_FREE_BYTES: Metric = gauge(
    "tidegate_store_free_bytes",
    Some(Unit::Bytes),
    &[],
    "Bytes that are free on the file system of the data directory.",
);
