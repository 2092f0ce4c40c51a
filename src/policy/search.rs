//! Which of very many url patterns match a url.
//!
//! Patterns stand in the order of their literal starts. The last start that is not above the url and the starts that it
//! begins with are the only ones that the url can begin with, so one binary search leaves the few patterns that may match,
//! and these are asked one by one. Where many patterns have the same start, they are a *crowd*: one lazy automaton walks
//! over the rest of the url for all of them together.
//!
//! Costs: some 24 bytes for a pattern beside its text, and a microsecond per url. A pattern is asked in time linear in the
//! url. Crowds cost a table look-up per byte once the states on the way are built; their automata and the caches of their
//! states are bounded together, so hostile patterns cost time in proportion to their size and never memory beyond that.
//!
//! Must not know: policies, which of several patterns is the better one.

use std::ops::Range;

use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::util::pool::Pool;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};

use crate::event::CanonicalUrl;
use crate::policy::{PolicyError, UrlPattern};

/// Most bytes of the compiled crowds: some 10 000 patterns with 100 characters behind their common start.
pub(super) const NFA_BYTES_MAX: usize = 128 << 20;
/// Bytes of built states per thread, of all crowds together.
const CACHE_BYTES: usize = 8 << 20;
/// Most patterns of one start that are asked one by one: an automaton costs a hundred times the memory of its patterns.
const ASKED_AT_MOST: usize = 16;

/// All patterns, known by their places in the list that it was built from.
pub(super) struct Search {
    on_hosts: Starts,
    on_any_host: Starts,
}

/// The patterns of one kind.
struct Starts {
    /// Their places in the list, in the order of their literal starts and then of their texts.
    order: Box<[u32]>,
    /// Each literal start once, in order.
    starts: Box<[Start]>,
}

/// Patterns with the same literal start.
struct Start {
    /// Where they stand in the order.
    patterns: Range<u32>,
    /// The longest other start that this one begins with.
    within: Option<u32>,
    crowd: Option<Box<Crowd>>,
}

/// One automaton for many patterns with the same literal start.
struct Crowd {
    dfa: DFA,
    caches: Pool<Cache, Box<dyn Fn() -> Cache + Send + Sync>>,
    /// Where each pattern of the automaton stands in the order for the first time.
    firsts: Box<[u32]>,
}

/// What crowds may still cost.
struct Budget {
    nfa_bytes: usize,
    /// How many patterns share the caches.
    patterns: usize,
}

impl Search {
    /// Compiles the patterns; crowds take at most `nfa_bytes_max` bytes together.
    ///
    /// # Errors
    /// [`PolicyError::TooLarge`].
    pub(super) fn build(patterns: &[&UrlPattern], nfa_bytes_max: usize) -> Result<Self, PolicyError> {
        let mut budget = Budget { nfa_bytes: nfa_bytes_max, patterns: patterns.len() };
        let on_hosts = Starts::build(patterns, false, &mut budget)?;
        let on_any_host = Starts::build(patterns, true, &mut budget)?;
        Ok(Self { on_hosts, on_any_host })
    }

    /// Calls `found` with the place of each pattern that matches, in any order. `pattern` gives the pattern of a place.
    pub(super) fn for_each_match<'p>(
        &self,
        url: &CanonicalUrl,
        pattern: impl Fn(usize) -> &'p UrlPattern,
        mut found: impl FnMut(usize),
    ) {
        let mut find = |starts: &Starts, text: &str| {
            let pattern = |at: u32| pattern(at as usize);
            starts.find(text, url, &pattern, &mut |at: u32| found(at as usize));
        };
        find(&self.on_hosts, url.as_str());
        find(&self.on_any_host, url.path_and_query());
    }
}

impl Starts {
    fn build(all: &[&UrlPattern], on_any_host: bool, budget: &mut Budget) -> Result<Self, PolicyError> {
        let placed = (0_u32..).zip(all).filter(|(_, pattern)| pattern.is_on_any_host() == on_any_host);
        let mut placed: Vec<(u32, &UrlPattern)> = placed.map(|(at, pattern)| (at, *pattern)).collect();
        placed.sort_by(|(_, one), (_, next)| {
            one.literal_start().cmp(next.literal_start()).then_with(|| one.as_str().cmp(next.as_str()))
        });
        let mut starts: Vec<Start> = Vec::new();
        // The starts that the present one begins with, the shortest first.
        let mut around: Vec<(u32, &str)> = Vec::new();
        let mut from = 0;
        for same in placed.chunk_by(|(_, one), (_, next)| one.literal_start() == next.literal_start()) {
            let text = same.first().map_or("", |(_, pattern)| pattern.literal_start());
            while around.pop_if(|(_, outer)| !text.starts_with(*outer)).is_some() {}
            let patterns = from..from + count(same.len());
            from = patterns.end;
            let within = around.last().map(|(at, _)| *at);
            around.push((count(starts.len()), text));
            let crowd = Crowd::of(same, patterns.start, budget)?;
            starts.push(Start { patterns, within, crowd });
        }
        Ok(Self { order: placed.iter().map(|(at, _)| *at).collect(), starts: starts.into() })
    }

    fn find<'p>(
        &self,
        text: &str,
        url: &CanonicalUrl,
        pattern: &impl Fn(u32) -> &'p UrlPattern,
        found: &mut impl FnMut(u32),
    ) {
        let at = |place: u32| self.order.get(place as usize).copied();
        let literal = |start: &Start| at(start.patterns.start).map_or("", |at| pattern(at).literal_start());
        let around = |start: &Start| start.within.and_then(|outer| self.starts.get(outer as usize));
        let above = self.starts.partition_point(|start| literal(start) <= text);
        let mut next = above.checked_sub(1).and_then(|last| self.starts.get(last));
        while let Some(start) = next.filter(|start| !text.starts_with(literal(start))) {
            next = around(start);
        }
        // The text begins with this one, and so with all that are around it.
        while let Some(start) = next {
            let rest = text.get(literal(start).len()..).unwrap_or_default();
            let is_known = start.crowd.as_ref().is_some_and(|crowd| {
                crowd.find(rest, start.patterns.end, |places| places.filter_map(at).for_each(&mut *found))
            });
            if !is_known {
                self.ask(start, url, pattern, found);
            }
            next = around(start);
        }
    }

    /// Asks the patterns of one start one by one, equal ones once.
    fn ask<'p>(
        &self,
        start: &Start,
        url: &CanonicalUrl,
        pattern: &impl Fn(u32) -> &'p UrlPattern,
        found: &mut impl FnMut(u32),
    ) {
        let places = start.patterns.start as usize..start.patterns.end as usize;
        let mut last: Option<(&UrlPattern, bool)> = None;
        for at in self.order.get(places).unwrap_or_default() {
            let this = pattern(*at);
            let matches = match last {
                Some((same, matches)) if same == this => matches,
                _ => this.matches(url),
            };
            last = Some((this, matches));
            if matches {
                found(*at);
            }
        }
    }
}

impl Crowd {
    /// Of the patterns of one start, which stand in the order from `place` on; none where there are few.
    fn of(
        same: &[(u32, &UrlPattern)],
        place: u32,
        budget: &mut Budget,
    ) -> Result<Option<Box<Self>>, PolicyError> {
        if same.len() <= ASKED_AT_MOST {
            return Ok(None);
        }
        let (mut firsts, mut expressions) = (Vec::new(), Vec::new());
        let mut first = place;
        for equal in same.chunk_by(|(_, one), (_, next)| one == next) {
            firsts.push(first);
            expressions.extend(equal.first().map(|(_, pattern)| pattern.rest_as_regex()));
            first += count(equal.len());
        }
        if firsts.len() <= ASKED_AT_MOST {
            return Ok(None);
        }
        let cache_bytes = CACHE_BYTES / budget.patterns.max(1) * firsts.len();
        let dfa = DFA::builder()
            .configure(
                DFA::config()
                    .match_kind(MatchKind::All)
                    .cache_capacity(cache_bytes)
                    .skip_cache_capacity_check(true),
            )
            .syntax(syntax::Config::new().unicode(false).utf8(false).dot_matches_new_line(true))
            .thompson(thompson::Config::new().utf8(false).nfa_size_limit(Some(budget.nfa_bytes)))
            .build_many(&expressions)
            .map_err(|error| PolicyError::TooLarge { reason: error.to_string() })?;
        budget.nfa_bytes = budget.nfa_bytes.saturating_sub(dfa.get_nfa().memory_usage());
        let for_caches = dfa.clone();
        let new_cache: Box<dyn Fn() -> Cache + Send + Sync> = Box::new(move || for_caches.create_cache());
        Ok(Some(Box::new(Self { dfa, caches: Pool::new(new_cache), firsts: firsts.into() })))
    }

    /// Calls `found` with the places of the patterns that match the rest of a url, equal ones together. `false` when the
    /// automaton gave up, which its configuration does not let it; `end` is the place behind the last pattern.
    fn find(&self, rest: &str, end: u32, mut found: impl FnMut(Range<u32>)) -> bool {
        let mut cache = self.caches.get();
        let Some(state) = last_state(&self.dfa, &mut cache, rest.as_bytes()) else { return false };
        let matches = if state.is_match() { self.dfa.match_len(&cache, state) } else { 0 };
        for nth in 0..matches {
            let pattern = self.dfa.match_pattern(&cache, state, nth).as_usize();
            if let Some(first) = self.firsts.get(pattern) {
                found(*first..self.firsts.get(pattern + 1).copied().unwrap_or(end));
            }
        }
        true
    }
}

/// The state after the last byte: what matches there matches the whole text.
fn last_state(dfa: &DFA, cache: &mut Cache, text: &[u8]) -> Option<LazyStateID> {
    let input = Input::new(text).anchored(Anchored::Yes);
    let mut state = dfa.start_state_forward(cache, &input).ok()?;
    for byte in text {
        state = dfa.next_state(cache, state, *byte).ok()?;
        if state.is_dead() {
            return Some(state);
        }
        if state.is_quit() {
            return None;
        }
    }
    dfa.next_eoi_state(cache, state).ok()
}

/// There are fewer patterns than four billion: they would not fit into memory.
fn count(patterns: usize) -> u32 {
    u32::try_from(patterns).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
