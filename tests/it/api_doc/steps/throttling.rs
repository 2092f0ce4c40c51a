//! The throttling dialect: the life of a config.

use super::{Step, step};

/// The throttling dialect under one of its bases, by the end of the ids of its operations.
pub(super) fn steps(base: &str) -> Vec<Step> {
    let named = |operation: &'static str, status| {
        let operation: &'static str =
            if base.is_empty() { operation } else { String::leak(format!("{operation}{base}")) };
        step(operation, status)
    };
    vec![
        Step { takes: &[("uid", "/uid")], ..named("createThrottlingConfig", 200) },
        named("listThrottlingConfigs", 200),
        named("getThrottlingConfig", 200),
        named("canDeployThrottlingConfig", 200),
        named("mayDeployThrottlingConfig", 200),
        named("updateThrottlingConfig", 200),
        named("deployThrottlingConfig", 204),
        named("getThrottlingConfig", 200),
        named("listThrottlingConfigs", 200),
        named("undeployThrottlingConfig", 204),
        named("getThrottlingConfig", 200),
        named("deleteThrottlingConfig", 200),
    ]
}
