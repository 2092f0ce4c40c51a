//! The dialects with few routes: mediarithmics and Responsys.

use super::{Step, step};

pub(super) fn mediarithmics() -> Vec<Step> {
    vec![
        Step {
            given: &[("plugin_id", "7"), ("version_id", "1502")],
            takes: &[("throttling_id", "/data/id")],
            ..step("create_mediarithmics_throttling", 201)
        },
        step("create_mediarithmics_throttling", 409),
        step("get_mediarithmics_throttling", 200),
        step("replace_mediarithmics_throttling", 200),
        Step { query: "?first_result=0&max_results=10", ..step("list_mediarithmics_throttlings", 200) },
        Step { query: "?max_results=0", ..step("list_mediarithmics_throttlings", 400) },
        step("delete_mediarithmics_throttling", 200),
        step("get_mediarithmics_throttling", 404),
    ]
}

pub(super) fn responsys() -> Vec<Step> {
    vec![
        step("list_responsys_limits", 200),
        Step { given: &[("version", "v1.3")], ..step("list_responsys_limits_of_version", 404) },
        Step { given: &[("version", "v1.3")], ..step("responsys_login", 200) },
        Step { given: &[("account", "acme")], ..step("get_responsys_account", 404) },
        step("put_responsys_account", 201),
        step("put_responsys_account", 200),
        step("get_responsys_account", 200),
        step("list_responsys_accounts", 200),
        step("delete_responsys_account", 204),
    ]
}
