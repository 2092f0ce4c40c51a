//! Random ids for the dialects, from one generator that is handed in.
//!
//! Must not know: what the ids are for.

use std::sync::{Arc, Mutex, PoisonError};

use crate::manage::dialect::is_uuid;

/// A generator that many requests share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Dice(Arc<Mutex<fastrand::Rng>>);

impl Dice {
    /// Lets many requests share this generator.
    #[must_use]
    pub(crate) fn new(random: fastrand::Rng) -> Self {
        Self(Arc::new(Mutex::new(random)))
    }

    /// A random number of 128 bits, each as likely as any other.
    #[must_use]
    pub(crate) fn roll(&self) -> u128 {
        self.take(|random| random.u128(..))
    }

    /// A random UUID, version 4, in its usual form.
    pub(super) fn uuid(&self) -> String {
        let uuid = uuid_of(self.roll());
        debug_assert!(is_uuid(&uuid), "dialects know the policies that are theirs by this form");
        uuid
    }

    /// This many random letters and digits.
    pub(super) fn letters(&self, count: usize) -> String {
        self.take(|random| std::iter::repeat_with(|| random.alphanumeric()).take(count).collect())
    }

    fn take<T>(&self, take: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        // A generator is whole between any two calls, so a poisoned lock is harmless.
        take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The random UUID that a number makes.
pub(super) fn uuid_of(roll: u128) -> String {
    uuid::Builder::from_random_bytes(roll.to_be_bytes()).into_uuid().to_string()
}
