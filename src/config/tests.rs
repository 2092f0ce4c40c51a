//! The layers lie over each other in order, and a bad configuration is reported whole, with places.

use std::io::Write;

use super::*;
use crate::manage::Place;
use crate::manage::adobe::SandboxKind;
use crate::manage::responsys::Statuses;

/// A file of its own that is gone with the value.
pub(super) fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(text.as_bytes()).expect("written");
    file
}

pub(super) fn inputs(
    file: &tempfile::NamedTempFile,
    environment: &[(&str, &str)],
    flags: Vec<Flag>,
) -> Inputs {
    let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Inputs { file: File::Named(file.path().to_owned()), environment, flags }
}

pub(super) fn problems(text: &str, environment: &[(&str, &str)], flags: Vec<Flag>) -> Vec<String> {
    let file = file(text);
    let error = Config::load(&inputs(&file, environment, flags)).expect_err("problems");
    let path = file.path().display().to_string();
    error.problems.iter().map(|problem| problem.to_string().replace(&path, "FILE")).collect()
}

#[test]
fn the_defaults_are_a_valid_configuration() {
    let config = Config::load(&inputs(&file(""), &[], Vec::new())).expect("valid").config;
    assert_eq!(config.listen.address.to_string(), "127.0.0.1:7080");
    assert_eq!(config.queue.ttl, Duration::from_secs(6 * 3600));
    assert_eq!(config.retry, RetryPolicy::default(), "1 s to 5 min, until the end of the event's life");
    assert_eq!(config.queue.drain, Duration::from_secs(24 * 3600));
    assert_eq!(config.queue.unmatched, Unmatched::Refuse);
    assert_eq!(config.labels.get("sandbox"), Some("prod"));
    assert!(config.labels.get("account").is_none());
    assert!(config.egress.allow.is_empty());
    let sandboxes = config.dialects.capping.adobe.sandboxes;
    assert!(
        sandboxes.iter().any(|sandbox| sandbox.name == "prod" && sandbox.kind == SandboxKind::Production)
    );
}

/// One that no rule reads would be printed and documented, and do nothing.
#[test]
fn every_setting_is_read() {
    let sections: toml::Table = DEFAULTS.parse().expect("TOML");
    for (section, settings) in &sections {
        for key in settings.as_table().expect("a section").keys() {
            // No setting takes such a value.
            let file = file(&format!("[{section}]\n{key} = [[[]]]\n"));
            let read = Config::load(&inputs(&file, &[], Vec::new()));
            let problems = read.err().map(|error| error.problems).unwrap_or_default();
            let subject = format!("{section}.{key}");
            assert!(problems.iter().any(|problem| problem.subject == subject), "{subject}: {problems:?}");
        }
    }
}

#[test]
fn later_layers_cover_earlier_ones_value_by_value() {
    let file =
        file("[throttling]\nmin = 1\nmax = 7000\n[retry]\nmax_attempts = 3\n[dispatch]\nmax_inflight = 9\n");
    let environment =
        [("TIDEGATE_THROTTLING_MAX", "6000"), ("TIDEGATE_DISPATCH_MAX_INFLIGHT", "10"), ("HOME", "/")];
    let flag = Flag { flag: "--max", setting: "throttling.max", values: vec!["5500".to_owned()] };
    let config = Config::load(&inputs(&file, &environment, vec![flag])).expect("valid").config;
    assert_eq!(config.dialects.throttling.throughput_min, 1, "file over default");
    assert_eq!(config.dispatch.max_inflight.get(), 10, "environment over file");
    assert_eq!(config.dialects.throttling.throughput_max, 5500, "flag over environment");
    assert_eq!(config.retry.max_attempts, std::num::NonZeroU16::new(3));
    assert_eq!(config.retry.base, Duration::from_secs(1), "untouched");
}

#[test]
fn every_problem_is_reported_at_once_with_its_place() {
    let text = "[listen]\naddress = \"0.0.0.0:7080\"\n[store]\ndata_dirr = \"x\"\nsegment_bytes = 1\n\
                [queue]\nunmatched = 3\n[nonsense]\nx = 1\n";
    let environment = [("TIDEGATE_QUEUE_TTL_SECONDS", "forever"), ("TIDEGATE_QUEUE_TLT", "1")];
    let flag = Flag {
        flag: "--egress-allow",
        setting: "egress.allow",
        values: vec!["10.0.0.0/8".to_owned(), "10/8".to_owned()],
    };
    let problems = problems(text, &environment, vec![flag]);
    let expected = [
        "FILE:2: listen.address: 0.0.0.0:7080 is not a loopback address",
        "FILE:4: store.data_dirr: unknown setting; did you mean store.data_dir?",
        "FILE:5: store.segment_bytes: must be a whole number from 1048576 to 67108864",
        "FILE:7: queue.unmatched: must be text, not integer",
        "FILE:9: nonsense.x: unknown setting; see the commented defaults",
        "environment TIDEGATE_QUEUE_TLT: TIDEGATE_QUEUE_TLT: unknown setting; TIDEGATE_QUEUE_DRAIN_SECONDS, \
         TIDEGATE_QUEUE_ON_DOOMED, TIDEGATE_QUEUE_TTL_SECONDS, TIDEGATE_QUEUE_UNMATCHED exist",
        "environment TIDEGATE_QUEUE_TTL_SECONDS: queue.ttl_seconds: must be a whole number from 1 to 604800",
        "flag --egress-allow: egress.allow: \"10/8\" is not a block such as 127.0.0.0/8",
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, start) in problems.iter().zip(expected) {
        assert!(problem.starts_with(start), "{problem}\nshould start with\n{start}");
    }
}

#[test]
fn syntax_errors_have_lines_and_do_not_hide_other_layers() {
    let problems = problems("[listen]\naddress = \n", &[("TIDEGATE_LOG_LEVEL", "loud")], Vec::new());
    assert!(problems[0].starts_with("FILE:2: syntax: "), "{problems:#?}");
    assert!(
        problems[1].starts_with("environment TIDEGATE_LOG_LEVEL: log.level: must be one of"),
        "{problems:#?}"
    );
}

#[test]
fn a_bound_for_attempts_has_room_for_some() {
    let given = |bytes: u64| format!("[store]\nattempts_max_bytes = {bytes}\n");
    let wanted = "FILE:2: store.attempts_max_bytes: must be 0 to keep none, or at least 1048576";
    for bytes in [1, 1_048_575] {
        assert_eq!(problems(&given(bytes), &[], Vec::new()), [wanted]);
    }
    for bytes in [0, 1_048_576] {
        assert!(Config::load(&inputs(&file(&given(bytes)), &[], Vec::new())).is_ok(), "{bytes}");
    }
}

#[test]
fn a_bound_for_dead_letters_has_room_for_two_files() {
    let given = |bytes: u64| format!("[store]\nsegment_bytes = 1048576\nmax_dead_letter_bytes = {bytes}\n");
    assert_eq!(
        problems(&given(2_097_151), &[], Vec::new()),
        [
            "FILE:3: store.max_dead_letter_bytes: must be 0 for no bound, or at least 2097152, twice store.segment_bytes: raise it, \
          or lower that"
        ]
    );
    for sound in [0, 2_097_152] {
        assert!(Config::load(&inputs(&file(&given(sound)), &[], Vec::new())).is_ok(), "{sound}");
    }
}

#[test]
fn settings_that_contradict_each_other_are_named() {
    let text = "[retry]\nmin_delay_ms = 2000\nmax_delay_ms = 1000\n[delivery]\nhead_timeout_ms = 90000\n\
                [throttling]\nmin = 6000\n[capping]\nstatus = 428\n";
    let problems = problems(text, &[], Vec::new());
    assert_eq!(
        problems,
        [
            "FILE:2: retry.min_delay_ms: must not exceed retry.max_delay_ms",
            "FILE:5: delivery.head_timeout_ms: must not exceed delivery.total_timeout_ms",
            "FILE:7: throttling.min: must not exceed throttling.max",
            "FILE:9: capping.status: must be 429 or 409",
        ]
    );
}

#[test]
fn sandboxes_are_checked_and_taken_from_the_environment_too() {
    let good = "[{ name = \"dev\", id = \"7d3f5b0e-2c41-4a7e-9d86-51c0e2a94b18\", production = false }]";
    let config = Config::load(&inputs(&file(""), &[("TIDEGATE_MANAGE_SANDBOXES", good)], Vec::new()));
    let config = config.expect("valid").config;
    assert_eq!(config.dialects.throttling.adobe.sandboxes[0].name, "dev");
    let problems =
        problems("[manage]\nsandboxes = [{ name = \"A\", id = \"1\", production = true }]\n", &[], vec![]);
    assert_eq!(problems.len(), 2, "{problems:#?}");
}

#[test]
fn accounts_are_tables_with_a_name() {
    let text = "[responsys]\nlimit_status = 400\naccounts = [{ name = \"acme\", limits = { login = 5 }, \
                blocked = [{ user = \"u\", apis = [\"login\"] }] }, { name = \"other\" }]\n";
    let responsys =
        Config::load(&inputs(&file(text), &[], Vec::new())).expect("valid").config.dialects.responsys;
    let Statuses { limit, blocked } = responsys.statuses;
    assert_eq!((limit.as_u16(), blocked.as_u16()), (400, 400));
    let [(acme, own), (other, defaults)] = responsys.accounts.as_slice() else { panic!("two accounts") };
    assert_eq!((acme.as_str(), other.as_str()), ("acme", "other"));
    assert_eq!(own.limits.get("login"), Some(&5));
    assert_eq!(own.blocked[0].apis, ["login"]);
    assert!(defaults.limits.is_empty() && defaults.blocked.is_empty());
    for (wrong, told) in [
        ("accounts = [{ limits = {} }]", "responsys.accounts: needs name each: missing field `name`"),
        (
            "accounts = [{ name = \"a\", limit = {} }]",
            "responsys.accounts: needs name each: unknown field `limit`",
        ),
        (
            "accounts = [{ name = \"a\", blocked = [{ user = \"u\" }] }]",
            "responsys.accounts: needs name each: missing field `apis`",
        ),
        ("accounts = \"acme\"", "responsys.accounts: needs name each: invalid type"),
        (
            "accounts = [\"acme\"]",
            "responsys.accounts: needs name each: invalid type: string \"acme\", expected struct ResponsysAccount",
        ),
        (
            "accounts = [{ name = \"a\", blocked = [1] }]",
            "responsys.accounts: needs name each: invalid type: integer `1`, expected struct ResponsysBlock",
        ),
        ("limit_status = 200", "responsys.limit_status: must be a whole number from 400 to 599"),
    ] {
        let problems = problems(&format!("[responsys]\n{wrong}\n"), &[], Vec::new());
        assert!(problems.len() == 1 && problems[0].contains(told), "{wrong}: {problems:#?}");
    }
}

#[test]
fn places_of_labels_are_named_in_words() {
    let load = |text: &str| Config::load(&inputs(&file(text), &[], Vec::new()));
    let text = "[mediarithmics]\nplugin_version_in = \"path 2\"\ndatamart_in = \"header X-Mart\"\n\
                organisation_in = \"query org\"\n[responsys]\naccount_in = \"host\"\nendpoint = \"http://h:1/a/\"\n\
                accounts = [{ name = \"acme\", users = [\"v\"] }]\n";
    let dialects = load(text).expect("valid").config.dialects;
    let of_plugins = dialects.mediarithmics;
    assert_eq!(of_plugins.plugin_version_in, Some(Place::Segment(2)));
    assert_eq!(of_plugins.datamart_in, Some(Place::Header("x-mart".parse().expect("valid"))));
    assert_eq!(
        (of_plugins.organisation_in, of_plugins.container_in),
        (Some(Place::Query("org".to_owned())), None)
    );
    let responsys = dialects.responsys;
    assert_eq!((responsys.account_in, responsys.user_in), (Some(Place::Host), None));
    assert_eq!(responsys.endpoint.as_deref(), Some("http://h:1/a"));
    assert_eq!(responsys.accounts[0].1.users, ["v"]);
    for (wrong, told) in [
        ("[responsys]\nuser_in = \"cookie x\"", "responsys.user_in: must be \"header NAME\""),
        ("[mediarithmics]\ncontainer_in = \"path 0\"", "mediarithmics.container_in: must be \"header NAME\""),
        ("[responsys]\nendpoint = \"h:1\"", "responsys.endpoint: must be the start of an http"),
        ("[responsys]\nendpoint = \"http://h?x=1\"", "responsys.endpoint: must be the start of an http"),
    ] {
        let problems = problems(&format!("{wrong}\n"), &[], Vec::new());
        assert!(problems.len() == 1 && problems[0].contains(told), "{wrong}: {problems:#?}");
    }
}

#[test]
fn a_missing_file_is_a_problem_only_when_it_was_named() {
    let named = Inputs { file: File::Named("/nonexistent/tidegate.toml".into()), ..Inputs::default() };
    let error = Config::load(&named).expect_err("missing").to_string();
    assert!(error.starts_with("/nonexistent/tidegate.toml: file: cannot be read"), "{error}");
    let by_variable = [("TIDEGATE_CONFIG".to_owned(), "/nonexistent/too.toml".to_owned())];
    let named = Inputs { environment: by_variable.to_vec(), ..Inputs::default() };
    assert!(Config::load(&named).is_err());
    let none = Inputs { file: File::Absent, environment: by_variable.to_vec(), ..Inputs::default() };
    assert!(Config::load(&none).is_ok());
}

#[test]
fn variables_of_platforms_are_passed_over_and_unknown_ones_warn() {
    let environment = [
        ("TIDEGATE_SERVICE_HOST", "10.0.0.11"),
        ("TIDEGATE_API_SERVICE_PORT_HTTP", "7080"),
        ("TIDEGATE_PORT", "tcp://10.0.0.11:7080"),
        ("TIDEGATE_PORT_7080_TCP_ADDR", "10.0.0.11"),
        ("TIDEGATE_STOER_DATA_DIR", "/x"),
        ("TIDEGATE_COLOUR", "red"),
        ("TIDEGATE_LOG_LEVEL", ""),
        ("TIDEGATE_QUEUE_TLT", ""),
    ];
    let file = file("[log]\nlevel = \"debug\"\n");
    let loaded = Config::load(&inputs(&file, &environment, Vec::new())).expect("valid");
    assert_eq!(loaded.config.log.level, "debug", "an empty variable is not set");
    let warnings: Vec<String> = loaded.warnings().iter().map(ToString::to_string).collect();
    let expected = [
        "environment TIDEGATE_STOER_DATA_DIR: TIDEGATE_STOER_DATA_DIR: unknown setting; \
         did you mean TIDEGATE_STORE_DATA_DIR?",
        "environment TIDEGATE_COLOUR: TIDEGATE_COLOUR: unknown setting; see the commented defaults",
    ];
    assert_eq!(warnings, expected);
    let nowhere =
        Inputs { environment: vec![("TIDEGATE_CONFIG".to_owned(), String::new())], ..Inputs::default() };
    assert!(Config::load(&nowhere).is_ok(), "an empty TIDEGATE_CONFIG names no file");
}

#[test]
fn what_is_printed_is_a_configuration_with_the_same_meaning() {
    let first = file("[egress]\nallow = [\"127.0.0.0/8\"]\n");
    let environment =
        [("TIDEGATE_LISTEN_HOSTS", "gate.internal, b"), ("TIDEGATE_MANAGE_REJECT_INVALID", "true")];
    let loaded = Config::load(&inputs(&first, &environment, Vec::new())).expect("valid");
    let printed = loaded.to_toml();
    assert!(printed.contains("# environment TIDEGATE_LISTEN_HOSTS"), "{printed}");
    assert!(printed.contains(":2\n"), "{printed}");
    let again = Config::load(&inputs(&file(&printed), &[], Vec::new())).expect(&printed);
    assert_eq!(again.config, loaded.config);
}

#[test]
fn numbers_beyond_their_type_are_problems_of_their_setting() {
    let text =
        "[queue]\nttl_seconds = 99999999999999999999\n[retry]\nmax_attempts = 0xffff_ffff_ffff_ffff_ff\n";
    let problems = problems(text, &[], Vec::new());
    assert_eq!(problems.len(), 2, "{problems:#?}");
    assert!(problems[0].starts_with("FILE:2: queue.ttl_seconds: must be a whole number"), "{problems:#?}");
    assert!(problems[1].starts_with("FILE:4: retry.max_attempts: must be a whole number"), "{problems:#?}");
}

#[test]
fn settings_that_differ_are_named_whatever_their_layer() {
    let read = |text: &str| Config::load(&inputs(&file(text), &[], Vec::new())).expect("valid");
    let start = read("[queue]\nttl_seconds = 60\n");
    let policy = "[[policy]]\nname = \"p\"\nurl = \"https://h.org/*\"\npace = 1\n";
    assert!(start.differing(&read(&format!("[queue]\nttl_seconds = 60\n{policy}"))).is_empty());
    assert_eq!(start.differing(&read("")), ["queue.ttl_seconds"]);
    let other =
        read("[queue]\nttl_seconds = 60\n[egress]\nallow = [\"10.0.0.0/8\"]\n[log]\nlevel = \"warn\"\n");
    assert_eq!(start.differing(&other), ["egress.allow", "log.level"]);
}

#[test]
fn every_setting_is_checked_and_has_a_variable_of_its_own() {
    let defaults: toml::Table = DEFAULTS.parse().expect("valid");
    let mut variables = BTreeSet::new();
    for (section, rows) in &defaults {
        for key in rows.as_table().expect("a section").keys() {
            let setting = format!("{section}.{key}");
            assert!(variables.insert(layers::variable_of(&setting)), "{setting}");
            let problems = problems(&format!("[{section}]\n{key} = 1979-05-27\n"), &[], Vec::new());
            assert!(
                problems.iter().any(|line| line.starts_with(&format!("FILE:2: {setting}: "))),
                "{problems:?}"
            );
        }
    }
}
