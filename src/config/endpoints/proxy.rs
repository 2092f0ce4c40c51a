//! The member `proxy` of an `[[endpoint]]` block.
//!
//! Must not know: how a proxy is spoken to.

use std::sync::Arc;

use crate::config::blocks::BlockReader;
use crate::config::secrets::{self, SecretPlaces};
use crate::delivery::ProxyOptions;
use crate::policy::Given;

/// All members of the table.
const MEMBERS: [&str; 3] = ["url", "credentials", "resolves"];

/// Without `secrets` only the form is checked, and no credentials are found.
pub(super) fn proxy(
    block: &mut BlockReader<'_>,
    secrets: Option<&SecretPlaces>,
) -> Option<Arc<ProxyOptions>> {
    let example = "must be a table, as proxy = { url = \"http://proxy.example.org:3128\" }";
    let given = match block.members.get("proxy")? {
        Given::Table(members) => members,
        _ => {
            block.note(&["proxy"], example);
            return None;
        }
    };
    let mut table = BlockReader::new(given);
    table.refuse_unknown(&MEMBERS);
    let url = table.required_text("url", "the proxy, as http://proxy.example.org:3128");
    let credentials = match table.members.get("credentials") {
        None => None,
        Some(Given::Text(place)) => {
            let form = || secrets::check_form(place).map(|()| None);
            match secrets.map_or_else(form, |secrets| read(secrets, place).map(Some)) {
                Ok(credentials) => credentials,
                Err(problem) => {
                    table.note(&["credentials"], format!("{}: {problem}", secrets::shown(place)));
                    None
                }
            }
        }
        Some(_) => {
            table.note(&["credentials"], "must name a file or a credential that holds user:password");
            None
        }
    };
    let resolves = match table.members.get("resolves") {
        None => false,
        Some(Given::Flag(resolves)) => *resolves,
        Some(_) => {
            table.note(&["resolves"], "must be true or false");
            false
        }
    };
    let mut made = None;
    if let Some(url) = url {
        match ProxyOptions::new(url, credentials.as_deref(), resolves) {
            Ok(proxy) => made = Some(Arc::new(proxy)),
            Err(problem) => table.note(&["url"], problem),
        }
    }
    let faults = table.faults;
    block.note_within("proxy", faults);
    made
}

fn read(secrets: &SecretPlaces, place: &str) -> Result<String, String> {
    match secrets.lines(place)?.as_slice() {
        [line] if line.contains(':') => Ok(line.clone()),
        _ => Err("must hold one line, user:password".to_owned()),
    }
}
