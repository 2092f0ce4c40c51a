//! From settlements by id to settlements by place, as the writer takes them.
//!
//! Must not know: how they are written.

use super::commit::PlacedSettlement;
use super::ids;
use super::journal::{Settled, What};
use super::shared::Shared;
use crate::clock::Timestamp;
use crate::event::{LaneKey, Settlement};
use crate::store::SettleRequest;

/// The settlements as the writer takes them, and those that need a letter.
pub(super) fn decisions(
    shared: &Shared,
    batch: Vec<SettleRequest>,
) -> (Vec<PlacedSettlement>, Vec<SettleRequest>) {
    let mut decisions = Vec::with_capacity(batch.len());
    let mut dead = Vec::new();
    let mut lane: Option<(LaneKey, Option<u32>)> = None;
    for settle in batch {
        if lane.as_ref().is_none_or(|(key, _)| *key != settle.lane) {
            lane = Some((settle.lane.clone(), shared.lanes.number(&settle.lane)));
        }
        // An unknown lane is empty: its entries are settled already. An id of another store stands nowhere.
        let Some((_, Some(lane_no))) = lane else { continue };
        let Some(home) = ids::decode(settle.id, shared.salt) else { continue };
        let settled = Settled {
            index: home.index,
            from_due_ms: settle.due_at.map(Timestamp::ceil_millis),
            what: What::from(&settle.settlement),
            why: settle.why,
        };
        if let Settlement::Dead { .. } = settle.settlement {
            dead.push(settle);
        }
        decisions.push((lane_no, home.block, settled));
    }
    (decisions, dead)
}
