//! A short list that holds its first two items in place: most lanes have one or two limits, and a decision
//! for them must not allocate.
//!
//! Must not know: what it holds.

/// A list in order of insertion; from the third item on it allocates.
#[derive(Debug)]
pub(super) struct Few<T> {
    first: Option<T>,
    second: Option<T>,
    rest: Vec<T>,
}

impl<T> Few<T> {
    /// Without items, without memory of its own.
    pub(super) const fn new() -> Self {
        Self { first: None, second: None, rest: Vec::new() }
    }

    /// Appends an item.
    pub(super) fn push(&mut self, item: T) {
        if self.first.is_none() {
            self.first = Some(item);
        } else if self.second.is_none() {
            self.second = Some(item);
        } else {
            self.rest.push(item);
        }
    }

    /// The items, oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.first.iter().chain(&self.second).chain(&self.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_keep_their_order_in_place_and_beyond() {
        for count in 0..6 {
            let mut few = Few::new();
            (0..count).for_each(|n| few.push(n));
            assert!(few.iter().copied().eq(0..count));
            assert!(few.iter().rev().copied().eq((0..count).rev()));
        }
    }
}
