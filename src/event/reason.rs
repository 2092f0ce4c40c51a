//! Why events end: a closed set of short words, each with a number that is kept.
//!
//! Must not know: how an end is decided, whose codes the words of systems are.

use crate::event::{Cause, Settlement};

/// The reasons with their numbers, which are on the disk: none may change its number or be used again. 100 to 999 are the
/// HTTP statuses.
macro_rules! reasons {
    ($($name:ident = $number:literal, $word:literal, $when:literal;)*) => {
        /// Why an event ended.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            /// The endpoint answered with this status, outside 2xx.
            Status(u16),
            $(
                #[doc = $when]
                $name,
            )*
        }

        impl Reason {
            /// All reasons that are words, in the order of their numbers, each with when it is given.
            pub const WORDS: &'static [(Self, &'static str)] = &[$((Self::$name, $when)),*];

            /// The number under which it is kept.
            #[must_use]
            pub const fn number(self) -> u16 {
                match self {
                    Self::Status(status) => status,
                    $(Self::$name => $number,)*
                }
            }

            /// Takes a number back; `None` for one that a newer version gave.
            #[must_use]
            pub const fn from_number(number: u16) -> Option<Self> {
                match number {
                    100..=999 => Some(Self::Status(number)),
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The word of a metric: statuses are added up by their class.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self {
                    Self::Status(status) => Cause::Status(status).label(),
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

reasons! {
    Delivered = 1, "delivered", "the endpoint has accepted the call";
    Expired = 2, "expired", "it outlived its time";
    Held = 3, "held", "it outlived its time while a doubt held its lane";
    Drained = 4, "config_drained", "the time to drain of its undeployed policy was over";
    Cancelled = 5, "cancelled", "it was dropped on request";
    Lost = 6, "lost", "it was damaged on the disk, or given up by an operator";
    Undecodable = 7, "undecodable", "its record cannot be read by this version";
    Timeout = 10, "timeout", "the last attempt took too long";
    Connect = 11, "connect", "no connection could be made";
    Dns = 12, "dns", "the name did not resolve";
    Tls = 13, "tls", "the TLS handshake or the certificate failed";
    ConnectionClosed = 14, "connection_closed", "the connection broke before a complete head";
    Refused = 15, "refused", "the endpoint refused the stream";
    Shortage = 16, "shortage", "tidegate was short of something for the call";
    Blocked = 17, "blocked", "the egress guard denied the address";
    Malformed = 18, "malformed", "the answer was not HTTP, its head was too large, or its `Content-Length` or `Transfer-Encoding` was broken";
    Internal = 19, "internal", "the attempt died inside tidegate";
    EndedProcess = 20, "ended_process", "the process ended three times in a row while its call was under way: it was set aside";
    OverPace = 30, "over_pace", "it was over the pace of a policy that turns calls away";
    OverWindow = 31, "over_window", "the same over its window";
    OverQuota = 32, "over_quota", "the same over its quota";
    OverSlots = 33, "over_slots", "the same over its slots";
    Closed = 34, "closed", "a policy lets no such call through";
    Other = 99, "other", "a reason that this version has no word for: the dead letter names it";
    Capped = 1001, "capped", "over a cap";
    KeyInactive = 1002, "ERR_403_DEVELOPER_INACTIVE", "the key is unknown or not active";
    KeyOverQps = 1003, "ERR_403_DEVELOPER_OVER_QPS", "over the calls per second of a key, endpoint or method";
    KeyOverRate = 1004, "ERR_403_DEVELOPER_OVER_RATE", "over the calls per period of a key, endpoint or method";
    ServiceOverQps = 1005, "ERR_403_SERVICE_OVER_QPS", "over the calls per second of a service";
    NotAuthorized = 1006, "ERR_403_NOT_AUTHORIZED", "the call carries no key where one is required";
    ApiLimitExceeded = 1007, "API_LIMIT_EXCEEDED", "over the requests per minute of an account and function";
    ApiBlocked = 1008, "API_BLOCKED", "the user may not call the function";
}

/// What stands before the cause of the last attempt, in the reasons of dead letters: no attempt was left, or nobody knows
/// whether the endpoint has acted on it.
const BEFORE_CAUSE: [&str; 2] = ["attempts_exhausted: ", "ambiguous: "];

impl Reason {
    /// The word by which answers and log lines name it: a status as `http_404`.
    #[must_use]
    pub fn word(self) -> String {
        match self {
            Self::Status(status) => format!("http_{status}"),
            word => word.label().to_owned(),
        }
    }

    /// The outcome that goes with it, as metrics and answers name it: what is none of the others parks the event.
    #[must_use]
    pub const fn outcome(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Expired | Self::Held => "expired",
            Self::Drained => "config_drained",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
            _ => "dead",
        }
    }

    /// Why a settlement ends an event; `None` while it goes on living.
    #[must_use]
    pub fn of(settlement: &Settlement) -> Option<Self> {
        Some(match settlement {
            Settlement::Reschedule { .. } => return None,
            Settlement::Delivered => Self::Delivered,
            Settlement::Dead { reason, .. } => Self::of_letter(reason),
            Settlement::Expired => Self::Expired,
            Settlement::ExpiredHeld => Self::Held,
            Settlement::Drained => Self::Drained,
            Settlement::Cancelled => Self::Cancelled,
            Settlement::Lost => Self::Lost,
        })
    }

    /// From the text of a dead letter, such as `http_404`, `attempts_exhausted: dns_timeout` or the code of a system.
    #[must_use]
    pub fn of_letter(text: &str) -> Self {
        let (text, is_exhausted) = match BEFORE_CAUSE.iter().find_map(|prefix| text.strip_prefix(prefix)) {
            Some(cause) => (cause, true),
            None => (text, false),
        };
        if let Some(status) = text.strip_prefix("http_").and_then(|status| status.parse().ok()) {
            // Another number would be taken for one of the words.
            return if (100..=999).contains(&status) { Self::Status(status) } else { Self::Other };
        }
        // A connection that was closed is tried again; a closed policy is not.
        if is_exhausted && text == "closed" {
            return Self::ConnectionClosed;
        }
        // What failed, without in which of several ways.
        let text = ["dns", "shortage"].into_iter().find(|kind| text.starts_with(kind)).unwrap_or(text);
        let known = Self::WORDS.iter().map(|(reason, _)| *reason);
        known.into_iter().find(|reason| reason.label() == text).unwrap_or(Self::Other)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::event::{NameFailure, Shortage};

    #[test]
    fn numbers_and_words_are_all_different_and_come_back() {
        let (mut numbers, mut words) = (HashSet::new(), HashSet::new());
        for (reason, when) in Reason::WORDS {
            assert!(numbers.insert(reason.number()) && words.insert(reason.word()), "{reason:?}");
            assert!(!(100..=999).contains(&reason.number()) && !when.contains('|'), "{reason:?}");
            assert_eq!(Reason::from_number(reason.number()), Some(*reason));
        }
        assert_eq!(Reason::from_number(404), Some(Reason::Status(404)));
        assert_eq!(Reason::from_number(0), None);
        assert_eq!(Reason::from_number(u16::MAX), None);
    }

    /// Written by this version; must mean the same for ever.
    #[test]
    fn the_numbers_stay_what_they_are() {
        let kept: Vec<u16> = Reason::WORDS.iter().map(|(reason, _)| reason.number()).collect();
        let first = [1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 30, 31, 32, 33, 34, 99];
        let systems = [1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008];
        assert_eq!(kept, [&first[..], &systems[..]].concat());
    }

    #[test]
    fn every_cause_of_a_dead_letter_has_a_reason() {
        let of = |cause: Cause| Reason::of_letter(&format!("attempts_exhausted: {cause}")).word();
        for (cause, word) in [
            (Cause::Status(503), "http_503"),
            (Cause::Timeout, "timeout"),
            (Cause::Connect, "connect"),
            (Cause::Dns(NameFailure::Timeout), "dns"),
            (Cause::Tls, "tls"),
            (Cause::Closed, "connection_closed"),
            (Cause::Refused, "refused"),
            (Cause::Shortage(Shortage::Ports), "shortage"),
            (Cause::Blocked, "blocked"),
            (Cause::Malformed, "malformed"),
            (Cause::Internal, "internal"),
        ] {
            assert_eq!(of(cause.clone()), word, "{cause:?}");
        }
        for (text, word) in [
            ("http_404", "http_404"),
            ("http_7", "other"),
            ("closed", "closed"),
            ("capped", "capped"),
            ("undecodable", "undecodable"),
            ("ambiguous: closed", "connection_closed"),
            ("ambiguous: timeout", "timeout"),
            ("ended_process", "ended_process"),
            ("something else", "other"),
        ] {
            assert_eq!(Reason::of_letter(text).word(), word);
        }
        assert_eq!(Reason::Status(404).label(), "4xx");
    }
}
