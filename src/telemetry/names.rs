//! Every metric of tidegate, with its type, unit, labels, help and buckets. What one counts, and when, is its help, which
//! `/metrics` and the manual say as well. The manual's table and the recorder are checked against [`ALL`].

mod figures;
mod kinds;

pub(super) use figures::*;
pub use kinds::{Buckets, Metric, MetricKind};
use kinds::{counter, gauge, histogram};

pub(super) const BUILD_INFO: Metric = gauge(
    "tidegate_build_info",
    None,
    &["version", "revision", "engine"],
    "Always 1; the version, source revision and storage engine of this process.",
);
pub(super) const EVENTS_ENQUEUED: Metric = counter(
    "tidegate_events_enqueued_total",
    &["policy", "source"],
    "Events made durable, by the door they came through, also when that came too late for the answer (outcome_unknown); one \
     that several policies govern counts under each.",
);
pub(super) const EVENTS_REJECTED: Metric = counter(
    "tidegate_events_rejected_total",
    &["reason"],
    "Events refused at a door; nothing of them was kept, but for the reason outcome_unknown: those count as accepted, too, once \
     the store says that they are.",
);
pub(super) const EVENTS_COMPLETED: Metric = counter(
    "tidegate_events_completed_total",
    &["policy", "outcome", "cause"],
    "Events that reached their end: delivered, dead, expired, config_drained, cancelled or lost; cause is held for those \
     that expired while a doubt held their lane. One that several policies govern counts under each.",
);
pub(super) const CALL_ATTEMPTS: Metric = counter(
    "tidegate_call_attempts_total",
    &["policy", "result"],
    "Calls that ended, by status class, kind of failure, shortage of our own or what the endpoint said of being busy; under \
     each policy of the event.",
);
pub(super) const CALL_DURATION: Metric = histogram(
    "tidegate_call_duration_seconds",
    Buckets::Calls,
    &["policy"],
    "Time from the start of a call to its end, under each policy of the event.",
);
pub(super) const RETRIES_SCHEDULED: Metric = counter(
    "tidegate_retries_scheduled_total",
    &["policy", "cause"],
    "Retries put off, by what made them needed, under each policy of the event.",
);
pub(super) const AMBIGUOUS_CALLS: Metric = counter(
    "tidegate_ambiguous_calls_total",
    &["cause", "then"],
    "Calls that were sent and not answered, so that nobody knows whether the endpoint has acted on them, by kind of failure \
     and by what becomes of the event: retried, or its outcome.",
);
pub(super) const QUEUE_WAIT: Metric = histogram(
    "tidegate_queue_wait_seconds",
    Buckets::Waits,
    &["policy"],
    "Time from the moment an event might go to the start of its call, under each policy of the event.",
);
pub(super) const QUEUE_EVENTS: Metric = gauge(
    "tidegate_queue_events",
    Some(metrics::Unit::Count),
    &["policy", "state"],
    "Events owed an end, under each of their policies, by state: ready, delayed, inflight; and dead ones parked for a \
     person, all under the policy -.",
);
pub(super) const QUEUE_OLDEST_ENQUEUED: Metric = gauge(
    "tidegate_queue_oldest_enqueued_timestamp_seconds",
    Some(metrics::Unit::Seconds),
    &["policy"],
    "When the oldest event was accepted that waits for its turn or is taken up; the present time while none does. \
     Events that wait for a due time do not count.",
);
pub(super) const CALLS_INFLIGHT: Metric = gauge(
    "tidegate_calls_inflight",
    Some(metrics::Unit::Count),
    &["policy"],
    "Calls under way, under each policy of the event.",
);
pub(super) const LIMIT_PERMITS_PER_SECOND: Metric = gauge(
    "tidegate_limit_permits_per_second",
    None,
    &["policy"],
    "Starts per second that the policy allows; absent without a pace.",
);
pub(super) const LIMIT_WINDOW_PEAK: Metric = gauge(
    "tidegate_limit_window_peak",
    Some(metrics::Unit::Count),
    &["policy", "limit"],
    "Most starts counted in any window of the last minute, by kind of limit (pace, window, quota), the highest over \
     all label values: the limiter's check on itself.",
);
pub(super) const LIMIT_VIOLATIONS: Metric = counter(
    "tidegate_limit_violations_total",
    &["policy", "limit"],
    "Starts beyond a limit, found by the limiter's check on itself: anything above 0 is a defect.",
);
pub(super) const QUOTA_REMAINING: Metric = gauge(
    "tidegate_quota_remaining",
    Some(metrics::Unit::Count),
    &["policy"],
    "Starts that are left of the quota in the present period, the least over all label values.",
);
pub(super) const DEAD_LETTERS: Metric = gauge(
    "tidegate_dead_letters",
    Some(metrics::Unit::Count),
    &["policy"],
    "Dead letters, under each policy that governed the event; counted in the background.",
);
pub(super) const LIMIT_KEYS: Metric = gauge(
    "tidegate_limit_keys",
    Some(metrics::Unit::Count),
    &["policy"],
    "Combinations of label values that have counters of their own at present.",
);
pub(super) const LANES_HELD: Metric = gauge(
    "tidegate_lanes_held",
    Some(metrics::Unit::Count),
    &["policy", "reason"],
    "Lanes that may not send although their limits have room: generation, paused, retry_after, busy, breaker, token, \
     shortage, egress, share, unread, clock or stopped.",
);
pub(super) const CLOCK_ANOMALIES: Metric = counter(
    "tidegate_clock_anomalies_total",
    &["kind"],
    "Steps of the wall clock (forward, backward), starts with a wall clock in doubt (start), suspensions (suspend).",
);
pub(super) const CONFIG_RELOADS: Metric = counter(
    "tidegate_config_reloads_total",
    &["result"],
    "Times that the configuration file was read, by result: applied or refused.",
);
pub(super) const CONFIG_LAST_RELOAD: Metric = gauge(
    "tidegate_config_last_reload_success_timestamp_seconds",
    Some(metrics::Unit::Seconds),
    &[],
    "When the configuration file was last applied.",
);
pub(super) const STORE_OPERATION_DURATION: Metric = histogram(
    "tidegate_store_operation_duration_seconds",
    Buckets::Store,
    &["op"],
    "Time that an operation of the store took.",
);
pub(super) const STORE_ERRORS: Metric =
    counter("tidegate_store_errors_total", &["op"], "Operations of the store that failed.");
pub(super) const STORE_DAMAGED_FRAMES: Metric = counter(
    "tidegate_store_damaged_frames_total",
    &[],
    "Damaged places found in the journal since the data directory was made; a restart does not reset it.",
);
pub(super) const STORE_DISK_BYTES: Metric = gauge(
    "tidegate_store_disk_bytes",
    Some(metrics::Unit::Bytes),
    &[],
    "Bytes of all files in the data directory.",
);
pub(super) const STORE_ENDS_BYTES: Metric = gauge(
    "tidegate_store_ends_bytes",
    Some(metrics::Unit::Bytes),
    &[],
    "Bytes of the ends of events that are kept; see store.ends_max_bytes.",
);
pub(super) const STORE_OPERATION_AGE: Metric = gauge(
    "tidegate_store_operation_age_seconds",
    Some(metrics::Unit::Seconds),
    &[],
    "Age of the write or sync of the store that is under way; 0 while there is none.",
);
pub(super) const DOUBTS: Metric = gauge(
    "tidegate_doubts",
    None,
    &["kind"],
    "Open doubts that nobody has acknowledged, by what is in doubt.",
);
pub(super) const DOUBT_EVENTS: Metric = gauge(
    "tidegate_doubt_events",
    None,
    &["kind"],
    "Events that the open doubts concern which nobody has acknowledged; an upper bound for the kind uncertain.",
);
pub(super) const NAME_LOOKUPS: Metric = counter(
    "tidegate_name_lookups_total",
    &["from"],
    "Names looked up for new connections, by where the addresses come from: hosts, cache, a question under way (joined), \
     a new question (asked), or nowhere because too many names wait (full).",
);
pub(super) const ANSWER_LINES_AMENDED: Metric = counter(
    "tidegate_answer_lines_amended_total",
    &["why"],
    "Header lines of answers that were joined, trimmed or left out, by why: broken (the line breaks the grammar of HTTP; the \
     connection is closed after the answer) or surplus (beyond the hundred that are read).",
);
pub(super) const ANSWER_TIMES_IGNORED: Metric = counter(
    "tidegate_answer_times_ignored_total",
    &["why"],
    "Times to come back in answers that are not waited for as they stand there, by why: unreadable or \
     status_names_no_wait (passed over), beyond_life (cut to the life of the event), beyond_a_year (cut to a year), or \
     clock_in_doubt (a date: an hour is waited).",
);
pub(super) const ATTEMPT_DETAILS: Metric = counter(
    "tidegate_attempt_details_total",
    &["result"],
    "Details of attempts of events that had a failure, by result: kept or dropped (they found no room or could not be written).",
);
pub(super) const NAME_QUESTIONS: Metric = counter(
    "tidegate_name_questions_total",
    &["result"],
    "Names that name servers were asked for, by result: found, no_such_name, no_address, refused, server_failed, garbled, \
     timeout, unreachable or shortage.",
);
pub(super) const NAME_QUESTION_DURATION: Metric = histogram(
    "tidegate_name_question_duration_seconds",
    Buckets::Calls,
    &[],
    "Time from the first question for a name to its addresses, or to giving up.",
);
pub(super) const DISPATCH_LAG: Metric = histogram(
    "tidegate_dispatch_lag_seconds",
    Buckets::Lag,
    &[],
    "How much later than asked for the dispatcher's timer fired.",
);
pub(super) const OUTPUT_DROPPED_LINES: Metric = counter(
    "tidegate_output_dropped_lines_total",
    &["output"],
    "Lines that were dropped because the output (stderr: log lines, stdout: answers to standard input) could not be written.",
);

pub(super) const CONNECTIONS: Metric = gauge(
    "tidegate_http_connections",
    Some(metrics::Unit::Count),
    &["class"],
    "Open connections of the HTTP doors: ordinary, and reserved for probes, metrics and management.",
);
pub(super) const CONNECTIONS_CLOSED: Metric = counter(
    "tidegate_http_connections_closed_total",
    &["cause"],
    "Connections of the HTTP doors that ended: done, idle, evicted (idle longest when room was needed), slow_head, \
     slow_body, slow_reader, broken or stopping.",
);
pub(super) const CONNECTIONS_REFUSED: Metric = counter(
    "tidegate_http_connections_refused_total",
    &["cause"],
    "Connections, or requests on them, answered 503 for want of a connection: peer (its cap), full (all are busy), \
     reserved (an events request on a reserved connection) or evicted.",
);
pub(super) const DESCRIPTORS_ALLOTTED: Metric = gauge(
    "tidegate_descriptors_allotted",
    Some(metrics::Unit::Count),
    &["use"],
    "Descriptors that each use may take under the limit on open files: store (and the process itself), names, connections \
     (of the HTTP doors) or calls.",
);
pub(super) const SHORTAGES: Metric = counter(
    "tidegate_shortages_total",
    &["at"],
    "Times that the system refused a descriptor or memory: accept (connections of the HTTP doors) or store (files).",
);

/// Every metric above. The `process_*` figures come beside them, named as everywhere.
pub const ALL: &[Metric] = &[
    BUILD_INFO,
    EVENTS_ENQUEUED,
    EVENTS_REJECTED,
    EVENTS_COMPLETED,
    EVENTS_CHANGED,
    OUTCOME_POSTS,
    CALL_ATTEMPTS,
    CALL_DURATION,
    RETRIES_SCHEDULED,
    AMBIGUOUS_CALLS,
    QUEUE_WAIT,
    QUEUE_EVENTS,
    DEAD_LETTERS,
    QUEUE_OLDEST_ENQUEUED,
    QUEUE_TTL,
    CALLS_INFLIGHT,
    LIMIT_PERMITS_PER_SECOND,
    LIMIT_CAPACITY_PER_SECOND,
    LIMIT_WINDOW_PEAK,
    LIMIT_VIOLATIONS,
    QUOTA_REMAINING,
    LIMIT_KEYS,
    LANES_HELD,
    CLOCK_ANOMALIES,
    CONFIG_RELOADS,
    CONFIG_LAST_RELOAD,
    CONFIG_LAST_RELOAD_SUCCESSFUL,
    STORE_OPERATION_DURATION,
    STORE_ERRORS,
    STORE_LOST_EVENTS,
    STORE_RECORDS,
    STORE_DAMAGED_FRAMES,
    STORE_DISK_BYTES,
    STORE_ENDS_BYTES,
    STORE_FREE_BYTES,
    STORE_OPERATION_AGE,
    DISPATCH_STOPS,
    PRIORITY_EVENTS,
    DOUBTS,
    DOUBT_EVENTS,
    NAME_LOOKUPS,
    ANSWER_LINES_AMENDED,
    ANSWER_TIMES_IGNORED,
    ATTEMPT_DETAILS,
    NAME_QUESTIONS,
    NAME_QUESTION_DURATION,
    DISPATCH_LAG,
    OUTPUT_DROPPED_LINES,
    CONNECTIONS,
    CONNECTIONS_CLOSED,
    CONNECTIONS_REFUSED,
    DESCRIPTORS_ALLOTTED,
    SHORTAGES,
    LEDGER_EVENTS,
    EVENT_LIFETIME,
    EVENTS_ENDED,
    DEAD_LETTERS_REMOVED,
    QUEUE_BYTES,
    QUEUE_OLDEST_DUE,
    CONCURRENCY_LIMIT,
    CONCURRENCY_CAPACITY,
    LANES_STALLED,
    LANES_NEAR_EXPIRY,
    LIMITER_PERMITS,
    LIMITER_HELD_SECONDS,
    ENDPOINT_HELD,
    LANES_SLOWED,
    SLOWED_RATE,
    RATE_HALVINGS,
    TOKEN_REQUESTS,
    ENDPOINTS_WITHOUT_TOKEN,
    POLICIES,
    POLICY_DRAIN_DEADLINE,
    POLICY_DRAINING_EVENTS,
    QUOTA_RESET,
    POLICIES_WITHOUT_SERIES,
    POLICY_INFO,
    STORE_RECOVERED_EVENTS,
    HTTP_REQUESTS,
    HTTP_REQUEST_DURATION,
    DEFECTS,
    TRACE_SPANS,
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        let mut seen = HashSet::new();
        for metric in ALL {
            assert!(seen.insert(metric.name), "{} twice", metric.name);
            assert!(metric.name.starts_with("tidegate_"), "{}", metric.name);
            let plain =
                metric.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            assert!(plain, "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
            match metric.kind {
                MetricKind::Counter => assert!(metric.name.ends_with("_total"), "{}", metric.name),
                MetricKind::Gauge => assert!(!metric.name.ends_with("_total"), "{}", metric.name),
                MetricKind::Histogram(_) => assert!(metric.name.ends_with("_seconds"), "{}", metric.name),
            }
        }
    }

    #[test]
    fn bucket_bounds_ascend() {
        for buckets in [Buckets::Calls, Buckets::Waits, Buckets::Store, Buckets::Lag] {
            assert!(buckets.bounds().is_sorted_by(|a, b| a < b), "{buckets:?}");
        }
    }
}
