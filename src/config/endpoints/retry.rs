//! The member `retry` of an `[[endpoint]]` block: a table, or the word for how a system repeats its calls.
//!
//! Must not know: what follows from the rules.

use std::num::NonZeroU16;
use std::time::Duration;

use super::ForAllCalls;
use crate::config::blocks::BlockReader;
use crate::dispatch::{RetryPolicy, RetryRules, StatusRule, StatusRules};
use crate::policy::Given;

/// All members of the table, in the order in which they are written.
const MEMBERS: [&str; 7] =
    ["max_attempts", "min_delay_ms", "max_delay_ms", "retried", "dead", "fine", "ambiguous"];
/// How the product repeats its calls whose journeys tidegate stands in for.
const ADOBE: &str = "adobe";

/// Rules for classes, by their first digit, and for single statuses.
#[derive(Default)]
struct Statuses {
    classes: Vec<(u16, StatusRule)>,
    singles: Vec<(u16, StatusRule)>,
}

/// `None` when the member breaks a rule; what is absent is as for all calls.
pub(super) fn retry(block: &mut BlockReader<'_>, for_all: ForAllCalls) -> Option<RetryRules> {
    let given = match block.members.get("retry") {
        None => return Some(RetryRules::of(for_all.retry)),
        Some(Given::Text(word)) if word == ADOBE => return Some(adobe(for_all.total_timeout)),
        Some(Given::Table(members)) => members,
        Some(_) => {
            let rule = "must be \"adobe\" or a table, as retry = { max_attempts = 5 }";
            block.note(&["retry"], rule);
            return None;
        }
    };
    let mut table = BlockReader::new(given);
    table.refuse_unknown(&MEMBERS);
    let policy = policy(&mut table, for_all.retry);
    let statuses = statuses(&mut table);
    let ambiguous_is_dead = match table.members.get("ambiguous") {
        None => false,
        Some(Given::Text(word)) if word == "retried" => false,
        Some(Given::Text(word)) if word == "dead" => true,
        Some(_) => {
            table.note(&["ambiguous"], "must be \"retried\" or \"dead\"");
            false
        }
    };
    let faults = table.faults;
    let is_right = faults.is_empty();
    block.note_within("retry", faults);
    is_right.then_some(RetryRules { policy, statuses, ambiguous_is_dead, within: None })
}

fn policy(table: &mut BlockReader<'_>, for_all: RetryPolicy) -> RetryPolicy {
    let attempts = table.number("max_attempts", 0..=1_000).and_then(|attempts| u16::try_from(attempts).ok());
    let base = table.number("min_delay_ms", 1..=3_600_000).map_or(for_all.base, Duration::from_millis);
    let cap = table.number("max_delay_ms", 1..=86_400_000).map_or(for_all.cap, Duration::from_millis);
    if base > cap {
        let rule = "must not exceed max_delay_ms, which is that of [retry] where the block does not set it";
        table.note(&["min_delay_ms"], rule);
    }
    RetryPolicy { base, cap, max_attempts: attempts.map_or(for_all.max_attempts, NonZeroU16::new) }
}

fn statuses(table: &mut BlockReader<'_>) -> StatusRules {
    let mut found = Statuses::default();
    for (name, rule) in
        [("retried", StatusRule::Retried), ("dead", StatusRule::Dead), ("fine", StatusRule::Fine)]
    {
        let values = match table.members.get(name) {
            None => continue,
            Some(Given::List(values)) => values.as_slice(),
            Some(one) => std::slice::from_ref(one),
        };
        for value in values {
            if let Err(problem) = found.add(value, rule) {
                table.note(&[name], problem);
            }
        }
    }
    StatusRules::of(&found.classes, &found.singles)
}

impl Statuses {
    /// # Errors
    /// What is wrong with it, and the way out.
    fn add(&mut self, value: &Given, rule: StatusRule) -> Result<(), String> {
        let told = match value {
            Given::Text(text) => text.clone(),
            Given::Integer(number) => number.to_string(),
            _ => String::new(),
        };
        let class = told.strip_suffix("xx").and_then(|digit| digit.parse::<u16>().ok());
        let (list, key) = match class.filter(|class| (3..=5).contains(class)) {
            Some(class) => (&mut self.classes, class),
            None => {
                let status = told.parse::<u16>().ok().filter(|status| StatusRules::RANGE.contains(status));
                let status = status.ok_or_else(|| {
                    "must list statuses from 300 to 599, as 404 or \"404\", or classes of them, as \"5xx\"; 2xx is \
                     always delivered"
                        .to_owned()
                })?;
                (&mut self.singles, status)
            }
        };
        if list.iter().any(|(known, _)| *known == key) {
            return Err(format!("must list {told:?} once, in one of retried, dead and fine"));
        }
        list.push((key, rule));
        Ok(())
    }
}

/// At most 3 retries within the timeout of the call, for every status but three.
fn adobe(total_timeout: Duration) -> RetryRules {
    const FOUR: Option<NonZeroU16> = NonZeroU16::new(4);
    let every_error = [3, 4, 5].map(|class| (class, StatusRule::Retried));
    let never = [401, 403, 404].map(|status| (status, StatusRule::Dead));
    RetryRules {
        policy: RetryPolicy { base: Duration::from_millis(100), cap: total_timeout, max_attempts: FOUR },
        statuses: StatusRules::of(&every_error, &never),
        ambiguous_is_dead: false,
        within: Some(total_timeout),
    }
}
