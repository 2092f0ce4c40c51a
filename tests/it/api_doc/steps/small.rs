//! The dialects with few routes: mediarithmics and Responsys.

use super::{Step, step};

pub(super) fn mediarithmics() -> Vec<Step> {
    vec![
        Step {
            given: &[("plugin_id", "7"), ("version_id", "1502")],
            takes: &[("throttling_id", "/data/id")],
            ..step("createMediarithmicsThrottling", 201)
        },
        step("createMediarithmicsThrottling", 409),
        step("getMediarithmicsThrottling", 200),
        step("replaceMediarithmicsThrottling", 200),
        Step { query: "?first_result=0&max_results=10", ..step("listMediarithmicsThrottlings", 200) },
        Step { query: "?max_results=0", ..step("listMediarithmicsThrottlings", 400) },
        step("deleteMediarithmicsThrottling", 200),
        step("getMediarithmicsThrottling", 404),
    ]
}

pub(super) fn responsys() -> Vec<Step> {
    vec![
        step("listResponsysLimits", 200),
        Step { given: &[("version", "v1.3")], ..step("listResponsysLimitsOfVersion", 404) },
        Step { given: &[("account", "acme")], ..step("getResponsysAccount", 404) },
        step("putResponsysAccount", 201),
        step("putResponsysAccount", 200),
        step("getResponsysAccount", 200),
        step("listResponsysAccounts", 200),
        step("deleteResponsysAccount", 204),
    ]
}
