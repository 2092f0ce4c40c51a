//! Routes whose last segment names one thing, with or without a verb behind a colon: what each kind of thing is called, how
//! it is read, which verbs it has. The router cannot take such a segment apart: one route serves both, and what does not fit
//! is refused here.
//!
//! Must not know: what the verbs do.

use axum::response::Response;

use crate::ops::desk::{respond, wrong_method};
use crate::problem::{Problem, codes};

/// A kind of things that have a route each, and verbs beside it.
pub(super) struct Resource {
    /// What many of them are called.
    plural: &'static str,
    /// The methods of the route without a verb.
    allow: &'static str,
    /// What is done there, for those who come with another method.
    plain: &'static str,
    /// The verbs, as paths spell them.
    verbs: &'static [&'static str],
}

pub(super) const POLICIES: Resource = Resource {
    plural: "policies",
    allow: "GET,HEAD,PUT,DELETE",
    plain: "a policy is read, put or deleted here",
    verbs: &["pause", "resume", "purge", "set-usage"],
};

pub(super) const EVENTS: Resource = Resource {
    plural: "events",
    allow: "GET,HEAD,DELETE",
    plain: "an event is looked up or cancelled here",
    verbs: &["delay", "send-now"],
};

pub(super) const LETTERS: Resource = Resource {
    plural: "dead letters",
    allow: "GET,HEAD",
    plain: "a dead letter is only read here",
    verbs: &["redrive", "purge"],
};

pub(super) const CHANGES: Resource = Resource {
    plural: "changes",
    allow: "GET,HEAD",
    plain: "a change of many is looked up here",
    verbs: &["stop"],
};

pub(super) const DOUBTS: Resource = Resource {
    plural: "doubts",
    allow: "GET,HEAD",
    plain: "a doubt is only read here",
    verbs: &["acknowledge", "retry", "give-up", "confirm"],
};

impl Resource {
    /// The answer to a method that the thing, or its verb, does not have, and to a verb that there is not.
    pub(super) fn refuse(&self, verb: Option<&str>) -> Response {
        match verb {
            None => {
                wrong_method(self.allow, &format!("{}; POST goes to {{id}}{}", self.plain, self.listed("or")))
            }
            Some(verb) if self.verbs.contains(&verb) => {
                wrong_method("POST", "verbs change things: call them with POST")
            }
            Some(_) => {
                let detail = format!("no such verb; {} have {}", self.plural, self.listed("and"));
                respond(Err(Box::new(Problem::of(codes::NOT_FOUND, detail))))
            }
        }
    }

    /// The verbs with their colons, in a sentence.
    fn listed(&self, last: &str) -> String {
        let verbs: Vec<String> = self.verbs.iter().map(|verb| format!(":{verb}")).collect();
        match verbs.split_last() {
            Some((end, before)) if !before.is_empty() => format!("{} {last} {end}", before.join(", ")),
            _ => verbs.concat(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::dead::LetterVerb;
    use crate::ops::doubts::DoubtVerb;
    use crate::ops::verbs::PolicyVerb;

    #[test]
    fn the_verbs_are_those_that_the_routes_know() {
        assert!(POLICIES.verbs.iter().all(|verb| PolicyVerb::parse(verb).is_some()));
        assert!(LETTERS.verbs.iter().all(|verb| LetterVerb::parse(verb).is_some()));
        assert!(DOUBTS.verbs.iter().all(|verb| DoubtVerb::parse(verb).is_some()));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_does() {
        let plain = POLICIES.refuse(None);
        assert_eq!(
            (plain.status().as_u16(), &plain.headers()["allow"]),
            (405, &"GET,HEAD,PUT,DELETE".parse().expect("a header"))
        );
        let known = CHANGES.refuse(Some("stop"));
        assert_eq!(
            (known.status().as_u16(), &known.headers()["allow"]),
            (405, &"POST".parse().expect("a header"))
        );
        assert_eq!(CHANGES.refuse(Some("go")).status().as_u16(), 404);
        assert_eq!(DOUBTS.listed("and"), ":acknowledge, :retry, :give-up and :confirm");
        assert_eq!(CHANGES.listed("or"), ":stop");
    }
}
