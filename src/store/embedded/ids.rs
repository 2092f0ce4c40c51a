//! Event ids that lead to their entry without an index: segment (24 bits), offset / 8 (23), index in the
//! block (12), and 15 bits of the directory's salt, by which ids of another directory are told apart.
//!
//! Must not know: what stands at the position.

use std::collections::HashSet;

use crate::event::EventId;
use crate::store::embedded::journal::Position;
use crate::telemetry::defect;

/// Where the entry of an id stands, if the id is of this directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Home {
    pub block: Position,
    pub index: u8,
}

const SALT_BITS: u32 = 15;

/// The id of the entry at `home`: a position of the journal, so its offset is a multiple of 8 below 2^26, and its
/// segment below 2^24.
pub(super) fn encode(accepted_ms: u64, home: Home, salt: u64) -> EventId {
    let Position { segment, offset } = home.block;
    defect!(unless segment < 1 << 24 && offset < 1 << 26 && offset.is_multiple_of(8), "a place that no id can name");
    let tail = (u128::from(home.block.segment & 0xff_ffff) << 50)
        | (u128::from((home.block.offset / 8) & 0x7f_ffff) << 27)
        | (u128::from(home.index) << SALT_BITS)
        | u128::from(salt & 0x7fff);
    let id = EventId::new(accepted_ms, tail);
    debug_assert_eq!(decode(id, salt), Some(home));
    id
}

pub(super) fn decode(id: EventId, salt: u64) -> Option<Home> {
    let tail = id.tail();
    // Each part is masked to its bits before it is narrowed.
    let part = |shift: u32, bits: u32| u32::try_from((tail >> shift) & ((1 << bits) - 1)).unwrap_or(0);
    if u64::from(part(0, SALT_BITS)) != salt & 0x7fff {
        return None;
    }
    let index = u8::try_from(part(SALT_BITS, 12)).ok()?;
    Some(Home { block: Position { segment: part(50, 24), offset: part(27, 23) * 8 }, index })
}

/// The places of these entries; an id of another directory has none and is left out.
pub(super) fn homes(ids: &HashSet<EventId>, salt: u64) -> HashSet<Home> {
    ids.iter().filter_map(|id| decode(*id, salt)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_lead_back_and_sort_by_position() {
        let home = |segment, offset, index| Home { block: Position { segment, offset }, index };
        let mut last = None;
        for at in [home(1, 64, 0), home(1, 64, 255), home(1, (1 << 26) - 8, 0), home((1 << 24) - 1, 64, 7)] {
            let id = encode(9, at, 0xffff_1234);
            assert_eq!(decode(id, 0xffff_1234), Some(at));
            assert_eq!(decode(id, 5), None);
            assert!(last < Some(id));
            last = Some(id);
        }
    }
}
