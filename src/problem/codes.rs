//! Every code that tidegate's own API answers with: the word, the status, the title and when. The manual's table and the API
//! description are checked against this list.
//!
//! Must not know: which route answers what.

/// One kind of problem. Its word is stable: programs tell problems apart by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// The member `code`: a stable word for programs.
    pub word: &'static str,
    /// The HTTP status that every answer with this code has.
    pub status: u16,
    /// The kind in words, as the member `title`.
    pub title: &'static str,
    /// What has happened, for the manual and the API description.
    pub when: &'static str,
}

/// A constant for each code, and the list of them.
macro_rules! codes {
    ($($name:ident = $word:literal, $status:literal, $title:literal, $when:literal;)*) => {
        $(
            #[doc = $when]
            pub const $name: Code = Code { word: $word, status: $status, title: $title, when: $when };
        )*
        /// Every code, in the order in which they are listed here.
        #[cfg(any(test, feature = "testkit"))]
        pub const ALL: &[Code] = &[$($name),*];
    };
}

codes! {
    MALFORMED_REQUEST = "malformed_request", 400, "The request is malformed",
        "no or several `Host`, or a framing that two readers could understand differently";
    INVALID_JSON = "invalid_json", 400, "The text is not JSON", "not JSON, not UTF-8, or with a byte order mark";
    INCOMPLETE_BODY = "incomplete_body", 400, "The body is incomplete", "the body broke off";
    INVALID_ID = "invalid_id", 400, "Not an event id", "the path holds no event id";
    INVALID_PARAMETER = "invalid_parameter", 400, "A parameter is not valid",
        "a query parameter is unknown, given twice or breaks its rule";
    INVALID_IDEMPOTENCY_KEY = "invalid_idempotency_key", 400, "The idempotency key is not valid",
        "the header is not one visible ASCII text, or stands beside several events or CloudEvents";
    FOREIGN_ORIGIN = "foreign_origin", 403, "Foreign origin", "a page of another origin calls";
    NOT_FOUND = "not_found", 404, "Not found", "no such route";
    EVENT_NOT_FOUND = "event_not_found", 404, "No such event", "no such event, or it ended before `known_since`";
    POLICY_NOT_FOUND = "policy_not_found", 404, "No such policy", "no such policy";
    DOUBT_NOT_FOUND = "doubt_not_found", 404, "No such doubt", "no such doubt, or it has ended";
    DEAD_LETTER_NOT_FOUND = "dead_letter_not_found", 404, "No such dead letter", "no dead letter of this event: it never died, was redriven or purged, or is gone";
    ACCOUNT_NOT_FOUND = "account_not_found", 404, "No such account", "no such account";
    CHANGE_NOT_FOUND = "change_not_found", 404, "No such change", "no such change of many events or dead letters since the start";
    METHOD_NOT_ALLOWED = "method_not_allowed", 405, "Method not allowed", "see `Allow`";
    BODY_TIMEOUT = "body_timeout", 408, "The body did not come", "the body stopped coming";
    FILE_ACCOUNT = "file_account", 409, "The account is one of the file", "the account stands in the configuration file; change it there";
    POLICY_EXISTS = "policy_exists", 409, "The name of a policy is taken",
        "a policy of the configuration file has a name that the limits of accounts need";
    POLICY_OWNED = "policy_owned", 409, "The policy is made elsewhere",
        "the policy belongs to the configuration file or to a dialect; the answer says where it is changed";
    POLICIES_FULL = "policies_full", 409, "As many policies as there may be",
        "there are as many policies as there may be; see `manage.max_policies` and `manage.max_policies_per_dialect`";
    TOO_MANY_ACCOUNTS = "too_many_accounts", 409, "Too many accounts", "more than 1 000 accounts";
    NOT_APPLICABLE = "not_applicable", 409, "The verb does not apply", "the verb means nothing for a doubt of this kind; the answer names those that do";
    EVENT_INFLIGHT = "event_inflight", 409, "The event is under way", "its call is under way, or its end is not on record yet: it is not changed";
    EVENT_ENDED = "event_ended", 409, "The event has ended", "it has ended already, otherwise than was asked for; the answer says how";
    CHANGE_NOT_CONFIRMED = "change_not_confirmed", 409, "The change is not confirmed",
        "the confirmation is of another change of many, or older than ten minutes";
    CHANGE_UNDER_WAY = "change_under_way", 409, "A change is under way", "another change of many events or dead letters goes on";
    WRONG_COUNT = "wrong_count", 409, "The number of events is another one", "another number of events is in doubt than was confirmed; the answer names it";
    CURSOR_GONE = "cursor_gone", 410, "The cursor is too old",
        "the cursor is older than the ends that are kept, or of another data directory; `known_since` and `go_on` say how to go on";
    PRECONDITION_FAILED = "precondition_failed", 412, "The state is another one",
        "the policy has another `ETag` than `If-Match` names, or is there although `If-None-Match` says otherwise";
    PAYLOAD_TOO_LARGE = "payload_too_large", 413, "The request is too large",
        "body above 256 KiB, event above 512 KiB, list above 8 MiB, request about a policy above 16 KiB, about an account above \
         64 KiB";
    BATCH_TOO_LARGE = "batch_too_large", 413, "The list is too long", "more than 1 000 events in a list";
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type", 415, "The form of the body is not supported",
        "not JSON: `application/json`, for events also `application/x-ndjson` and CloudEvents, for management also other types that end in `+json`";
    UNSUPPORTED_ENCODING = "unsupported_encoding", 415, "The form of the body is not supported", "the body is compressed";
    FOREIGN_HOST = "foreign_host", 421, "Not this host", "`Host` is no name of this daemon; see `listen.hosts`";
    EXPECTATION_FAILED = "expectation_failed", 417, "The expectation is not met", "`Expect` asks for something other than `100-continue`";
    INVALID_EVENT = "invalid_event", 422, "The event is not valid", "members break rules; all of them are named";
    INVALID_REQUEST = "invalid_request", 422, "The request is not valid",
        "a member of a request about a policy or an account is unknown, missing or breaks its rule";
    INVALID_HEADER = "invalid_header", 422, "The event is not valid", "headers of the event break rules, or one of the request that is a label of its events";
    EGRESS_DENIED = "egress_denied", 422, "The address may not be called", "the address in the url is private; see `egress.allow`";
    UNMATCHED = "unmatched", 422, "No deployed policy governs the call", "no deployed policy matches the method and url";
    NOT_REDRIVABLE = "not_redrivable", 422, "The event cannot be handed in again",
        "the dead letter cannot be redriven: no policy governs it, its address may not be called, other policies govern the new url, its method or a header is one that the door refuses, or its record does not decode";
    TOO_MANY_POLICIES = "too_many_policies", 422, "Too many policies govern the call",
        "more policies govern the event than one lane can name; let fewer patterns overlap";
    OVER_PACE = "over_pace", 429, "The call is over a limit",
        "the call is over the pace of a policy that turns calls away; see `Retry-After`";
    OVER_WINDOW = "over_window", 429, "The call is over a limit", "over its window";
    OVER_QUOTA = "over_quota", 429, "The call is over a limit", "over its quota";
    CLOSED = "closed", 403, "The call is not allowed",
        "a policy lets no such call through, whenever it comes: its key is unknown or disabled, its user is blocked, or the policy is closed";
    DOOMED = "doomed", 429, "The event would expire before its start", "the event would expire before its start, and `queue.on_doomed` is `\"refuse\"`";
    LANE_TOO_LONG = "lane_too_long", 422, "What governs the call has too long a name", "policy ids and scope labels of the event are too long together";
    IDEMPOTENCY_CONFLICT = "idempotency_conflict", 422, "The idempotency key is taken", "the key came before with other content";
    INTERNAL = "internal", 500, "Internal error", "a defect of tidegate";
    NOT_IMPLEMENTED = "not_implemented", 501, "CONNECT is not served", "the method is CONNECT";
    TOO_MANY_CONNECTIONS = "too_many_connections", 503, "No connection is free",
        "all connections for such requests, or of this address, are busy; nothing was kept";
    OVERLOADED = "overloaded", 503, "Overloaded", "events arrive faster than the disk takes them";
    STORE_SLOW = "store_slow", 503, "Storage is slow", "the disk did not take the event or the change in time; nothing was kept";
    OUTCOME_UNKNOWN = "outcome_unknown", 503, "Outcome unknown",
        "the disk did not confirm it in time. An event may have been kept: repeat it with the same idempotency key. A \
        change may become active: look before repeating it";
    STORAGE_FULL = "storage_full", 503, "Storage is full", "too little free disk; nothing was kept, dispatching goes on";
    STORE_SHORT = "store_short", 503, "Too few resources",
        "the system has too few descriptors or too little memory for the store; nothing was kept, dispatching goes on";
    STORAGE_ERROR = "storage_error", 503, "Storage failed", "the store has failed; the process ends with 74";
    EVENT_UNREAD = "event_unread", 503, "The event cannot be read",
        "the disk does not let the event be read at present; it waits, see the doubt";
    STORE_HELD = "store_held", 503, "The store is held",
        "the policy book or the whole data directory is in doubt; nothing is taken, sent or changed until it is settled";
    SHUTTING_DOWN = "shutting_down", 503, "Shutting down", "the daemon is stopping; requests that it has taken are served, streams end";
    NOT_READY = "not_ready", 503, "Not ready", "`/readyz` and `/healthz` only";
}

/// What any request may be answered with before a route sees it.
pub const BEFORE_ROUTES: &[Code] =
    &[MALFORMED_REQUEST, FOREIGN_ORIGIN, EXPECTATION_FAILED, FOREIGN_HOST, TOO_MANY_CONNECTIONS];
