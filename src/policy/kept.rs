//! What copies of a book share: a policy or an element, beside it the form in which it is stored, once somebody has needed
//! that. An edit makes an own copy and drops the form, so that a form is always that of its value.
//!
//! Must not know: how values are encoded, what a book is.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// A shared value that is copied when it is edited.
pub(super) struct Kept<T>(Arc<Inner<T>>);

struct Inner<T> {
    value: T,
    stored: OnceLock<Box<[u8]>>,
}

impl<T> Kept<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Arc::new(Inner { value, stored: OnceLock::new() }))
    }

    /// The stored form, by `make` unless it was made before.
    pub(super) fn stored<E>(&self, make: impl FnOnce(&T) -> Result<Vec<u8>, E>) -> Result<&[u8], E> {
        let Inner { value, stored } = &*self.0;
        if let Some(known) = stored.get() {
            return Ok(known);
        }
        // Outside the cell, because making may fail: an error is not remembered.
        let made = make(value)?;
        // A caller that came first meanwhile has made the same form.
        Ok(stored.get_or_init(|| made.into()))
    }
}

impl<T: Clone> Kept<T> {
    /// The value to be changed. Copies that others hold stay as they are.
    pub(super) fn edit(&mut self) -> &mut T {
        let Inner { value, stored } = Arc::make_mut(&mut self.0);
        // The form is that of the value before the edit.
        *stored = OnceLock::new();
        value
    }
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Clone> Clone for Inner<T> {
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), stored: OnceLock::new() }
    }
}

impl<T> Deref for Kept<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T: PartialEq> PartialEq for Kept<T> {
    fn eq(&self, other: &Self) -> bool {
        // Most values of two books are the same ones: they need not be compared.
        Arc::ptr_eq(&self.0, &other.0) || **self == **other
    }
}

impl<T: fmt::Debug> fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn stored(kept: &Kept<u32>) -> String {
        let made = kept.stored(|value| Ok::<_, Infallible>(value.to_string().into_bytes()));
        String::from_utf8_lossy(made.expect("infallible")).into_owned()
    }

    #[test]
    fn a_stored_form_is_that_of_the_value_whoever_shares_it() {
        let mut kept = Kept::new(1);
        assert_eq!(stored(&kept), "1");
        *kept.edit() = 2;
        assert_eq!(stored(&kept), "2", "nobody else had it");
        let before = kept.clone();
        *kept.edit() = 3;
        assert_eq!((stored(&before), stored(&kept)), ("2".to_owned(), "3".to_owned()));
        assert_ne!(before, kept);
        let same = kept.clone();
        assert_eq!(same.stored(|_| Err("not made again")), Ok(&b"3"[..]));
    }
}
