//! The request/response files of the Throttling API.

use axum::Router;

use crate::clock::Clock;
use crate::manage::adobe::testing::{self, Overrides, Suite, World};
use crate::manage::throttling::{ThrottlingApi, ThrottlingOptions, router};
use crate::policy::Policies;

pub(super) fn options(overrides: &Overrides) -> ThrottlingOptions {
    let default = ThrottlingOptions::default();
    ThrottlingOptions {
        adobe: testing::options(overrides),
        error_as_object: overrides.error_as_object,
        max_configs_per_org: overrides.max_configs_per_org.unwrap_or(default.max_configs_per_org),
        throughput_max: overrides.throughput_max.unwrap_or(default.throughput_max),
        ..default
    }
}

pub(super) async fn world(options: ThrottlingOptions) -> World {
    testing::world(|policies, clock, random| routes(options, policies, clock, random), None).await
}

/// The world after a start with this document in its store, with as many configs as a test wants.
pub(super) async fn reopened(document: &str) -> World {
    let options = ThrottlingOptions { max_configs_per_org: 9, ..options(&Overrides::default()) };
    testing::world(|policies, clock, random| routes(options, policies, clock, random), Some(document)).await
}

fn routes(options: ThrottlingOptions, policies: Policies, clock: Clock, random: fastrand::Rng) -> Router {
    router(ThrottlingApi::new(policies, options, clock, random))
}

#[tokio::test]
async fn the_router_answers_as_the_files_say() {
    let suite = Suite {
        folder: "throttling",
        context: "tidegate.manage.throttling",
        schema: |sandbox| format!("throttlingConfigs${sandbox}"),
        error_as_object: |overrides| overrides.error_as_object,
        router: |overrides, policies, clock, random| routes(options(overrides), policies, clock, random),
    };
    testing::play_all(&suite, 40).await;
}
