//! The request/response files of the Capping API.

use axum::Router;

use crate::clock::Clock;
use crate::manage::adobe::testing::{self, ORG, Overrides, Suite, World};
use crate::manage::capping::{CappingApi, CappingOptions, router};
use crate::policy::Policies;

pub(super) fn options(overrides: &Overrides) -> CappingOptions {
    let default = CappingOptions::default();
    CappingOptions {
        adobe: testing::options(overrides),
        require_strategy: overrides.require_strategy,
        max_configs_per_org: overrides.max_configs_per_org.unwrap_or(default.max_configs_per_org),
        ..default
    }
}

pub(super) async fn world() -> World {
    let options = options(&Overrides::default());
    testing::world(|policies, clock, random| routes(options, policies, clock, random), None).await
}

fn routes(options: CappingOptions, policies: Policies, clock: Clock, random: fastrand::Rng) -> Router {
    router(CappingApi::new(policies, options, clock, random))
}

#[tokio::test]
async fn the_router_answers_as_the_files_say() {
    let suite = Suite {
        folder: "capping",
        context: "tidegate.manage.capping",
        schema: |sandbox| format!("{ORG}_{sandbox}_journeyVersions"),
        error_as_object: |_| true,
        router: |overrides, policies, clock, random| routes(options(overrides), policies, clock, random),
    };
    testing::play_all(&suite, 25).await;
}
