//! In which order the examples of the API description make sense: what is made first, what is named later. A file for
//! each dialect.

mod adobe;
mod mashery;
mod small;

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
    for base in ["", "_journey_orchestration", "_of_organisation"] {
        all.extend(adobe::steps("throttling_config", base));
        all.extend(adobe::steps("endpoint_config", base));
    }
    all.extend(mashery::steps());
    all.extend(small::mediarithmics());
    all.extend(small::responsys());
    all
}

/// tidegate's own API.
fn own() -> Vec<Step> {
    vec![
        step("openapi", 200),
        step("docs", 200),
        Step { given: &[("chapter", "events")], ..step("docs_chapter", 200) },
        Step { given: &[("chapter", "tides")], ..step("docs_chapter", 404) },
        step("docs_api", 200),
        step("live", 200),
        step("ready", 200),
        Step { query: "?verbose", ..step("ready", 200) },
        step("health", 200),
        step("metrics", 200),
        step("status", 200),
        Step { takes: &[("id", "/doubts/0/id")], ..step("list_doubts", 200) },
        step("show_doubt", 200),
        step("acknowledge_doubt", 200),
        step("retry_doubt", 409),
        step("give_up_doubt", 409),
        step("confirm_doubt", 409),
        Step { given: &[("id", "0")], ..step("show_doubt", 404) },
        // What is handed in waits while it is changed.
        Step { given: &[("id", "orders")], ..step("pause_policy", 200) },
        Step { example: "event", takes: &[("id", "/id")], ..step("enqueue", 202) },
        step("show_event", 200),
        step("list_events", 200),
        Step {
            query: "?policy=orders&state=delayed&label.fairness_key=shop-3&limit=1",
            ..step("list_events", 200)
        },
        Step { query: "?state=settled", ..step("list_events", 400) },
        Step { query: "?id={id}", ..step("explain", 200) },
        step("delay_event", 200),
        step("send_event_now", 200),
        step("cancel_event", 200),
        step("cancel_event", 200),
        step("delay_event", 409),
        step("cancel_events", 200),
        step("send_events_now", 200),
        step("delay_events", 200),
        step("purge_events", 200),
        step("list_changes", 200),
        step("show_change", 404),
        step("stop_change", 404),
        step("show_event", 200),
        Step {
            query: "?url=http://127.0.0.1:9000/orders&label.org=ACME&header.x-key=1",
            ..step("explain", 200)
        },
        step("explain_event", 200),
        Step { example: "list", ..step("enqueue", 200) },
        Step { example: "", ..step("enqueue", 200) },
        step("follow_outcomes", 200),
        step("list_dead_letters", 200),
        Step { query: "?group_by=reason,endpoint", ..step("list_dead_letters", 200) },
        Step { query: "?status=7", ..step("list_dead_letters", 400) },
        Step { given: &[("id", "0198c4f0-5f3a-7c00-8000-000000000001")], ..step("show_dead_letter", 404) },
        step("redrive_dead_letter", 404),
        step("purge_dead_letter", 404),
        step("import_dead_letters", 200),
        step("show_dead_letter", 200),
        step("redrive_dead_letter", 422),
        step("export_dead_letters", 200),
        step("purge_dead_letter", 200),
        step("redrive_dead_letters", 200),
        step("purge_dead_letters", 200),
        step("pause_dispatch", 200),
        step("show_dispatch", 200),
        step("resume_dispatch", 200),
        step("list_policies", 200),
        Step { given: &[("id", "orders")], ..step("show_policy", 200) },
        step("pause_policy", 200),
        step("show_policy", 200),
        step("resume_policy", 200),
        step("purge_policy", 200),
        // The policy of the configuration has a pace alone.
        step("set_policy_usage", 422),
        step("put_policy", 409),
        Step { given: &[("id", "crm")], query: "?dry_run=true", ..step("put_policy", 200) },
        step("put_policy", 201),
        step("put_policy", 200),
        step("show_policy", 200),
        Step { query: "?dry_run=true", ..step("delete_policy", 200) },
        step("delete_policy", 204),
        Step { given: &[("id", "none")], ..step("delete_policy", 404) },
    ]
}
