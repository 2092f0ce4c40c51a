//! The Mashery dialect: a service with an endpoint and a method, a plan that has them in it, keys of the plan, all of it
//! changed and taken down again; the token and the V2 API.

use super::{Step, step};

/// What the examples of objects in a plan stand for, in the example's place.
const STANDS_FOR: &str = "0c8e5c0f-6c0e-4a54-9b2c-1f1d5a2b3c4d";
/// The package and the plan of the example of a key.
const OWNER: &[(&str, &str)] =
    &[("7a1f0f3e-2f0a-4c57-8a5d-93c1f6f0b7d1", "package"), ("b2d4c6e8-1a3b-4c5d-9e7f-0a1b2c3d4e5f", "plan")];

pub(super) fn steps() -> Vec<Step> {
    let mut all = made();
    all.extend(looked_at());
    all.extend(taken_down());
    all
}

fn made() -> Vec<Step> {
    vec![
        step("get_mashery_token", 200),
        Step { given: &[("site", "171")], ..step("call_mashery_v2", 200) },
        Step { takes: &[("service", "/id")], ..step("create_mashery_service", 200) },
        Step { takes: &[("endpoint", "/id")], ..step("create_mashery_endpoint", 200) },
        Step { takes: &[("method", "/id")], ..step("create_mashery_method", 200) },
        Step { takes: &[("package", "/id")], ..step("create_mashery_package", 200) },
        Step { takes: &[("plan", "/id")], ..step("create_mashery_plan", 200) },
        Step { changes: &[(STANDS_FOR, "service")], ..step("create_mashery_plan_service", 200) },
        Step { changes: &[(STANDS_FOR, "endpoint")], ..step("create_mashery_plan_endpoint", 200) },
        Step { changes: &[(STANDS_FOR, "method")], ..step("create_mashery_plan_method", 200) },
        Step { takes: &[("member", "/id")], ..step("create_mashery_member", 200) },
        Step { takes: &[("application", "/id")], ..step("create_mashery_application", 200) },
        step("delete_mashery_application", 200),
        Step { takes: &[("application", "/id")], ..step("create_mashery_application_of_member", 200) },
        Step { takes: &[("key", "/id")], changes: OWNER, ..step("create_mashery_package_key", 200) },
        step("delete_mashery_package_key", 200),
        Step {
            takes: &[("key", "/id")],
            changes: OWNER,
            ..step("create_mashery_package_key_of_application", 200)
        },
    ]
}

fn looked_at() -> Vec<Step> {
    vec![
        step("list_mashery_services", 200),
        step("list_mashery_endpoints", 200),
        step("list_mashery_methods", 200),
        step("list_mashery_packages", 200),
        step("list_mashery_plans", 200),
        step("list_mashery_plan_services", 200),
        step("list_mashery_plan_endpoints", 200),
        step("list_mashery_plan_methods", 200),
        step("list_mashery_members", 200),
        step("list_mashery_applications", 200),
        step("list_mashery_applications_of_member", 200),
        Step { query: "?fields=id,limits&sort=id:desc&limit=1", ..step("list_mashery_package_keys", 200) },
        step("list_mashery_package_keys_of_application", 200),
        step("get_mashery_service", 200),
        step("get_mashery_endpoint", 200),
        step("get_mashery_method", 200),
        step("get_mashery_package", 200),
        Step { query: "?fields=name,services.endpoints.methods.id", ..step("get_mashery_plan", 200) },
        step("get_mashery_plan_service", 200),
        step("get_mashery_plan_endpoint", 200),
        step("get_mashery_plan_method", 200),
        step("get_mashery_member", 200),
        step("get_mashery_application", 200),
        step("get_mashery_application_of_member", 200),
        step("get_mashery_package_key", 200),
        step("get_mashery_package_key_of_application", 200),
        step("update_mashery_service", 200),
        step("update_mashery_endpoint", 200),
        step("update_mashery_method", 200),
        step("update_mashery_package", 200),
        step("update_mashery_plan", 200),
        step("update_mashery_plan_service", 200),
        step("update_mashery_plan_endpoint", 200),
        step("update_mashery_plan_method", 200),
        step("update_mashery_member", 200),
        step("update_mashery_application", 200),
        step("update_mashery_application_of_member", 200),
        step("update_mashery_package_key", 200),
        step("update_mashery_package_key_of_application", 200),
    ]
}

fn taken_down() -> Vec<Step> {
    vec![
        // What others refer to stays.
        step("delete_mashery_service", 409),
        step("delete_mashery_endpoint", 409),
        step("delete_mashery_method", 409),
        step("delete_mashery_package", 409),
        step("delete_mashery_plan", 409),
        step("delete_mashery_application_of_member", 409),
        step("delete_mashery_member", 409),
        step("delete_mashery_package_key_of_application", 200),
        step("delete_mashery_application_of_member", 200),
        step("delete_mashery_member", 200),
        step("delete_mashery_plan_method", 200),
        step("delete_mashery_plan_endpoint", 200),
        step("delete_mashery_plan_service", 200),
        step("delete_mashery_plan", 200),
        step("delete_mashery_package", 200),
        step("delete_mashery_method", 200),
        step("delete_mashery_endpoint", 200),
        step("delete_mashery_service", 200),
    ]
}
