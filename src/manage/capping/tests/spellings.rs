//! Calls without any label of tidegate, in whatever spelling: each meets its cap.

use serde_json::json;

use super::active::{cap, config, deployed};
use super::scenarios::world;
use crate::manage::adobe::testing::{EVERYTHING_OF_A_HOST, no_spelling_escapes};

#[tokio::test]
async fn no_spelling_of_a_call_escapes_its_cap() {
    let world = world().await;
    let action = json!({"action": cap(10, 1000, 5)});
    let uid = deployed(&world, &config(EVERYTHING_OF_A_HOST, &action)).await;
    no_spelling_escapes(&world, &format!("{uid}.action"));
}
