//! The members `oauth2` and `login` of an `[[endpoint]]` block: how a token is asked for that its calls carry, and where the
//! secrets for that stand.
//!
//! Must not know: when tokens are asked for, how they are sent.

use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};

use super::refused_header;
use crate::config::blocks::BlockReader;
use crate::config::secrets::{self, SecretPlaces};
use crate::delivery::TokenSource;
use crate::event::CanonicalUrl;
use crate::policy::Given;

/// All members of `oauth2`.
const OAUTH2: [&str; 8] = [
    "token_url",
    "client_id",
    "client_secret",
    "scope",
    "audience",
    "parameters",
    "authentication",
    "lifetime_seconds",
];
/// All members of `login`.
const LOGIN: [&str; 7] = ["url", "form", "secret_form", "token", "header", "scheme", "lifetime_seconds"];
/// Members of a form whose values are fixed here.
const FIXED: [&str; 5] = ["grant_type", "client_id", "client_secret", "scope", "audience"];
/// Most members of a form, and the longest of their texts in bytes.
const MAX_MEMBERS: usize = 16;
const MAX_TEXT_BYTES: usize = 4096;
/// How long a token is taken to be good for where nobody says it.
const LIFETIME_SECONDS: u64 = 3_600;
const LONGEST_LIFETIME_SECONDS: u64 = 30 * 24 * 60 * 60;

type Form = Vec<(String, String)>;

/// Without `secrets` only the form is checked, and nothing is found.
pub(super) fn credentials(
    block: &mut BlockReader<'_>,
    secrets: Option<&SecretPlaces>,
    headers: &HeaderMap,
) -> Option<TokenSource> {
    let oauth2 = within(block, "oauth2", "oauth2 = { token_url = \"https://…\", … }", |table| {
        table.refuse_unknown(&OAUTH2);
        oauth2(table, secrets)
    });
    let login = within(block, "login", "login = { url = \"https://…\", … }", |table| {
        table.refuse_unknown(&LOGIN);
        login(table, secrets)
    });
    if block.members.get("oauth2").is_some() && block.members.get("login").is_some() {
        block.note(&["login"], "is one way to a token too many; leave it out, or oauth2");
        return None;
    }
    let source = oauth2.or(login)?;
    if headers.contains_key(&source.header) {
        let rule =
            format!("sets {}, which headers or secret_headers set, too; leave it out there", source.header);
        block.note(&[if block.members.get("login").is_some() { "login" } else { "oauth2" }], rule);
        return None;
    }
    // Without the secrets themselves it could ask for nothing.
    secrets.is_some().then_some(source)
}

/// Reads one of the two tables, if it is there.
fn within(
    block: &mut BlockReader<'_>,
    member: &str,
    example: &str,
    read: impl FnOnce(&mut BlockReader<'_>) -> Option<TokenSource>,
) -> Option<TokenSource> {
    let given = match block.members.get(member)? {
        Given::Table(members) => members,
        _ => {
            block.note(&[member], format!("must be a table, as {example}"));
            return None;
        }
    };
    let mut table = BlockReader::new(given);
    let source = read(&mut table);
    let faults = table.faults;
    let is_right = faults.is_empty();
    block.note_within(member, faults);
    source.filter(|_| is_right)
}

/// The client credentials of OAuth 2.0 (RFC 6749 4.4).
fn oauth2(table: &mut BlockReader<'_>, secrets: Option<&SecretPlaces>) -> Option<TokenSource> {
    let url = address(table, "token_url");
    let client = required(table, "client_id", "the name of the client at the token server");
    let place = table.members.get("client_secret");
    let secret = secret(table, &["client_secret"], place, secrets);
    let in_body = match table.members.get("authentication") {
        None => false,
        Some(Given::Text(way)) if way == "basic" => false,
        Some(Given::Text(way)) if way == "body" => true,
        Some(_) => {
            table.note(&["authentication"], "must be \"basic\" or \"body\"");
            false
        }
    };
    let mut form: Form = vec![("grant_type".to_owned(), "client_credentials".to_owned())];
    for member in ["scope", "audience"] {
        if table.members.get(member).is_some() {
            form.extend(
                required(table, member, "as the token server wants it").map(|text| (member.to_owned(), text)),
            );
        }
    }
    let parameters = texts(table, "parameters", "parameters = { resource = \"https://api.example.org\" }");
    for (name, _) in parameters.iter().filter(|(name, _)| FIXED.contains(&name.as_str())) {
        table.note(&["parameters", name], "has a place of its own; leave it out");
    }
    form.extend(parameters);
    let lifetime = lifetime(table);
    let (url, client, secret) = (url?, client?, secret?);
    let basic = if in_body {
        form.extend([("client_id".to_owned(), client), ("client_secret".to_owned(), secret)]);
        None
    } else {
        Some((client, secret))
    };
    let (member, scheme) = ("access_token".to_owned(), "Bearer".to_owned());
    Some(TokenSource { url, form, basic, member, header: AUTHORIZATION, scheme, lifetime })
}

/// A form whose JSON answer names the token.
fn login(table: &mut BlockReader<'_>, secrets: Option<&SecretPlaces>) -> Option<TokenSource> {
    let url = address(table, "url");
    let mut form = texts(table, "form", "form = { auth_type = \"password\" }");
    let listed = table.table("secret_form", "secret_form = { password = \"/etc/tidegate/crm.password\" }");
    let mut is_whole = true;
    for (name, place) in listed {
        if form.iter().any(|(known, _)| known == name) {
            table.note(&["secret_form", name], "is given twice; leave it out of form, or out of secret_form");
        }
        match secret(table, &["secret_form", name], Some(place), secrets) {
            Some(secret) => form.push((name.clone(), secret)),
            None => is_whole = false,
        }
    }
    if form.len() > MAX_MEMBERS {
        table.note(&["form"], format!("must have at most {MAX_MEMBERS} members, with those of secret_form"));
    }
    let token = required(table, "token", "the member of the JSON answer that is the token, as \"authToken\"");
    let header = match table.members.get("header") {
        None => Some(AUTHORIZATION),
        Some(_) => header(table),
    };
    let scheme = match table.members.get("scheme") {
        None => Some(String::new()),
        Some(_) => required(table, "scheme", "what stands before the token, as \"Bearer\""),
    };
    let lifetime = lifetime(table);
    let (url, member, header, scheme) = (url?, token?, header?, scheme?);
    is_whole.then_some(TokenSource { url, form, basic: None, member, header, scheme, lifetime })
}

fn header(table: &mut BlockReader<'_>) -> Option<HeaderName> {
    let text = required(table, "header", "the header that carries the token, as \"authorization\"")?;
    let Ok(name) = HeaderName::from_bytes(text.as_bytes()) else {
        table.note(&["header"], "is not a header name");
        return None;
    };
    if let Some(rule) = refused_header(&name) {
        table.note(&["header"], rule);
        return None;
    }
    Some(name)
}

/// Without the text in the problem: it may hold a key.
fn address(table: &mut BlockReader<'_>, member: &str) -> Option<CanonicalUrl> {
    let text =
        required(table, member, "where the token is asked for, as \"https://login.example.org/token\"")?;
    match CanonicalUrl::handed_in(&text) {
        Ok(url) => Some(url),
        Err(_) => {
            table.note(&[member], "must be an http or https address without a user name and a fragment");
            None
        }
    }
}

fn lifetime(table: &mut BlockReader<'_>) -> Duration {
    let seconds = table.number("lifetime_seconds", 1..=LONGEST_LIFETIME_SECONDS);
    Duration::from_secs(seconds.unwrap_or(LIFETIME_SECONDS))
}

fn required(table: &mut BlockReader<'_>, member: &str, rule: &str) -> Option<String> {
    let text = table.required_text(member, rule)?;
    if text.is_empty() || text.len() > MAX_TEXT_BYTES || text.contains(char::is_control) {
        table.note(
            &[member],
            format!("must be text of 1 to {MAX_TEXT_BYTES} bytes without control characters"),
        );
        return None;
    }
    Some(text.to_owned())
}

/// The texts of a table that may be missing.
fn texts(table: &mut BlockReader<'_>, member: &str, example: &str) -> Form {
    let listed = table.table(member, example);
    if listed.len() > MAX_MEMBERS {
        table.note(&[member], format!("must have at most {MAX_MEMBERS} members"));
        return Form::new();
    }
    let mut found = Form::new();
    for (name, given) in listed {
        match given {
            Given::Text(text) if text.len() <= MAX_TEXT_BYTES => found.push((name.clone(), text.clone())),
            _ => table.note(&[member, name], format!("must be text of at most {MAX_TEXT_BYTES} bytes")),
        }
    }
    found
}

/// The one line of a file or credential; without `secrets` empty where its place has the form of one.
fn secret(
    table: &mut BlockReader<'_>,
    path: &[&str],
    place: Option<&Given>,
    secrets: Option<&SecretPlaces>,
) -> Option<String> {
    let place = match place {
        Some(Given::Text(place)) => place,
        None => {
            table.note(path, "is missing: a file or a credential that holds the secret in one line");
            return None;
        }
        Some(_) => {
            table.note(path, "must name a file or a credential that holds the secret in one line");
            return None;
        }
    };
    let one_line = |secrets: &SecretPlaces| match secrets.lines(place)?.as_slice() {
        [line] => Ok(Some(line.clone())),
        _ => Err("must hold one line, which is the whole secret".to_owned()),
    };
    let form = || secrets::check_form(place).map(|()| Some(String::new()));
    secrets.map_or_else(form, one_line).unwrap_or_else(|problem| {
        table.note(path, format!("{}: {problem}", secrets::shown(place)));
        None
    })
}
