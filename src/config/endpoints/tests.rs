//! Each row of bad input is told with its line, its member and the way out; good blocks become rules that are found by url.

use std::num::NonZeroU16;

use super::*;
use crate::config::tests::{file, inputs, problems};
use crate::config::{Config, DEFAULTS};
use crate::event::{CanonicalUrl, Cause, Outcome};

fn load(text: &str) -> Endpoints {
    Config::load(&inputs(&file(text), &[], Vec::new())).expect("valid").config.endpoints
}

fn named<'e>(endpoints: &'e Endpoints, url: &str) -> Option<&'e str> {
    endpoints.find(&CanonicalUrl::parse(url).expect("valid")).map(|endpoint| &*endpoint.name)
}

#[test]
fn a_block_rules_the_calls_that_its_pattern_matches_best() {
    let endpoints = load(
        "[retry]\nmax_delay_ms = 7000\n\
         [[endpoint]]\nname = \"all\"\nurl = \"https://h.org/*\"\nheaders = { x-team = \"crm secret\" }\n\
         [[endpoint]]\nname = \"hooks\"\nurl = \"https://H.org:443/hooks/*\"\nretry = { max_attempts = 3 }\n",
    );
    assert_eq!(named(&endpoints, "https://h.org/a"), Some("all"));
    assert_eq!(named(&endpoints, "https://h.org/hooks/a"), Some("hooks"));
    assert_eq!(named(&endpoints, "https://i.org/"), None);
    let [all, hooks] = endpoints.list() else { panic!("{endpoints:?}") };
    assert_eq!(all.calls.headers["x-team"], "crm secret");
    assert!(!format!("{endpoints:?}").contains("secret"), "credentials are not shown");
    let policy = hooks.retry.policy;
    assert_eq!((policy.max_attempts, policy.cap), (NonZeroU16::new(3), Duration::from_secs(7)));
    assert_eq!(policy.base, Duration::from_secs(1), "as for all calls");
    assert_eq!(load("").list().len(), 0);
}

#[test]
fn statuses_are_listed_as_numbers_texts_and_classes() {
    let text = "[delivery]\ntotal_timeout_ms = 30000\n\
         [[endpoint]]\nname = \"a\"\nurl = \"https://a.org/*\"\n\
         retry = { max_attempts = 0, retried = [\"4xx\", 302], dead = 501, fine = [\"404\"], ambiguous = \"dead\" }\n\
         [[endpoint]]\nname = \"b\"\nurl = \"https://b.org/*\"\nretry = \"adobe\"\n";
    let endpoints = load(text);
    let [a, b] = endpoints.list() else { panic!("{endpoints:?}") };
    let counts = |endpoint: &Endpoint, status| {
        let reject = Outcome::Reject { cause: Cause::Status(status) };
        match endpoint.retry.judged(&reject) {
            None => "dead",
            Some(Outcome::Delivered { .. }) => "fine",
            Some(_) => "retried",
        }
    };
    let of_a = [302, 301, 400, 404, 501].map(|status| counts(a, status));
    assert_eq!(of_a, ["retried", "dead", "retried", "fine", "dead"]);
    assert!(a.retry.ambiguous_is_dead && a.retry.policy.max_attempts.is_none() && a.retry.within.is_none());
    let of_b = [301, 400, 401, 403, 404, 405, 429].map(|status| counts(b, status));
    assert_eq!(of_b, ["retried", "retried", "dead", "dead", "dead", "retried", "retried"]);
    assert_eq!(
        (b.retry.policy.max_attempts, b.retry.within),
        (NonZeroU16::new(4), Some(Duration::from_secs(30)))
    );
}

#[test]
fn the_example_of_the_defaults_is_a_block() {
    let (_, example) = DEFAULTS.split_once("# [[endpoint]]\n").expect("an example");
    let lines = example.lines().take_while(|line| line.starts_with("# ")).map(|line| &line[2..]);
    let text = format!("[[endpoint]]\n{}\n", lines.collect::<Vec<_>>().join("\n"));
    assert_eq!(load(&text).list().len(), 1, "{text}");
}

#[test]
fn two_blocks_that_could_both_rule_are_named() {
    let block = |name, url| format!("[[endpoint]]\nname = \"{name}\"\nurl = \"https://h.org/{url}\"\n");
    let tied = problems(&(block("one", "a*") + &block("two", "*a")), &[], Vec::new());
    assert_eq!(tied.len(), 1, "{tied:?}");
    assert!(
        tied[0].starts_with("FILE:6: endpoint \"two\": url: is as literal as that of the endpoint \"one\"")
    );
    // The control: equally literal patterns that no url matches both.
    assert_eq!(load(&(block("one", "a*") + &block("two", "b*"))).list().len(), 2);
    let twice = problems(&(block("one", "a*") + &block("one", "b*")), &[], Vec::new());
    assert!(twice[0].contains("endpoint \"one\": name: must be unique; the block at FILE:2"), "{twice:?}");
}

#[test]
fn every_bad_member_is_told_with_its_line_and_the_way_out() {
    for (member, told) in [
        ("colour = 1", "colour: unknown member; known are name, url, retry"),
        ("retries = 1", "retries: unknown member; did you mean retry?"),
        ("retry = 3", "retry: must be \"adobe\" or a table, as retry = {"),
        ("retry = \"google\"", "retry: must be \"adobe\" or a table, as retry = {"),
        ("retry = { ambiguous = true }", "retry.ambiguous: must be \"retried\" or \"dead\""),
        ("retry = { fine = [200] }", "retry.fine: must list statuses from 300 to 599"),
        ("retry = { dead = \"2xx\" }", "retry.dead: must list statuses from 300 to 599"),
        ("retry = { dead = [404, \"404\"] }", "retry.dead: must list \"404\" once"),
        ("retry = { retried = [\"5xx\"], fine = [\"5xx\"] }", "retry.fine: must list \"5xx\" once"),
        ("retry = { attempts = 3 }", "retry.attempts: unknown member; "),
        ("retry = { max_attempts = 1001 }", "retry.max_attempts: must be a whole number from "),
        ("retry = { min_delay_ms = \"1\" }", "retry.min_delay_ms: must be a whole number from 1 to 3600000"),
        ("retry = { min_delay_ms = 400000 }", "retry.min_delay_ms: must not exceed max_delay_ms"),
        (
            "connection_max_age_seconds = 0",
            "connection_max_age_seconds: must be a whole number from 1 to 86400",
        ),
        ("keep_answers = 1", "keep_answers: must be true or false"),
        ("headers = { host = \"a\" }", "headers.host: belongs to the connection or to tidegate itself"),
        ("headers = { tidegate-x = \"a\" }", "headers.tidegate-x: belongs to the connection or to tidegate"),
        ("headers = { traceparent = \"a\" }", "headers.traceparent: belongs to the trace of each event"),
        ("headers = { Authorization = \"Bearer a\" }", "headers.Authorization: looks like a credential"),
        ("headers = { cookie = \"a\" }", "headers.cookie: looks like a credential"),
        ("headers = { x-api-key = \"a\" }", "headers.x-api-key: looks like a credential"),
        ("headers = { X-Auth-Token = [\"a\"] }", "headers.X-Auth-Token: looks like a credential"),
        ("headers = { x-a = 1 }", "headers.x-a: must be text, or a list of texts"),
    ] {
        let text = format!("[[endpoint]]\nname = \"crm\"\nurl = \"https://h.org/*\"\n{member}\n");
        let problems = problems(&text, &[], Vec::new());
        let wanted = format!("FILE:4: endpoint \"crm\": {told}");
        assert!(problems.len() == 1 && problems[0].starts_with(&wanted), "{member}: {problems:#?}");
    }
    for (block, told) in [
        ("url = \"https://h.org/*\"", "FILE:1: endpoint 1: name: is missing"),
        ("url = \"https://h.org/*\"\nname = \"a b\"", "FILE:3: endpoint \"a b\": name: must be what answers"),
        ("name = \"a\"", "FILE:1: endpoint \"a\": url: is missing: a url pattern"),
        ("name = \"a\"\nurl = \"https://*.org/\"", "FILE:3: endpoint \"a\": url: must be a url pattern"),
    ] {
        let problems = problems(&format!("[[endpoint]]\n{block}\n"), &[], Vec::new());
        assert!(problems.len() == 1 && problems[0].starts_with(told), "{block}: {problems:#?}");
    }
    let variable = problems("endpoint = 1\n", &[], Vec::new());
    assert!(variable[0].contains("rules for endpoints stand in blocks of their own"), "{variable:?}");
}

/// Loads as the daemon does, with the files of secrets.
fn to_run(text: &str) -> Result<Endpoints, String> {
    let loaded = Config::load_to_run(&inputs(&file(text), &[], Vec::new()));
    loaded.map(|loaded| loaded.config.endpoints).map_err(|error| error.to_string())
}

#[test]
fn secrets_are_read_by_the_daemon_alone_and_no_problem_shows_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).expect("written");
        dir.path().join(name).display().to_string()
    };
    let block = |signing: &str| {
        format!("[[endpoint]]\nname = \"a\"\nurl = \"https://a.org/*\"\nsigning = {signing}\n")
    };
    let listed = |places: &[&str]| block(&format!("{{ secrets = {places:?} }}"));
    const ONE: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let (one, two) = (place("one", ONE), place("two", &format!("{ONE}\n{ONE}\n")));
    let signing = |endpoints: &Endpoints| endpoints.list()[0].calls.signing.len();
    assert_eq!(signing(&to_run(&listed(&[&one])).expect("valid")), 1);
    assert_eq!(signing(&to_run(&listed(&[&one, &two])).expect("valid")), 3);
    assert_eq!(signing(&load(&listed(&[&one, "/does/not/exist"]))), 0, "nobody else needs to read them");
    let wrong = place("wrong", "whsec_CANARY!");
    for (text, rule) in [
        (listed(&[&wrong]), "must be base64"),
        (listed(&["/does/not/exist"]), "cannot be opened"),
        (listed(&["one"]), "absolute path"),
        (listed(&["credential:one"]), "systemd has handed over none"),
        (listed(&[]), "at least one file"),
        (listed(&[&two, &two, &two]), "at most 5"),
        (block("\"x\""), "must be a table"),
        (block("{ secrets = [1] }"), "place 1"),
        (block("{ keys = [] }"), "unknown member"),
    ] {
        let problem = to_run(&text).expect_err(&text);
        assert!(problem.contains(rule) && !problem.contains("CANARY"), "{text}: {problem}");
    }
}

#[test]
fn tls_is_checked_by_the_daemon_and_verification_cannot_be_switched_off() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).expect("written");
        dir.path().join(name).display().to_string()
    };
    let block = |tls: &str| format!("[[endpoint]]\nname = \"a\"\nurl = \"https://a.org/*\"\ntls = {tls}\n");
    let empty = place("empty", "-----BEGIN CERTIFICATE-----\nCANARY\n-----END CERTIFICATE-----\n");
    let only = to_run(&block("{ min_version = \"1.3\" }")).expect("valid");
    assert!(only.list()[0].calls.tls.is_some());
    assert!(
        load(&block("{ ca = \"/does/not/exist\" }")).list()[0].calls.tls.is_none(),
        "nobody else needs to read it"
    );
    for (tls, rule) in [
        (format!("{{ ca = {empty:?} }}"), "ca: holds no certificate"),
        (format!("{{ certificate = {empty:?} }}"), "key: needs both"),
        (format!("{{ certificate = {empty:?}, key = {empty:?} }}"), "key: holds no private key"),
        ("{ ca = \"/does/not/exist\" }".to_owned(), "cannot be opened"),
        ("{ ca = 1 }".to_owned(), "must name a file"),
        ("{ min_version = \"1.1\" }".to_owned(), "must be \"1.2\" or \"1.3\""),
        ("{ verify = false }".to_owned(), "unknown member"),
        ("false".to_owned(), "must be a table"),
    ] {
        let problem = to_run(&block(&tls)).expect_err(&tls);
        assert!(problem.contains(rule) && !problem.contains("CANARY"), "{tls}: {problem}");
    }
}

#[test]
fn secret_headers_are_read_by_the_daemon_and_no_problem_shows_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).expect("written");
        dir.path().join(name).display().to_string()
    };
    let block = |members: &str| format!("[[endpoint]]\nname = \"a\"\nurl = \"https://a.org/*\"\n{members}\n");
    let token = place("token", "Bearer CANARY\n");
    let text =
        block(&format!("headers = {{ x-team = \"crm\" }}\nsecret_headers = {{ Authorization = {token:?} }}"));
    let endpoints = to_run(&text).expect("valid");
    let headers = &endpoints.list()[0].calls.headers;
    assert_eq!(
        (&headers["authorization"], &headers["x-team"]),
        (&"Bearer CANARY".parse().expect("a value"), &"crm".parse().expect("a value"))
    );
    assert!(headers["authorization"].is_sensitive() && !format!("{endpoints:?}").contains("CANARY"));
    assert!(
        !load(&text).list()[0].calls.headers.contains_key("authorization"),
        "nobody else needs to read it"
    );
    let (two, odd) = (place("two", "CANARY\nCANARY\n"), place("odd", "CANARY\u{fc}\u{1}"));
    for (members, rule) in [
        (format!("secret_headers = {{ x = {two:?} }}"), "must hold one line"),
        (format!("secret_headers = {{ x = {odd:?} }}"), "visible ASCII"),
        (format!("secret_headers = {{ host = {token:?} }}"), "belongs to the connection"),
        (format!("secret_headers = {{ traceparent = {token:?} }}"), "belongs to the trace"),
        (format!("secret_headers = {{ \"a b\" = {token:?} }}"), "is not a header name"),
        (format!("headers = {{ x = \"y\" }}\nsecret_headers = {{ X = {token:?} }}"), "is given twice"),
        ("secret_headers = { x = 1 }".to_owned(), "must name a file"),
        ("secret_headers = { x = \"/does/not/exist\" }".to_owned(), "cannot be opened"),
        ("secret_headers = 1".to_owned(), "must be a table"),
    ] {
        let problem = to_run(&block(&members)).expect_err(&members);
        assert!(problem.contains(rule) && !problem.contains("CANARY"), "{members}: {problem}");
    }
}

#[test]
fn a_proxy_is_named_by_its_address_and_shows_no_credentials() {
    let block =
        |proxy: &str| format!("[[endpoint]]\nname = \"a\"\nurl = \"https://a.org/*\"\nproxy = {proxy}\n");
    let endpoints = load(&block("{ url = \"http://p.org:3128\", resolves = true }"));
    let proxy = endpoints.list()[0].calls.proxy.as_ref().expect("a proxy");
    assert_eq!((proxy.address(), proxy.resolves), ("p.org:3128", true));
    let dir = tempfile::tempdir().expect("a directory");
    let user = dir.path().join("user");
    std::fs::write(&user, "CANARY").expect("written");
    for (proxy, rule) in [
        ("{ url = \"https://p.org\" }".to_owned(), "must be http://"),
        ("{ url = \"http://p.org/x\" }".to_owned(), "must be http://"),
        ("{ url = \"http://u:p@p.org\" }".to_owned(), "user name or password"),
        ("{ resolves = true }".to_owned(), "is missing"),
        ("{ url = \"http://p.org\", resolves = 1 }".to_owned(), "must be true or false"),
        (
            format!("{{ url = \"http://p.org\", credentials = {:?} }}", user.display().to_string()),
            "user:password",
        ),
        ("\"http://p.org\"".to_owned(), "must be a table"),
    ] {
        let problem = to_run(&block(&proxy)).expect_err(&proxy);
        assert!(problem.contains(rule) && !problem.contains("CANARY"), "{proxy}: {problem}");
    }
}

const OAUTH2: &str = "token_url = \"https://id.org/token\", client_id = \"tidegate\"";
const LOGIN: &str = "url = \"https://a.org/login\", token = \"authToken\"";

#[test]
fn credentials_are_read_by_the_daemon_and_no_problem_shows_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).expect("written");
        dir.path().join(name).display().to_string()
    };
    let block = |members: &str| format!("[[endpoint]]\nname = \"a\"\nurl = \"https://a.org/*\"\n{members}\n");
    let (one, two) = (place("one", "CANARY\n"), place("two", "CANARY\nCANARY\n"));
    let oauth2 = |more: &str| block(&format!("oauth2 = {{ {OAUTH2}, client_secret = {one:?}{more} }}"));
    let login =
        |more: &str| block(&format!("login = {{ {LOGIN}, secret_form = {{ password = {one:?} }}{more} }}"));
    for text in [
        oauth2(""),
        oauth2(
            ", scope = \"a b\", audience = \"x\", parameters = { resource = \"y\" }, authentication = \"body\"",
        ),
        login(""),
        login(
            ", form = { auth_type = \"password\" }, header = \"x-token\", scheme = \"Bearer\", lifetime_seconds = 7200",
        ),
    ] {
        let endpoints = to_run(&text).expect(&text);
        assert!(endpoints.have_credentials() && !format!("{endpoints:?}").contains("CANARY"), "{text}");
        assert!(!load(&text).have_credentials(), "nobody else needs to read it");
    }
    assert_eq!(to_run(&oauth2("")), to_run(&oauth2("")));
    assert_ne!(to_run(&oauth2("")), to_run(&oauth2(", scope = \"a\"")));
    let before = to_run(&oauth2(""));
    place("one", "CANARY-2");
    assert_ne!(to_run(&oauth2("")), before, "the secret has changed");
    for (text, rule) in [
        (oauth2(", scope = \"\""), "oauth2.scope: must be text of 1 to"),
        (oauth2(", authentication = \"post\""), "oauth2.authentication: must be \"basic\" or \"body\""),
        (oauth2(", parameters = { scope = \"x\" }"), "oauth2.parameters.scope: has a place of its own"),
        (oauth2(", lifetime_seconds = 0"), "oauth2.lifetime_seconds: must be a whole number from 1 to"),
        (oauth2(", tokens = 1"), "oauth2.tokens: unknown member"),
        (oauth2("").replace("https://id.org", "ftp://id.org"), "oauth2.token_url: must be an http or https"),
        (block(&format!("oauth2 = {{ {OAUTH2} }}")), "oauth2.client_secret: is missing"),
        (block(&format!("oauth2 = {{ {OAUTH2}, client_secret = {two:?} }}")), "must hold one line"),
        (block("oauth2 = { token_url = \"https://id.org\" }"), "oauth2.client_id: is missing"),
        (login(", form = { password = \"x\" }"), "login.secret_form.password: is given twice"),
        (login(", header = \"host\""), "login.header: belongs to the connection"),
        (login(", header = \"a b\""), "login.header: is not a header name"),
        (login("").replace(", token = \"authToken\"", ""), "login.token: is missing"),
        (
            format!("{}{}", oauth2(""), &login("")[login("").find("login").expect("there")..]),
            "one way to a token too many",
        ),
        (
            oauth2("") + &format!("secret_headers = {{ authorization = {one:?} }}"),
            "oauth2: sets authorization, which headers",
        ),
        (login("") + &format!("secret_headers = {{ Authorization = {one:?} }}"), "login: sets authorization"),
    ] {
        let problem = to_run(&text).expect_err(&text);
        assert!(problem.contains(rule) && !problem.contains("CANARY"), "{text}: {problem}");
    }
}

/// Somebody has written the secret itself where its place belongs: it is told at every start and every SIGHUP, by
/// `check-config`, and by the commands that read no secrets, which all show the same problems.
#[test]
fn a_secret_in_place_of_its_file_is_never_shown() {
    let block = |member: &str| format!("[[endpoint]]\nname = \"a\"\nurl = \"https://a.org/*\"\n{member}\n");
    for secret in [
        "whsec_CANARYQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(),
        "Bearer CANARY".to_owned(),
        "user:CANARY".to_owned(),
        format!("credential:CANARY{}", "x".repeat(256)),
        "-----BEGIN PRIVATE KEY-----\nCANARY\n-----END PRIVATE KEY-----\n".to_owned(),
        "/\nCANARY".to_owned(),
    ] {
        for (member, called) in [
            (format!("signing = {{ secrets = [{secret:?}] }}"), "signing.secrets: "),
            (format!("secret_headers = {{ authorization = {secret:?} }}"), "secret_headers.authorization: "),
            (format!("tls = {{ ca = {secret:?} }}"), "tls.ca: "),
            (format!("tls = {{ certificate = {secret:?} }}"), "tls.certificate: "),
            (format!("tls = {{ key = {secret:?} }}"), "tls.key: "),
            (
                format!("proxy = {{ url = \"http://p.org\", credentials = {secret:?} }}"),
                "proxy.credentials: ",
            ),
            (format!("oauth2 = {{ {OAUTH2}, client_secret = {secret:?} }}"), "oauth2.client_secret: "),
            (
                format!("login = {{ {LOGIN}, secret_form = {{ password = {secret:?} }} }}"),
                "login.secret_form.password: ",
            ),
        ] {
            let text = block(&member);
            let printed = problems(&text, &[], Vec::new()).join("\n");
            for told in [to_run(&text).expect_err(&text), printed] {
                assert!(told.contains(called) && told.contains("not shown"), "{member}: {told}");
                assert!(!told.contains("CANARY"), "{member}: {told}");
            }
        }
    }
    // A member that is misspelt or of another type, and a line that is no TOML.
    for member in [
        "signing = { secret = \"CANARY\" }",
        "signing = \"CANARY\"",
        "signing = { secrets = \"CANARY\" }",
        "signing = { secrets = [[\"CANARY\"]] }",
        "secret_headers = \"CANARY\"",
        "secret_headers = { authorization = [\"CANARY\"] }",
        "secret_header = { authorization = \"CANARY\" }",
        "tls = { keys = \"CANARY\" }",
        "tls = { key = [\"CANARY\"] }",
        "tls = { min_version = \"CANARY\" }",
        "tls = \"CANARY\"",
        "proxy = \"CANARY\"",
        "proxy = { url = \"http://p.org\", credential = \"CANARY\" }",
        "proxy = { url = \"http://p.org\", credentials = [\"CANARY\"] }",
        "proxy = { url = \"http://user:CANARY@p.org\" }",
        "proxy = { url = \"user:CANARY@p.org\" }",
        "proxy = { url = \"http://p.org\", resolves = \"CANARY\" }",
        "oauth2 = \"CANARY\"",
        "oauth2 = { secret = \"CANARY\" }",
        "oauth2 = { client_secret = [\"CANARY\"] }",
        "oauth2 = { token_url = \"CANARY\" }",
        "oauth2 = { token_url = \"https://user:CANARY@h.org/\" }",
        "oauth2 = { authentication = \"CANARY\" }",
        "oauth2 = { parameters = { client_secret = \"CANARY\" } }",
        "login = { secret_form = \"CANARY\" }",
        "login = { secret_form = { password = [\"CANARY\"] } }",
        "login = { password = \"CANARY\" }",
        "login = { form = { password = [\"CANARY\"] } }",
        "signing = { secrets = [\"CANARY] }",
        "signing = { secrets = [CANARY] }",
        "signing = { secrets = [\"CANARY\\q\"] }",
        "signing = { secrets = [] } CANARY",
    ] {
        let text = block(member);
        let printed = problems(&text, &[], Vec::new()).join("\n");
        for told in [to_run(&text).expect_err(&text), printed] {
            assert!(!told.contains("CANARY"), "{member}: {told}");
        }
    }
}
