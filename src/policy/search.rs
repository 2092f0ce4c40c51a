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
//! A search is built beside the one before it: crowds whose patterns are the same are shared, so that a change costs the
//! crowds that it touches.
//!
//! Must not know: policies, which of several patterns is the better one.

use std::ops::Range;
use std::sync::Arc;

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

/// Most patterns that are named of one literal start next to a url.
const PATTERNS_OF_A_NEIGHBOUR: usize = 4;

/// All patterns, known by their places in the list that it was built from; the list itself is not kept.
pub(super) struct Search {
    on_hosts: LiteralStarts,
    on_any_host: LiteralStarts,
}

/// The patterns of one kind: with a host of their own, or on any host.
struct LiteralStarts {
    /// Their places in the list, in the order of their literal starts and then of their texts.
    order: Box<[u32]>,
    /// Each literal start once, in order.
    starts: Box<[LiteralStart]>,
}

/// Patterns with the same literal start, equal ones side by side.
struct LiteralStart {
    /// Where they stand in the order.
    patterns: Range<u32>,
    /// The longest other start that this one begins with.
    within: Option<u32>,
    crowd: Option<Box<Crowd>>,
}

/// The automaton of many patterns with the same literal start.
struct Crowd {
    automaton: Arc<Automaton>,
    /// Where each pattern of the automaton stands in the order for the first time.
    firsts: Box<[u32]>,
}

/// One automaton for all of them, equal ones once.
struct Automaton {
    dfa: DFA,
    caches: Pool<Cache, Box<dyn Fn() -> Cache + Send + Sync>>,
    /// The capacity that each cache was given, in bytes.
    cache_bytes: usize,
}

/// What the crowds that are still to be built may cost together.
struct Budget {
    nfa_bytes: usize,
    /// Of the caches, for each pattern of a crowd.
    cache_bytes: usize,
}

/// A search with the patterns that it was built from.
pub(super) struct FormerSearch<'b> {
    pub(super) search: &'b Search,
    /// The pattern that stood at a place of its list.
    pub(super) pattern: &'b dyn Fn(usize) -> &'b UrlPattern,
}

impl Search {
    /// Compiles the patterns; crowds take at most `nfa_bytes_max` bytes together, and are shared with those `before`.
    ///
    /// # Errors
    /// [`PolicyError::TooLarge`].
    pub(super) fn build(
        patterns: &[&UrlPattern],
        nfa_bytes_max: usize,
        before: Option<&FormerSearch<'_>>,
    ) -> Result<Self, PolicyError> {
        // Rounded, so that the share of a crowd stays what it was while a few patterns come and go.
        let cache_bytes = CACHE_BYTES / patterns.len().next_power_of_two();
        let mut budget = Budget { nfa_bytes: nfa_bytes_max, cache_bytes };
        let on_hosts = LiteralStarts::build(patterns, false, &mut budget, before)?;
        let on_any_host = LiteralStarts::build(patterns, true, &mut budget, before)?;
        Ok(Self { on_hosts, on_any_host })
    }

    /// Calls `found` with the place of each pattern that matches, in any order. `pattern` gives the pattern of a place.
    pub(super) fn for_each_match<'p>(
        &self,
        url: &CanonicalUrl,
        pattern: impl Fn(usize) -> &'p UrlPattern,
        mut found: impl FnMut(usize),
    ) {
        let mut find = |starts: &LiteralStarts, text: &str| {
            let pattern = |at: u32| pattern(at as usize);
            starts.find(text, url, &pattern, &mut |at: u32| found(at as usize));
        };
        find(&self.on_hosts, url.as_str());
        find(&self.on_any_host, url.path_and_query());
    }

    /// Calls `found` with the places of patterns whose literal starts stand next to a text in the order of all, for at most
    /// `most` starts on either side, and with how many bytes the start and the text share. No start shares more bytes than
    /// the closest ones do. `text` is a url, or a path where patterns on any host are asked.
    pub(super) fn for_each_neighbour<'p>(
        &self,
        text: &str,
        on_any_host: bool,
        most: usize,
        pattern: impl Fn(usize) -> &'p UrlPattern,
        mut found: impl FnMut(usize, usize),
    ) {
        let starts = if on_any_host { &self.on_any_host } else { &self.on_hosts };
        starts
            .near(text, most, &|at: u32| pattern(at as usize), &mut |at, shared| found(at as usize, shared));
    }
}

impl LiteralStarts {
    fn near<'p>(
        &self,
        text: &str,
        most: usize,
        pattern: &impl Fn(u32) -> &'p UrlPattern,
        found: &mut impl FnMut(u32, usize),
    ) {
        let at = |place: u32| self.order.get(place as usize).copied();
        let literal =
            |start: &LiteralStart| at(start.patterns.start).map_or("", |at| pattern(at).literal_start());
        let (below, above) =
            self.starts.split_at(self.starts.partition_point(|start| literal(start) <= text));
        for start in below.iter().rev().take(most).chain(above.iter().take(most)) {
            let bytes = literal(start).bytes().zip(text.bytes());
            let shared = bytes.take_while(|(one, other)| one == other).count();
            // A few of those with one start: there may be thousands.
            for place in start.patterns.clone().take(PATTERNS_OF_A_NEIGHBOUR) {
                if let Some(at) = at(place) {
                    found(at, shared);
                }
            }
        }
    }

    fn build(
        all: &[&UrlPattern],
        on_any_host: bool,
        budget: &mut Budget,
        before: Option<&FormerSearch<'_>>,
    ) -> Result<Self, PolicyError> {
        let placed = (0_u32..).zip(all).filter(|(_, pattern)| pattern.is_on_any_host() == on_any_host);
        let mut placed: Vec<(u32, &UrlPattern)> = placed.map(|(at, pattern)| (at, *pattern)).collect();
        // By text within a start, so that equal patterns stand side by side and are matched once.
        placed.sort_by(|(_, one), (_, next)| {
            one.literal_start().cmp(next.literal_start()).then_with(|| one.as_str().cmp(next.as_str()))
        });
        let mut starts: Vec<LiteralStart> = Vec::new();
        // The starts that the present one begins with, the shortest first.
        let mut around: Vec<(u32, &str)> = Vec::new();
        let mut from = 0;
        for same in placed.chunk_by(|(_, one), (_, next)| one.literal_start() == next.literal_start()) {
            // `chunk_by` gives no empty piece.
            let text = same.first().map_or("", |(_, pattern)| pattern.literal_start());
            // In sorted order a start that the present one does not begin with cannot come again.
            while around.pop_if(|(_, outer)| !text.starts_with(*outer)).is_some() {}
            let patterns = from..from + count(same.len());
            from = patterns.end;
            let within = around.last().map(|(at, _)| *at);
            around.push((count(starts.len()), text));
            // Compiling is what a change costs: a crowd of the same patterns is taken over.
            let known = before.and_then(|before| before.crowd(on_any_host, same));
            let crowd = Crowd::of(same, patterns.start, budget, known)?;
            starts.push(LiteralStart { patterns, within, crowd });
        }
        debug_assert_eq!(from as usize, placed.len(), "each pattern belongs to one start");
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
        let literal =
            |start: &LiteralStart| at(start.patterns.start).map_or("", |at| pattern(at).literal_start());
        let around = |start: &LiteralStart| start.within.and_then(|outer| self.starts.get(outer as usize));
        let above = self.starts.partition_point(|start| literal(start) <= text);
        let mut next = above.checked_sub(1).and_then(|last| self.starts.get(last));
        while let Some(start) = next.filter(|start| !text.starts_with(literal(start))) {
            next = around(start);
        }
        // The text begins with this one, and so with all that are around it.
        while let Some(start) = next {
            debug_assert!(
                text.starts_with(literal(start)),
                "a start lies within others that the text begins with"
            );
            let rest = text.get(literal(start).len()..).unwrap_or_default();
            let is_known = start.crowd.as_ref().is_some_and(|crowd| {
                crowd.find(rest, start.patterns.end, |places| places.filter_map(at).for_each(&mut *found))
            });
            // Also where an automaton gave up: asked one by one, the patterns say the same, only more slowly.
            if !is_known {
                self.ask(start, url, pattern, found);
            }
            next = around(start);
        }
    }

    /// Asks the patterns of one start one by one, equal ones once.
    fn ask<'p>(
        &self,
        start: &LiteralStart,
        url: &CanonicalUrl,
        pattern: &impl Fn(u32) -> &'p UrlPattern,
        found: &mut impl FnMut(u32),
    ) {
        let places = start.patterns.start as usize..start.patterns.end as usize;
        let mut last: Option<(&UrlPattern, bool)> = None;
        for at in self.order.get(places).unwrap_or_default() {
            let this = pattern(*at);
            // Thousands of policies may have one pattern: equal ones stand side by side.
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

impl FormerSearch<'_> {
    /// The automaton of these patterns of one start, if it was built from the same ones.
    fn crowd(&self, on_any_host: bool, same: &[(u32, &UrlPattern)]) -> Option<&Arc<Automaton>> {
        let Search { on_hosts, on_any_host: on_any } = self.search;
        let LiteralStarts { order, starts } = if on_any_host { on_any } else { on_hosts };
        let pattern = |place: usize| order.get(place).map(|at| (self.pattern)(*at as usize));
        let literal =
            |start: &LiteralStart| pattern(start.patterns.start as usize).map(UrlPattern::literal_start);
        let (_, first) = same.first()?;
        let at = starts.binary_search_by(|start| literal(start).cmp(&Some(first.literal_start()))).ok()?;
        let LiteralStart { patterns, crowd, .. } = starts.get(at)?;
        let crowd = crowd.as_ref()?;
        let mut known = (patterns.start as usize..patterns.end as usize).map(pattern);
        // Compared one by one: the automaton knows its patterns by their places among these.
        let is_same =
            patterns.len() == same.len() && same.iter().all(|(_, it)| known.next() == Some(Some(*it)));
        is_same.then_some(&crowd.automaton)
    }
}

impl Crowd {
    /// Of the patterns of one start, which stand in the order from `place` on, with the automaton that is `known` of them;
    /// none where there are few.
    fn of(
        same: &[(u32, &UrlPattern)],
        place: u32,
        budget: &mut Budget,
        known: Option<&Arc<Automaton>>,
    ) -> Result<Option<Box<Self>>, PolicyError> {
        if same.len() <= ASKED_AT_MOST {
            return Ok(None);
        }
        let (mut firsts, mut patterns) = (Vec::new(), Vec::new());
        let mut first = place;
        for equal in same.chunk_by(|(_, one), (_, next)| one == next) {
            firsts.push(first);
            patterns.extend(equal.first().map(|(_, pattern)| *pattern));
            first += count(equal.len());
        }
        debug_assert_eq!(
            firsts.len(),
            patterns.len(),
            "a match of the automaton is found again by its place"
        );
        if firsts.len() <= ASKED_AT_MOST {
            return Ok(None);
        }
        // In proportion to its patterns, so that the caches of all crowds together keep to their bound.
        let cache_bytes = budget.cache_bytes * firsts.len();
        let fits = |known: &&Arc<Automaton>| {
            // A cache is created with the capacity that its automaton was built for.
            known.cache_bytes == cache_bytes && known.nfa_bytes() <= budget.nfa_bytes
        };
        let automaton = match known.filter(fits) {
            Some(known) => Arc::clone(known),
            None => Arc::new(Automaton::of(&patterns, cache_bytes, budget.nfa_bytes)?),
        };
        budget.nfa_bytes = budget.nfa_bytes.saturating_sub(automaton.nfa_bytes());
        Ok(Some(Box::new(Self { automaton, firsts: firsts.into() })))
    }

    /// Calls `found` with the places of the patterns that match the rest of a url, equal ones together. `false` when the
    /// automaton gave up, which its configuration does not let it; `end` is the place behind the last pattern.
    fn find(&self, rest: &str, end: u32, mut found: impl FnMut(Range<u32>)) -> bool {
        let Automaton { dfa, caches, .. } = &*self.automaton;
        let mut cache = caches.get();
        let Some(state) = last_state(dfa, &mut cache, rest.as_bytes()) else { return false };
        let matches = if state.is_match() { dfa.match_len(&cache, state) } else { 0 };
        for nth in 0..matches {
            let pattern = dfa.match_pattern(&cache, state, nth).as_usize();
            if let Some(first) = self.firsts.get(pattern) {
                found(*first..self.firsts.get(pattern + 1).copied().unwrap_or(end));
            }
        }
        true
    }
}

impl Automaton {
    /// # Errors
    /// [`PolicyError::TooLarge`] when it would take more than `nfa_bytes` bytes.
    fn of(patterns: &[&UrlPattern], cache_bytes: usize, nfa_bytes: usize) -> Result<Self, PolicyError> {
        let expressions: Vec<String> = patterns.iter().map(|pattern| pattern.rest_as_regex()).collect();
        let dfa = DFA::builder()
            .configure(
                DFA::config()
                    // Every pattern that matches, not only the first: which is the better one is decided elsewhere.
                    .match_kind(MatchKind::All)
                    .cache_capacity(cache_bytes)
                    // A share below what an automaton needs at least is raised to that, instead of refused.
                    .skip_cache_capacity_check(true),
            )
            // By bytes: a canonical url is ASCII, and tables for Unicode would be many times as large.
            .syntax(syntax::Config::new().unicode(false).utf8(false).dot_matches_new_line(true))
            .thompson(thompson::Config::new().utf8(false).nfa_size_limit(Some(nfa_bytes)))
            .build_many(&expressions)
            .map_err(|error| PolicyError::TooLarge { reason: error.to_string() })?;
        let for_caches = dfa.clone();
        let new_cache: Box<dyn Fn() -> Cache + Send + Sync> = Box::new(move || for_caches.create_cache());
        Ok(Self { dfa, caches: Pool::new(new_cache), cache_bytes })
    }

    fn nfa_bytes(&self) -> usize {
        self.dfa.get_nfa().memory_usage()
    }
}

/// The state after the last byte: what matches there matches the whole text.
fn last_state(dfa: &DFA, cache: &mut Cache, text: &[u8]) -> Option<LazyStateID> {
    let input = Input::new(text).anchored(Anchored::Yes);
    let mut state = dfa.start_state_forward(cache, &input).ok()?;
    for byte in text {
        state = dfa.next_state(cache, state, *byte).ok()?;
        // Nothing that follows can match: the rest of a long url costs nothing.
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
