//! Calls without any label of tidegate, in whatever spelling: each meets its limit.

use http::Method;

use super::active::{config, created, done};
use super::scenarios::{options, world};
use crate::manage::adobe::testing::{EVERYTHING_OF_A_HOST, Overrides, no_spelling_escapes};

#[tokio::test]
async fn no_spelling_of_a_call_escapes_its_limit() {
    let world = world(options(&Overrides::default())).await;
    let uid = created(&world, &config(EVERYTHING_OF_A_HOST, r#""POST""#, 300)).await;
    done(&world, Method::POST, &format!("/throttlingConfigs/{uid}/deploy"), "").await;
    no_spelling_escapes(&world, &uid);
}
