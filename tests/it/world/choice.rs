//! Which of very many cases a test runs: a sample by a seed, those that are named, or all.
//!
//! Must not know: what a case is.

const DEFAULT_SEED: u64 = 20_261_128;

/// As the environment says. Its names do not begin as those of settings do: the program under test inherits them.
pub(crate) struct Choice {
    /// `JUDGE_SEED`: draws the sample.
    pub(crate) seed: u64,
    /// `JUDGE_CASE`: only cases whose line contains it.
    part: Option<String>,
    /// `JUDGE_LONG`: all of them.
    is_long: bool,
    /// `JUDGE_AT_ONCE`: how many of them run at a time, for tests that run several.
    pub(crate) at_once: Option<usize>,
}

impl Choice {
    #[expect(clippy::disallowed_methods, reason = "the tests have no configuration of their own")]
    pub(crate) fn of_environment() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let seed = variable("JUDGE_SEED").map(|text| text.parse().expect("JUDGE_SEED is a number"));
        let (part, is_long) = (variable("JUDGE_CASE"), variable("JUDGE_LONG").is_some());
        let at_once = variable("JUDGE_AT_ONCE").map(|text| text.parse().expect("JUDGE_AT_ONCE is a number"));
        Self { seed: seed.unwrap_or(DEFAULT_SEED), part, is_long, at_once }
    }

    /// The chosen ones of all cases.
    pub(crate) fn of<T: ToString>(
        &self,
        mut all: Vec<T>,
        sample: impl FnOnce(Vec<T>, u64) -> Vec<T>,
    ) -> Vec<T> {
        match &self.part {
            Some(part) => {
                all.retain(|case| case.to_string().contains(part));
                all
            }
            None if self.is_long => all,
            None => sample(all, self.seed),
        }
    }

    /// Whether the cases are a sample: then some things can be expected of them as a whole.
    pub(crate) fn is_sample(&self) -> bool {
        self.part.is_none() && !self.is_long
    }
}
