//! The member `tls` of an `[[endpoint]]` block: whose certificates are trusted, what is shown, and from which version on.
//!
//! Must not know: how TLS is spoken.

use std::sync::Arc;

use crate::config::blocks::BlockReader;
use crate::config::secrets::{self, SecretPlaces};
use crate::delivery::{TlsFiles, TlsOptions};
use crate::policy::Given;

/// All members of the table.
const MEMBERS: [&str; 4] = ["ca", "certificate", "key", "min_version"];

/// Without `secrets` only the form is checked, and nothing is found.
pub(super) fn tls(block: &mut BlockReader<'_>, secrets: Option<&SecretPlaces>) -> Option<Arc<TlsOptions>> {
    let given = match block.members.get("tls")? {
        Given::Table(members) => members,
        _ => {
            block.note(&["tls"], "must be a table, as tls = { ca = \"/etc/tidegate/ca.pem\" }");
            return None;
        }
    };
    let mut table = BlockReader::new(given);
    table.refuse_unknown(&MEMBERS);
    let mut file = |member: &str| {
        let place = match table.members.get(member)? {
            Given::Text(place) => place,
            _ => {
                table.note(&[member], "must name a file or a credential");
                return None;
            }
        };
        let form = || secrets::check_form(place).map(|()| None);
        secrets.map_or_else(form, |secrets| secrets.bytes(place).map(Some)).unwrap_or_else(|problem| {
            table.note(&[member], format!("{}: {problem}", secrets::shown(place)));
            None
        })
    };
    let (ca, certificate, key) = (file("ca"), file("certificate"), file("key"));
    let only_1_3 = match table.members.get("min_version") {
        None => false,
        Some(Given::Text(version)) if version == "1.2" => false,
        Some(Given::Text(version)) if version == "1.3" => true,
        Some(_) => {
            table.note(&["min_version"], "must be \"1.2\" or \"1.3\"");
            false
        }
    };
    let mut made = None;
    if secrets.is_some() && table.faults.is_empty() {
        match TlsOptions::new(TlsFiles { ca, certificate, key, only_1_3 }) {
            Ok(options) => made = Some(Arc::new(options)),
            Err(problem) => table.note(&[problem.member()], problem.to_string()),
        }
    }
    let faults = table.faults;
    block.note_within("tls", faults);
    made
}
