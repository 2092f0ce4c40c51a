//! The member `signing` of an `[[endpoint]]` block: the places of the secrets that its calls are signed with.
//!
//! Must not know: how calls are signed.

use crate::config::blocks::BlockReader;
use crate::config::secrets::{self, SecretPlaces};
use crate::delivery::SigningSecret;
use crate::policy::Given;

/// All members of the table.
const MEMBERS: [&str; 1] = ["secrets"];
/// Most secrets of a block: each makes the header longer by 48 bytes.
const MAX_SECRETS: usize = 5;

/// Without `secrets` only the form is checked, and nothing is found.
pub(super) fn signing(block: &mut BlockReader<'_>, secrets: Option<&SecretPlaces>) -> Box<[SigningSecret]> {
    let rule = "must be a table, as signing = { secrets = [\"/etc/tidegate/crm.secret\"] }";
    let given = match block.members.get("signing") {
        None => return Box::default(),
        Some(Given::Table(members)) => members,
        Some(_) => {
            block.note(&["signing"], rule);
            return Box::default();
        }
    };
    let mut table = BlockReader::new(given);
    table.refuse_unknown(&MEMBERS);
    let places = match table.members.get("secrets") {
        Some(Given::List(places)) if !places.is_empty() => places.as_slice(),
        _ => {
            table
                .note(&["secrets"], "must be a list of at least one file, as [\"/etc/tidegate/crm.secret\"]");
            &[]
        }
    };
    let mut found = Vec::new();
    for (at, place) in places.iter().enumerate() {
        let Given::Text(place) = place else {
            table.note(&["secrets"], format!("must name a file or a credential in its place {}", at + 1));
            continue;
        };
        let form = || secrets::check_form(place).map(|()| Vec::new());
        match secrets.map_or_else(form, |secrets| read(secrets, place)) {
            Ok(secrets) => found.extend(secrets),
            Err(problem) => table.note(&["secrets"], format!("{}: {problem}", secrets::shown(place))),
        }
    }
    if found.len() > MAX_SECRETS || places.len() > MAX_SECRETS {
        table.note(&["secrets"], format!("must hold at most {MAX_SECRETS} secrets in all"));
    }
    let faults = table.faults;
    block.note_within("signing", faults);
    found.into()
}

fn read(secrets: &SecretPlaces, place: &str) -> Result<Vec<SigningSecret>, String> {
    let lines = secrets.lines(place)?;
    let read = |(at, line): (usize, &String)| {
        let way_out = "write the secret as the endpoint has it, one on each line";
        SigningSecret::parse(line).map_err(|error| format!("secret {} {error}; {way_out}", at + 1))
    };
    lines.iter().enumerate().map(read).collect()
}
