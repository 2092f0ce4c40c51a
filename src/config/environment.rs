//! Which variables of the environment are settings. Platforms for containers put variables of their own into every
//! container of a namespace, named after their services: a service named `tidegate` gives `TIDEGATE_PORT` and more.
//!
//! Must not know: values of settings, files.

use crate::config::layers::{POLICY, variable_of};

const PREFIX: &str = "TIDEGATE_";
/// The variable that names the file, like the flag `--config`.
pub(super) const FILE_VARIABLE: &str = "TIDEGATE_CONFIG";
/// Protocols of ports that a platform may publish.
const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

/// What a variable of the environment is to tidegate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variable<'k> {
    /// It gives a value to this setting.
    Setting(&'k str),
    /// None of tidegate's business, or used elsewhere: passed over.
    Other,
    /// It names a section, and no setting of that section.
    Mistaken,
    /// It has the prefix and nothing else that is known.
    Unknown,
}

impl<'k> Variable<'k> {
    /// `known` are all settings as `section.key`. An empty variable is one that is not set.
    pub(super) fn of(name: &str, value: &str, known: &'k [String]) -> Self {
        let Some(rest) = name.strip_prefix(PREFIX).filter(|_| !value.is_empty() && name != FILE_VARIABLE)
        else {
            return Self::Other;
        };
        if let Some(setting) = known.iter().find(|setting| variable_of(setting) == name) {
            return Self::Setting(setting);
        }
        // After the settings: a variable that is exactly a setting's counts, whatever its value looks like.
        if is_of_platform(name, value) {
            return Self::Other;
        }
        // No section has an underscore in its name.
        let section = rest.split('_').next().unwrap_or(rest).to_ascii_lowercase();
        let is_section = |setting: &String| setting.split('.').next() == Some(section.as_str());
        if section == POLICY || known.iter().any(is_section) { Self::Mistaken } else { Self::Unknown }
    }
}

/// Whether a container platform sets a variable of this name and value by itself: the service variables of Kubernetes
/// and the links of Docker. No setting has such a name.
fn is_of_platform(name: &str, value: &str) -> bool {
    let is_address = || {
        let scheme = value.split_once("://").map(|(scheme, _)| scheme.to_ascii_uppercase());
        scheme.is_some_and(|scheme| PROTOCOLS.contains(&scheme.as_str()))
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && is_address())
        || name.match_indices("_PORT_").any(|(at, mark)| is_port(name.get(at + mark.len()..).unwrap_or("")))
}

/// `7080_TCP`, alone or with `_PROTO`, `_PORT` or `_ADDR`.
fn is_port(text: &str) -> bool {
    let mut words = text.split('_');
    let number = words.next().is_some_and(|word| word.parse::<u16>().is_ok());
    let protocol = words.next().is_some_and(|word| PROTOCOLS.contains(&word));
    let part = words.next().is_none_or(|word| matches!(word, "PROTO" | "PORT" | "ADDR"));
    number && protocol && part && words.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Vec<String> {
        ["listen.address", "store.data_dir", "queue.ttl_seconds"].map(str::to_owned).to_vec()
    }

    #[test]
    fn what_platforms_set_for_a_service_is_passed_over_whatever_its_name() {
        for service in ["TIDEGATE", "TIDEGATE_API", "TIDEGATE_LISTEN", "TIDEGATE_STORE_2"] {
            for (end, value) in [
                ("SERVICE_HOST", "10.0.0.11"),
                ("SERVICE_PORT", "7080"),
                ("SERVICE_PORT_HTTP", "7080"),
                ("SERVICE_PORT_WEB_UI", "7081"),
                ("PORT", "tcp://10.0.0.11:7080"),
                ("PORT", "udp://10.0.0.11:7080"),
                ("PORT_7080_TCP", "tcp://10.0.0.11:7080"),
                ("PORT_7080_TCP_PROTO", "tcp"),
                ("PORT_7080_TCP_PORT", "7080"),
                ("PORT_7080_TCP_ADDR", "10.0.0.11"),
                ("PORT_53_UDP_ADDR", "10.0.0.11"),
                ("PORT_132_SCTP", "sctp://10.0.0.11:132"),
            ] {
                let name = format!("{service}_{end}");
                assert_eq!(Variable::of(&name, value, &known()), Variable::Other, "{name}={value}");
            }
        }
    }

    /// The control: what only looks a little like one of them is judged.
    #[test]
    fn what_a_person_wrote_is_not_taken_for_a_platforms() {
        let known = known();
        for (name, value, is) in [
            ("TIDEGATE_LISTEN_ADDRESS", "127.0.0.1:1", Variable::Setting("listen.address")),
            ("TIDEGATE_LISTEN_PORT", "7080", Variable::Mistaken),
            ("TIDEGATE_LISTEN_PORT_X_TCP", "7080", Variable::Mistaken),
            ("TIDEGATE_LISTEN_PORT_7080_TLS", "x", Variable::Mistaken),
            ("TIDEGATE_LISTEN_PORT_70800_TCP", "x", Variable::Mistaken),
            ("TIDEGATE_STORE_DATA_DIRR", "/x", Variable::Mistaken),
            ("TIDEGATE_QUEUE", "x", Variable::Mistaken),
            ("TIDEGATE_POLICY", "[]", Variable::Mistaken),
            ("TIDEGATE_PORT", "7080", Variable::Unknown),
            ("TIDEGATE_STOER_DATA_DIR", "/x", Variable::Unknown),
            ("TIDEGATE_", "x", Variable::Unknown),
            ("TIDEGATE_CONFIG", "/x", Variable::Other),
            ("HOME", "/", Variable::Other),
        ] {
            assert_eq!(Variable::of(name, value, &known), is, "{name}={value}");
            assert_eq!(Variable::of(name, "", &known), Variable::Other, "{name} empty");
        }
    }
}
