//! In which order the examples of the API description make sense: what is made first, what is named later.

/// One request.
pub(super) struct Step {
    pub(super) operation: &'static str,
    /// The name of its example; the only one has none.
    pub(super) example: &'static str,
    /// The status that it is answered with.
    pub(super) status: u16,
    /// Put behind the path; `{name}` stands for what is known under it.
    pub(super) query: &'static str,
    /// Known from here on.
    pub(super) given: &'static [(&'static str, &'static str)],
    /// Names for texts of the answer, by their JSON pointers: known afterwards. They fill the paths.
    pub(super) takes: &'static [(&'static str, &'static str)],
    /// Texts of the example in whose place something known is sent.
    pub(super) changes: &'static [(&'static str, &'static str)],
}

/// What the examples need: a policy for the calls that they hand in, and room for their configs.
pub(super) const CONFIGURATION: &str = r#"
[[policy]]
name = "orders"
url = "http://127.0.0.1:9000/*"
pace = 200
"#;

const fn step(operation: &'static str, status: u16) -> Step {
    Step { operation, example: "", status, query: "", given: &[], takes: &[], changes: &[] }
}

/// All of them.
pub(super) fn steps() -> Vec<Step> {
    let mut all = own();
    all.extend(throttling(""));
    all.extend(throttling("_journeyorchestration"));
    all.extend(mediarithmics());
    all.extend(responsys());
    all
}

/// tidegate's own API.
fn own() -> Vec<Step> {
    vec![
        step("openapi", 200),
        step("docs", 200),
        step("live", 200),
        step("ready", 200),
        Step { query: "?verbose", ..step("ready", 200) },
        step("health", 200),
        step("metrics", 200),
        Step { example: "event", takes: &[("id", "/id")], ..step("hand_in", 202) },
        step("show_event", 200),
        Step { query: "?id={id}", ..step("explain", 200) },
        Step { query: "?url=http://127.0.0.1:9000/orders&label.org=ACME", ..step("explain", 200) },
        Step { example: "list", ..step("hand_in", 200) },
        Step { example: "", ..step("hand_in", 200) },
        step("list_policies", 200),
        Step { given: &[("id", "orders")], ..step("show_policy", 200) },
        step("pause_policy", 200),
        step("show_policy", 200),
        step("resume_policy", 200),
        step("purge_policy", 200),
    ]
}

/// The throttling dialect under one of its bases, by the end of the ids of its operations.
fn throttling(base: &str) -> Vec<Step> {
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

/// The throttlings of a plugin version.
fn mediarithmics() -> Vec<Step> {
    vec![
        Step {
            given: &[("plugin_id", "17"), ("version_id", "1502")],
            takes: &[("throttling_id", "/data/id")],
            ..step("createMediarithmicsThrottling", 201)
        },
        step("createMediarithmicsThrottling", 409),
        step("listMediarithmicsThrottlings", 200),
        Step { query: "?max_results=0", ..step("listMediarithmicsThrottlings", 400) },
        step("getMediarithmicsThrottling", 200),
        step("replaceMediarithmicsThrottling", 200),
        step("deleteMediarithmicsThrottling", 200),
        step("getMediarithmicsThrottling", 404),
    ]
}

/// The limits and accounts of Responsys.
fn responsys() -> Vec<Step> {
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
