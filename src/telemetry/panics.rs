//! Panics are defects: each is counted once, where it happens. Code that catches one, or notices it, counts nothing.
//!
//! Must not know: who catches them.

use std::panic::{self, PanicHookInfo};
use std::sync::Once;

use crate::telemetry::Defect;

/// Part of the path of the index library's source. It panics where a call of the system fails, which the store makes an
/// error of.
const INDEX_LIBRARY: &str = "/sled-";

static INSTALLED: Once = Once::new();

/// Counts every panic of this process from now on, and then does as before. A second call changes nothing.
pub(crate) fn count_panics() {
    INSTALLED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if is_defect(panic) {
                Defect { place: "a panic" }.emit();
            }
            before(panic);
        }));
    });
}

fn is_defect(panic: &PanicHookInfo<'_>) -> bool {
    // Without a place it counts: a panic that nobody can place is none that is expected.
    panic.location().is_none_or(|place| !place.file().contains(INDEX_LIBRARY))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::testing::Recorded;

    #[test]
    fn a_panic_counts_once_also_when_it_is_caught() {
        let recorded = Recorded::new();
        let _local = recorded.set();
        count_panics();
        count_panics();
        let caught = panic::catch_unwind(|| -> u8 { panic!("a test") });
        assert!(caught.is_err());
        assert_eq!(recorded.sum("tidegate_defects_total", ""), 1.0);
    }
}
