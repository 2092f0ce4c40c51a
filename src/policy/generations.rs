//! The deployed lives of one policy, by number: one or two as a rule, so a short list in one piece. A tree would take ten
//! times the memory, for each of thousands of policies.
//!
//! Must not know: what makes a generation begin and end.

use crate::policy::GenerationState;

/// Deployed lives by number, lowest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Generations(Vec<(u32, GenerationState)>);

impl Generations {
    /// A policy that was never deployed.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The state of the generation with this number.
    #[must_use]
    pub fn get(&self, number: &u32) -> Option<&GenerationState> {
        let place = self.0.binary_search_by_key(number, |(known, _)| *known).ok()?;
        self.0.get(place).map(|(_, state)| state)
    }

    /// Whether there is a generation with this number.
    #[must_use]
    pub fn contains_key(&self, number: &u32) -> bool {
        self.get(number).is_some()
    }

    /// All generations with their numbers, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (&u32, &GenerationState)> {
        self.0.iter().map(|(number, state)| (number, state))
    }

    /// Their numbers, lowest first.
    #[cfg(test)]
    pub fn keys(&self) -> impl Iterator<Item = &u32> {
        self.0.iter().map(|(number, _)| number)
    }

    /// Their states, the oldest first.
    pub fn values(&self) -> impl Iterator<Item = &GenerationState> {
        self.0.iter().map(|(_, state)| state)
    }

    /// The one that takes new events.
    pub(super) fn active(&self) -> Option<u32> {
        let active = self.iter().find(|(_, state)| **state == GenerationState::Active);
        active.map(|(number, _)| *number)
    }

    /// How many generations there are, active and draining.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no generation, neither active nor draining.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut GenerationState> {
        self.0.iter_mut().map(|(_, state)| state)
    }

    /// Adds one, or replaces the state of one that is there.
    pub(super) fn insert(&mut self, number: u32, state: GenerationState) {
        match self.0.binary_search_by_key(&number, |(known, _)| *known) {
            Ok(place) => self.0.iter_mut().skip(place).take(1).for_each(|known| known.1 = state),
            Err(place) => {
                // Most policies never have a second one.
                self.0.reserve_exact(1);
                self.0.insert(place, (number, state));
            }
        }
        debug_assert!(self.0.is_sorted_by(|one, next| one.0 < next.0), "look-ups go by the order of numbers");
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(GenerationState) -> bool) {
        self.0.retain(|(_, state)| keep(*state));
    }
}

impl FromIterator<(u32, GenerationState)> for Generations {
    fn from_iter<I: IntoIterator<Item = (u32, GenerationState)>>(all: I) -> Self {
        let mut generations = Self::new();
        all.into_iter().for_each(|(number, state)| generations.insert(number, state));
        generations
    }
}

impl<const N: usize> From<[(u32, GenerationState); N]> for Generations {
    fn from(all: [(u32, GenerationState); N]) -> Self {
        all.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn they_are_in_order_and_the_last_state_of_a_number_counts() {
        let ends = |ms| GenerationState::Draining { until: Timestamp::from_millis(ms) };
        let mut all = Generations::from([(7, ends(1)), (2, GenerationState::Active), (7, ends(2))]);
        assert_eq!(all.iter().collect::<Vec<_>>(), [(&2, &GenerationState::Active), (&7, &ends(2))]);
        assert_eq!((all.get(&7), all.get(&3), all.contains_key(&2)), (Some(&ends(2)), None, true));
        all.retain(|state| state == GenerationState::Active);
        assert_eq!((all.len(), all.is_empty()), (1, false));
        assert_eq!(all, [(2, GenerationState::Active)].into());
    }
}
