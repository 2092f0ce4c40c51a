//! The name that was meant by one that is not known.
//!
//! Must not know: what is named.

/// The known name that is at most three edits away, and fewer than it has letters.
#[must_use]
pub(crate) fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // The least by edits, and of equals the first by name, so that a hint does not depend on the order.
    let (edits, name) = known.map(|name| (distance(name, given), name)).min()?;
    (edits <= 3 && edits < name.len()).then_some(name)
}

/// How many bytes have to be added, left out or changed to make one name the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        // One row of the table is enough: each cell needs the one above, the one to the left and the one between them.
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let next = (diagonal + usize::from(x != y)).min(left + 1).min(*cell + 1);
            diagonal = *cell;
            left = next;
            *cell = next;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}
