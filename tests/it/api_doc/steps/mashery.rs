//! The Mashery dialect: a service with an endpoint, a method and a key, changed and taken down again.

use super::{Step, step};

/// The service that the example of a key belongs to.
const SERVICE: &str = "0c8e5c0f-6c0e-4a54-9b2c-1f1d5a2b3c4d";

pub(super) fn steps() -> Vec<Step> {
    vec![
        Step { takes: &[("service", "/id")], ..step("createMasheryService", 200) },
        Step { takes: &[("endpoint", "/id")], ..step("createMasheryEndpoint", 200) },
        Step { takes: &[("method", "/id")], ..step("createMasheryMethod", 200) },
        Step {
            takes: &[("key", "/id")],
            changes: &[(SERVICE, "service")],
            ..step("createMasheryPackageKey", 200)
        },
        step("listMasheryServices", 200),
        step("listMasheryEndpoints", 200),
        step("listMasheryMethods", 200),
        Step { query: "?fields=id,limits&sort=id:desc&limit=1", ..step("listMasheryPackageKeys", 200) },
        step("getMasheryService", 200),
        step("getMasheryEndpoint", 200),
        step("getMasheryMethod", 200),
        step("getMasheryPackageKey", 200),
        step("updateMasheryService", 200),
        step("updateMasheryEndpoint", 200),
        step("updateMasheryMethod", 200),
        step("updateMasheryPackageKey", 200),
        // A key that refers to it keeps a service.
        step("deleteMasheryService", 409),
        step("deleteMasheryPackageKey", 200),
        step("deleteMasheryMethod", 200),
        step("deleteMasheryEndpoint", 200),
        step("deleteMasheryService", 200),
    ]
}
