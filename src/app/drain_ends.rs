//! When drain windows end: looked up once for each state of the book, so that a generation is gone when its time is over,
//! and thousands of policies cost nothing meanwhile.
//!
//! Must not know: what follows from the end of a drain.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::policy::Book;

/// The next end of a drain window, by the book that it was looked up in.
#[derive(Default)]
pub(super) struct DrainEnds {
    known: Option<(Arc<Book>, Option<Timestamp>)>,
}

impl DrainEnds {
    /// When the next drain window ends under this book.
    pub(super) fn next(&mut self, book: Arc<Book>) -> Option<Timestamp> {
        match &self.known {
            Some((known, end)) if Arc::ptr_eq(known, &book) => *end,
            _ => {
                let end = book.next_end();
                self.known = Some((book, end));
                end
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::policy::Origin;
    use crate::policy::testing::{id, spec};

    #[test]
    fn the_next_end_is_that_of_the_present_book() {
        let (mut book, origin, mut ends) = (Book::default(), Origin::new("x"), DrainEnds::default());
        for name in ["a", "b"] {
            book.put(&origin, &id(name), spec("https://h.org/*", 1.0)).expect("free");
        }
        assert_eq!(ends.next(Arc::new(book.clone())), None, "nothing drains");
        book.rest(&origin, &id("a"), Timestamp::ZERO, Duration::from_secs(9)).expect("deployed");
        book.rest(&origin, &id("b"), Timestamp::ZERO, Duration::from_secs(7)).expect("deployed");
        let drains = Arc::new(book);
        assert_eq!(ends.next(drains.clone()), Some(Timestamp::from_millis(7_000)));
        assert_eq!(ends.next(drains), Some(Timestamp::from_millis(7_000)), "as it was");
    }
}
