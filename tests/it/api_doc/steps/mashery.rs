//! The Mashery dialect: a service with an endpoint, a method and a key, changed and taken down again.

use super::{Step, step};

/// The service that the example of a key belongs to.
const SERVICE: &str = "0c8e5c0f-6c0e-4a54-9b2c-1f1d5a2b3c4d";

pub(super) fn steps() -> Vec<Step> {
    vec![
        Step { takes: &[("service", "/id")], ..step("create_mashery_service", 200) },
        Step { takes: &[("endpoint", "/id")], ..step("create_mashery_endpoint", 200) },
        Step { takes: &[("method", "/id")], ..step("create_mashery_method", 200) },
        Step {
            takes: &[("key", "/id")],
            changes: &[(SERVICE, "service")],
            ..step("create_mashery_package_key", 200)
        },
        step("list_mashery_services", 200),
        step("list_mashery_endpoints", 200),
        step("list_mashery_methods", 200),
        Step { query: "?fields=id,limits&sort=id:desc&limit=1", ..step("list_mashery_package_keys", 200) },
        step("get_mashery_service", 200),
        step("get_mashery_endpoint", 200),
        step("get_mashery_method", 200),
        step("get_mashery_package_key", 200),
        step("update_mashery_service", 200),
        step("update_mashery_endpoint", 200),
        step("update_mashery_method", 200),
        step("update_mashery_package_key", 200),
        // A key that refers to it keeps a service.
        step("delete_mashery_service", 409),
        step("delete_mashery_package_key", 200),
        step("delete_mashery_method", 200),
        step("delete_mashery_endpoint", 200),
        step("delete_mashery_service", 200),
    ]
}
