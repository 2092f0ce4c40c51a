//! The event of a dead letter, as it is handed in again: routed as at the door, with a new life and no attempts.
//!
//! Must not know: how it gets into the queue.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{DeadDesk, whole_millis};
use crate::event::{CanonicalUrl, Event, Lane, PolicyId, Redriven, forbidden_header, parse_method};
use crate::ingest::NoRoute;
use crate::queue::Remade;
use crate::store::{DeadLetter, MAX_RECORD_BYTES, record};

/// The longest new life. The key under which the event is handed in again is kept for a day: as long as it waits, the id by
/// which it is known leads to it.
const MAX_LIFE: Duration = Duration::from_secs(23 * 3600);
const MIN_LIFE: Duration = Duration::from_secs(1);

/// How letters are handed in again.
#[derive(Debug, Clone, Default)]
pub(super) struct Again {
    /// Another URL of the same policies; `None` for the same one.
    pub url: Option<CanonicalUrl>,
    /// The event gets a new id, for receivers that drop what they know.
    pub new_id: bool,
    /// Who asks for it.
    pub by: String,
}

/// The event of a letter for the queue.
///
/// # Errors
/// Why it cannot be handed in, for people.
pub(super) fn remake(desk: &DeadDesk, letter: &DeadLetter, again: &Again) -> Result<Remade, String> {
    let mut event =
        record::decode(&letter.record).map_err(|_| "its record does not decode; export it".to_owned())?;
    not_at_the_door(&event)?;
    let before = again.url.clone().map(|url| std::mem::replace(&mut event.url, url));
    let runtime = desk.policies.runtime();
    let priority = letter.lane.priority();
    let lane = desk.router.route(&runtime, &event.method, &event.url, &event.labels, priority);
    let lane = lane.map_err(|refused| refusal(&refused))?;
    if before.is_some() && Lane::parse(&letter.lane).map_or(true, |died_in| ids(&died_in) != ids(&lane)) {
        return Err(format!(
            "other policies govern {} than governed it; give a url of the same policies",
            event.url.without_query()
        ));
    }
    let now = desk.clock.now();
    // As long as it was to live at first, measured from the acceptance of this entry.
    let life = event.expires_at.since(letter.id.accepted_at());
    let life = life.min(desk.router.defaults.max_ttl).min(MAX_LIFE).max(MIN_LIFE);
    let count = event.redriven.as_ref().map_or(0, |redriven| redriven.count);
    let from_url = before.filter(|before| *before != event.url);
    event.redriven = Some(Box::new(Redriven {
        origin: letter.name(),
        is_renamed: again.new_id,
        count: count.checked_add(1).ok_or("it was redriven 65 535 times")?,
        at: whole_millis(now),
        by: again.by.clone(),
        from_url: from_url.map(|url| url.without_query().to_owned()),
    }));
    (event.due_at, event.is_dated, event.expires_at) = (None, false, now + life);
    let bytes = record::encode(&event).map_err(|error| error.to_string())?.len();
    if bytes > MAX_RECORD_BYTES {
        return Err(format!("with what is kept of the redrive it is longer than {MAX_RECORD_BYTES} bytes"));
    }
    Ok(Remade { lane, event })
}

/// Holds an event against what the door refuses of every event: a letter may have been imported, from wherever.
///
/// # Errors
/// The member, and the door's rule, for people.
pub(super) fn not_at_the_door(event: &Event) -> Result<(), String> {
    let method = event.method.as_str();
    match parse_method(method) {
        Ok(parsed) if parsed == event.method => {}
        Ok(parsed) => return Err(format!("its method {method:?} must be {:?}", parsed.as_str())),
        Err(error) => return Err(format!("its method {error}")),
    }
    match event.headers.keys().find(|name| forbidden_header(name)) {
        Some(name) => {
            Err(format!("its header {name} belongs to the connection or to tidegate itself; leave it out"))
        }
        None => Ok(()),
    }
}

fn ids(lane: &Lane) -> BTreeSet<&PolicyId> {
    lane.policies().iter().map(|part| &part.policy).collect()
}

fn refusal(refused: &NoRoute) -> String {
    match refused {
        NoRoute::Egress(reason) => format!("its address may not be called: {reason}"),
        NoRoute::Unmatched => "no deployed policy matches its method and url".to_owned(),
        NoRoute::Label(_) | NoRoute::Lane(_) => {
            format!("it would be refused at the door: {}", refused.code().word)
        }
    }
}
