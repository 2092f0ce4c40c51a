//! The rules of the house, checked on the source text: imports run one way, each third-party crate has an
//! owner, tasks are started in few places, every file says what it is and stays short.

#[path = "architecture/source.rs"]
mod source;

use source::{
    File, declared, imports, masked, names_crate, read, root, rust_files, source as read_source,
    without_tests,
};

/// Which rooms a room may import. `app` sees all.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("manual", &[]),
    ("problem", &[]),
    ("event", &["clock"]),
    ("telemetry", &["clock", "event"]),
    ("traces", &["clock", "event", "telemetry"]),
    ("store", &["clock", "event", "telemetry"]),
    ("queue", &["clock", "event", "store", "telemetry"]),
    ("policy", &["clock", "event", "store"]),
    ("limit", &["clock", "event", "policy"]),
    ("names", &["clock", "event", "telemetry"]),
    ("delivery", &["clock", "event", "names"]),
    ("dispatch", &["clock", "event", "queue", "limit", "policy", "delivery", "telemetry", "traces"]),
    ("ingest", &["clock", "event", "queue", "policy", "limit", "problem", "telemetry", "traces"]),
    ("manage", &["clock", "event", "policy", "problem"]),
    (
        "ops",
        &[
            "clock",
            "event",
            "queue",
            "policy",
            "limit",
            "dispatch",
            "ingest",
            "store",
            "problem",
            "telemetry",
        ],
    ),
    ("config", &["clock", "event", "policy"]),
    ("cli", &["app", "config", "clock", "manual"]),
];

/// Plain values of the store that the queue's methods take and give: whoever talks to the queue may name them.
const QUEUE_VALUES: &[&str] = &[
    "store::Usage",
    "store::UsageStore",
    "store::Appended",
    "store::Dedup",
    "store::Lookup",
    "store::ReadLimit",
    "store::StoreError",
];

/// Where each third-party crate with an owner may be named: path prefixes below `src`.
const OWNERS: &[(&str, &[&str])] = &[
    ("sled", &["store/index"]),
    ("rmp_serde", &["store/"]),
    ("lz4_flex", &["store/"]),
    ("crc32c", &["store/"]),
    ("governor", &["limit/meter/smoother"]),
    ("smallvec", &["limit/"]),
    ("reqwest", &["delivery/", "traces/collector"]),
    ("rustls", &["delivery/"]),
    // The log filter names its modules.
    ("hickory_resolver", &["names/", "telemetry/logging"]),
    ("axum", &["problem", "ingest/", "manage/", "ops/", "app/"]),
    // `delivery` names their error types, which tell what broke, and the trait of bodies.
    ("hyper", &["ingest/", "manage/", "ops/", "app/", "cli/", "delivery/classify", "delivery/begun"]),
    ("h2", &["delivery/classify"]),
    ("hyper_util", &["ingest/", "manage/", "ops/", "app/", "cli/"]),
    ("utoipa", &["problem", "ingest/", "manage/", "ops/", "app/api_doc"]),
    ("regex_automata", &["policy/"]),
    ("url", &["event/", "ingest/cloudevents"]),
    ("clap", &["cli/"]),
    ("pulldown_cmark", &["manual/"]),
    ("clap_complete", &["cli/"]),
    ("clap_mangen", &["cli/"]),
    // For digests; its other parts are the business of the TLS library.
    ("ring", &["cli/enqueue"]),
    ("toml", &["config/"]),
    ("metrics", &["telemetry/"]),
    ("metrics_exporter_prometheus", &["telemetry/"]),
    ("metrics_process", &["telemetry/"]),
    ("metrics_util", &["telemetry/series"]),
    ("tracing_subscriber", &["telemetry/"]),
    ("opentelemetry_proto", &["traces/spans"]),
    ("prost", &["traces/spans"]),
    ("indicatif", &["cli/"]),
    ("console", &["cli/"]),
    ("anyhow", &["main.rs", "cli/"]),
];

/// Where tasks may be set free; everywhere else futures belong to whoever awaits them.
const MAY_SPAWN: &[&str] = &["app/", "dispatch/service", "names/", "queue/", "ingest/"];

/// Folders below `src` whose test files still have names of their own.
const OTHER_TEST_NAMES: &[&str] = &["manage/"];

/// Longest source file, in lines.
const MAX_LINES: usize = 450;

/// What no file may contain. In pieces, so that this file does not.
const BANNED: &[&str] = &[
    concat!("to", "do!("),
    concat!("unimpl", "emented!("),
    concat!("db", "g!("),
    concat!("#[ign", "ore]"),
    concat!("#[all", "ow("),
];

#[test]
fn rooms_import_only_downwards() {
    let mut broken = Vec::new();
    for File { path, text } in read_source().product {
        let room = room_of(&path);
        if matches!(room.as_str(), "app" | "lib" | "main") {
            continue;
        }
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == room) else {
            broken.push(format!("{path}: the room {room} has no rule in this test"));
            continue;
        };
        for used in imports(&text, depth_of(&path)) {
            let below = used.split("::").next().unwrap_or("");
            let of_queue = allowed.contains(&"queue") && QUEUE_VALUES.contains(&used.as_str());
            if below != room && !allowed.contains(&below) && !of_queue {
                broken.push(format!("{path}: {room} must not know {used}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn each_third_party_crate_stays_with_its_owner() {
    let mut broken = Vec::new();
    for File { path, text } in read_source().product {
        for (name, owners) in OWNERS {
            if names_crate(&text, name) && !owners.iter().any(|owner| path.starts_with(owner)) {
                broken.push(format!("{path}: {name} belongs to {owners:?}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn tasks_are_started_in_few_places() {
    let mut broken = Vec::new();
    for File { path, text } in read_source().product {
        let spawns = text.contains("tokio::spawn(") || text.contains("task::spawn(");
        if spawns && !MAY_SPAWN.iter().any(|place| path.starts_with(place)) {
            broken.push(path);
        }
    }
    assert!(broken.is_empty(), "tasks are set free in {broken:#?}");
}

#[test]
fn every_file_says_what_it_is_and_stays_short() {
    let mut broken = Vec::new();
    for folder in ["src", "tests", "benches"] {
        for path in rust_files(&root().join(folder)) {
            let text = read(&path);
            let lines = text.lines().count();
            let head = text.lines().next().unwrap_or("");
            if head.strip_prefix("//! ").is_none_or(|words| words.trim().len() < 10) {
                broken.push(format!("{}: the first line must be a //! head", path.display()));
            }
            if lines > MAX_LINES {
                broken.push(format!("{}: {lines} lines, at most {MAX_LINES}", path.display()));
            }
            for banned in BANNED.iter().filter(|banned| text.contains(**banned)) {
                broken.push(format!("{}: contains {banned}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Four rooms once had a way of their own to escape a JSON pointer, and cut names at two lengths.
#[test]
fn json_pointers_are_escaped_in_one_place() {
    // Read as it is: the rules above see no literals.
    let escapes = |path: &String| read(&root().join("src").join(path)).contains("\"~1\"");
    let places: Vec<_> =
        read_source().product.into_iter().map(|file| file.path).filter(escapes).collect();
    assert_eq!(places, ["event/pointer.rs"]);
}

/// The rules above would see a breach: each finder is shown one.
#[test]
fn the_finders_find() {
    let text = "use crate::store::{self, Lookup, record::Form};\nfn f(x: crate::limit::Gate) {}\n\
                // crate::app is only named here\nuse crate::{event::{Entry, Lane}, clock::Clock};\n\
                const A: &str = \"crate::cli\"; /* crate::ops */ use super::super::manage::Desk;\n";
    let found: Vec<String> = imports(&masked(text), 2).into_iter().collect();
    let below =
        ["clock", "event", "limit::Gate", "manage::Desk", "store::Lookup", "store::record", "store::self"];
    assert_eq!(found, below);
    assert_eq!(imports("use super::super::store::Lookup;", 3).len(), 0, "it stays in the room");

    assert!(names_crate("let db = sled::open(path);", "sled"));
    assert!(names_crate("use sled::Db;", "sled"));
    assert!(names_crate("use sled as database;", "sled"));
    assert!(!names_crate("use crate::store::sled::Db;", "sled"));
    assert!(!names_crate("let x = unsled::open();", "sled"));
    assert!(!names_crate(&masked("/// like sled::Db"), "sled"));

    assert_eq!(depth_of("lib.rs"), 0);
    assert_eq!(depth_of("store/mod.rs"), 1);
    assert_eq!(depth_of("store/index/rows.rs"), 3);
    assert!(named_for_tests("queue/tests/slow.rs") && named_for_tests("telemetry/testing.rs"));
    assert!(!named_for_tests("store/contract.rs"));
    assert_eq!(room_of("store/index/rows.rs"), "store");
    assert_eq!(room_of("clock.rs"), "clock");
}

/// Only test items are cut, and each to its end: what stands behind a mere `mod tests;` is checked too.
#[test]
fn only_test_items_are_cut() {
    let cut = |text: &str| without_tests(text).split_whitespace().collect::<Vec<_>>().join(" ");

    assert_eq!(cut("use a;\n#[cfg(test)]\nmod tests {\n    use crate::app::App;\n}\n"), "use a;");
    assert_eq!(cut("#[cfg(test)]\nmod tests;\nuse crate::app::App;"), "use crate::app::App;");
    assert_eq!(cut("#[cfg(test)]\npub(crate) mod testing;\nuse b;"), "use b;");
    assert_eq!(cut("#[cfg(test)]\nmod tests { fn f() { g(\"}\", '}', r#\"}\"#); } } use b;"), "use b;");
    assert_eq!(cut("#[cfg(test)] mod tests { /* } */ fn f<'a>(x: &'a str) {} // }\n} use b;"), "use b;");
    assert_eq!(
        cut("impl A { #[cfg(test)]\n#[must_use]\nfn f(&self) -> [u8; 2] { [1; 2] } fn g() {} }"),
        "impl A { fn g() {} }"
    );
    assert_eq!(declared(&masked("mod a; // mod b;\npub(super) mod c;\nmod d {}")), ["a", "c"]);
}

/// Files for tests say so in their names, and files of the program do not.
#[test]
fn test_files_are_named_for_tests() {
    let source = read_source();
    let mut broken =
        source.stray.iter().map(|path| format!("{path}: no module declares it")).collect::<Vec<_>>();
    for path in source.tests.iter().filter(|path| !named_for_tests(path)) {
        if !OTHER_TEST_NAMES.iter().any(|prefix| path.starts_with(prefix)) {
            broken.push(format!("{path}: is for tests and belongs into a folder `tests`"));
        }
    }
    for File { path, text } in &source.product {
        if named_for_tests(path) || text.contains("#[test]") || text.contains("#[tokio::test") {
            broken.push(format!("{path}: is in the program, but its name or text is of a test"));
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// The page that a newcomer reads first names rooms, files and tests that are there.
#[test]
fn the_architecture_page_names_what_is_there() {
    let page = read(&root().join("src/architecture.md"));
    let files = ["src", "tests"].map(|folder| rust_files(&root().join(folder))).concat();
    let sources: Vec<String> = files.iter().map(|path| read(path)).collect();
    let quoted = || page.split('`').skip(1).step_by(2);
    let mut broken = Vec::new();
    for (room, _) in MAY_IMPORT {
        if !page.contains(&format!("| [`{room}`] |")) {
            broken.push(format!("the room {room} has no row"));
        }
    }
    for path in quoted().filter(|word| word.starts_with("src/") || word.starts_with("tests/")) {
        if !root().join(path).exists() {
            broken.push(format!("{path} is not there"));
        }
    }
    let is_test = |word: &&str| {
        word.matches('_').count() >= 3 && word.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
    };
    for test in quoted().filter(is_test) {
        if !sources.iter().any(|text| text.contains(&format!("fn {test}("))) {
            broken.push(format!("no test is named {test}"));
        }
    }
    assert!(quoted().filter(is_test).count() >= 15, "the tests were not found on the page");
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(read(&root().join("src/glossary.md")).lines().count() <= 60, "the glossary is too long");
}

#[test]
fn the_room_rules_have_no_cycle() {
    let rank = |room: &str| MAY_IMPORT.iter().position(|(name, _)| *name == room);
    for (room, allowed) in MAY_IMPORT.iter().filter(|(room, _)| *room != "cli") {
        for below in *allowed {
            assert!(rank(below) < rank(room), "{room} may import {below}, which stands above it");
        }
    }
}

fn room_of(path: &str) -> String {
    path.split(['/', '.']).next().unwrap_or("").to_owned()
}

/// How many modules stand between the root and what is written in the file.
fn depth_of(path: &str) -> usize {
    let own_name = !path.ends_with("/mod.rs") && path != "lib.rs" && path != "main.rs";
    path.matches('/').count() + usize::from(own_name)
}

/// Whether a path below `src` says that the file is for tests.
fn named_for_tests(path: &str) -> bool {
    path.trim_end_matches(".rs")
        .split('/')
        .any(|part| matches!(part, "tests" | "testing") || part.ends_with("_tests"))
}
