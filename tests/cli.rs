//! The program from outside: exit codes, what goes to which stream, the configuration's way in.

use std::fs;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// Runs tidegate in an empty directory with this environment and no other.
fn tidegate(directory: &TempDir, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments).current_dir(directory.path()).env_clear().envs(environment.iter().copied());
    command.output().unwrap_or_else(|error| unreachable!("tidegate was built for this test: {error}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_bad_configuration_is_told_whole_with_code_64() {
    let directory = TempDir::new().expect("a directory");
    fs::write(directory.path().join("tidegate.toml"), "[queue]\nttl_seconds = 0\n[lissten]\nx = 1\n")
        .expect("file");
    for command in ["check-config", "print-config", "serve", "run", "enqueue"] {
        let output =
            tidegate(&directory, &[command, "--listen", "0.0.0.0:0"], &[("TIDEGATE_LOG_LEVEL", "loud")]);
        assert_eq!(output.status.code(), Some(64), "{command}");
        let lines: Vec<String> = text(&output.stderr).lines().map(str::to_owned).collect();
        assert_eq!(lines[0], "tidegate: 4 problems in the configuration", "{command}: {lines:#?}");
        assert!(lines[1].starts_with("tidegate.toml:2: queue.ttl_seconds: "), "{lines:#?}");
        assert!(lines[2].starts_with("tidegate.toml:4: lissten.x: "), "{lines:#?}");
        assert!(lines[3].starts_with("environment TIDEGATE_LOG_LEVEL: log.level: "), "{lines:#?}");
        assert!(lines[4].starts_with("flag --listen: listen.address: "), "{lines:#?}");
        assert!(output.stdout.is_empty(), "{command}");
    }
}

#[test]
fn a_health_check_fails_with_code_1_whatever_is_wrong() {
    let directory = TempDir::new().expect("a directory");
    fs::write(directory.path().join("tidegate.toml"), "[lissten]\nx = 1\n").expect("file");
    let output = tidegate(&directory, &["health"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("tidegate.toml:2: lissten.x: "), "{}", text(&output.stderr));
}

#[test]
fn accounts_that_name_no_function_are_told_with_code_64() {
    let directory = TempDir::new().expect("a directory");
    let accounts = "[responsys]\naccounts = [{ name = \"acme\", limits = { log_in = 1, login = 0 } }]\n";
    fs::write(directory.path().join("tidegate.toml"), accounts).expect("file");
    for command in ["check-config", "serve"] {
        let output = tidegate(&directory, &[command, "--listen", "127.0.0.1:0"], &[]);
        assert_eq!(output.status.code(), Some(64), "{command}");
        let said = text(&output.stderr);
        for told in ["account \"acme\": /limits/log_in is no function", "/limits/login is out of range"] {
            assert!(said.contains(told), "{command}: {said}");
        }
    }
}

#[test]
fn a_good_configuration_is_taken_from_every_layer() {
    let directory = TempDir::new().expect("a directory");
    fs::write(directory.path().join("tidegate.toml"), "[queue]\nttl_seconds = 60\n").expect("file");
    let environment = [("TIDEGATE_RETRY_MAX_ATTEMPTS", "3")];
    let output = tidegate(&directory, &["print-config", "--egress-allow", "10.0.0.0/8"], &environment);
    assert_eq!(output.status.code(), Some(0));
    let printed = text(&output.stdout);
    for line in [
        "ttl_seconds = 60 # tidegate.toml:2\n",
        "max_attempts = 3 # environment TIDEGATE_RETRY_MAX_ATTEMPTS\n",
        "allow = [\"10.0.0.0/8\"] # flag --egress-allow\n",
    ] {
        assert!(printed.contains(line), "{line} is not in\n{printed}");
    }
    assert_eq!(tidegate(&directory, &["check-config"], &[]).status.code(), Some(0));
    assert!(fs::read_dir(directory.path()).expect("readable").count() == 1, "nothing else was made");
}

#[test]
fn the_printed_defaults_are_a_configuration_file() {
    let directory = TempDir::new().expect("a directory");
    let output = tidegate(&directory, &["print-config", "--defaults"], &[]);
    fs::write(directory.path().join("mine.toml"), &output.stdout).expect("file");
    let output = tidegate(&directory, &["check-config", "--config", "mine.toml"], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn wrong_usage_is_code_2_and_help_is_code_0() {
    let directory = TempDir::new().expect("a directory");
    assert_eq!(tidegate(&directory, &["serve", "--no-such-flag"], &[]).status.code(), Some(2));
    assert_eq!(tidegate(&directory, &[], &[]).status.code(), Some(2));
    let help = tidegate(&directory, &["--help"], &[]);
    assert_eq!(help.status.code(), Some(0));
    for subcommand in subcommands(&directory).iter().filter(|name| *name != "help") {
        let help = tidegate(&directory, &[subcommand, "--help"], &[]);
        assert_eq!(help.status.code(), Some(0), "{subcommand}");
    }
}

/// Those that the help of the program lists.
fn subcommands(directory: &TempDir) -> Vec<String> {
    let help = text(&tidegate(directory, &["--help"], &[]).stdout);
    let listed =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names =
        listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()));
    let names: Vec<String> = names.map(str::to_owned).collect();
    for known in ["serve", "enqueue", "status", "top", "doubts", "store", "help"] {
        assert!(names.iter().any(|name| name == known), "{known} is not in {names:?}");
    }
    names
}

#[test]
fn the_manual_names_every_subcommand() {
    let directory = TempDir::new().expect("a directory");
    let chapter = tidegate::testkit::manual::chapter("command-line").map_or("", |chapter| chapter.text);
    let missing: Vec<_> = subcommands(&directory)
        .into_iter()
        .filter(|name| name != "help" && !chapter.contains(&format!("| `{name}`")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(!chapter.contains("| `colour`"), "the search would find anything");
}

#[test]
fn the_exit_codes_of_the_help_are_those_of_the_manual() {
    let directory = TempDir::new().expect("a directory");
    let help = text(&tidegate(&directory, &["--help"], &[]).stdout);
    let (_, codes) = help.split_once("Exit codes:").expect("a list of exit codes");
    let in_help: Vec<u8> = codes.split([' ', '\n']).filter_map(|word| word.parse().ok()).collect();
    let chapter = tidegate::testkit::manual::chapter("exit-codes").map_or("", |chapter| chapter.text);
    let in_manual: Vec<u8> =
        chapter.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok()).collect();
    assert_eq!(in_help, in_manual);
}

/// As `tidegate … | head -0`.
#[test]
fn a_reader_that_leaves_is_no_failure() {
    let directory = TempDir::new().expect("a directory");
    for arguments in [
        &["man"][..],
        &["completions", "bash"],
        &["print-config", "--defaults"],
        &["unit", "--socket"],
        &["--help"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(arguments).current_dir(directory.path()).env_clear();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("its end");
        let said = text(&output.stderr);
        assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "{arguments:?}");
    }
    // A full disk is one.
    let full = fs::File::options().write(true).open("/dev/full").expect("the device");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(["man"]).current_dir(directory.path()).env_clear().stdout(full);
    assert_eq!(command.output().expect("the program").status.code(), Some(1));
}

#[test]
fn enqueue_without_a_daemon_says_so() {
    let directory = TempDir::new().expect("a directory");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("bound").to_string();
    drop(free);
    let output = tidegate(&directory, &["enqueue", "--listen", &address], &[]);
    assert_eq!(output.status.code(), Some(69));
    let said = text(&output.stderr);
    assert!(said.starts_with(&format!("tidegate: cannot reach tidegate at {address}")), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}
