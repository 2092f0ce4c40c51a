//! Adobe's two dialects: the life of a config.

use super::{Step, step};

/// For one kind of config under one base path, by what the ids of its operations have in the middle and at the end.
pub(super) fn steps(kind: &str, base: &str) -> Vec<Step> {
    let named = |verb: &str, status| step(String::leak(format!("{verb}_{kind}{base}")), status);
    let list = || step(String::leak(format!("list_{kind}s{base}")), 200);
    vec![
        Step {
            given: &[("organization", "ACME@AdobeOrg")],
            takes: &[("uid", "/uid")],
            ..named("create", 200)
        },
        list(),
        named("get", 200),
        named("can_deploy", 200),
        named("may_deploy", 200),
        named("update", 200),
        named("deploy", 204),
        named("get", 200),
        list(),
        named("undeploy", 204),
        named("get", 200),
        named("delete", 200),
    ]
}
