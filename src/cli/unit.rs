//! `tidegate unit`: the units of systemd, with the paths of this machine.

use std::path::{Path, PathBuf, absolute};

use clap::Args;

use crate::cli::exit::Failure;
use crate::cli::{note, print};

const SERVICE: &str = include_str!("../../systemd/tidegate.service");
const SOCKET: &str = include_str!("../../systemd/tidegate.socket");
/// The paths and the address in the units, which those of this machine replace.
const PROGRAM: &str = "/usr/bin/tidegate";
const CONFIG: &str = "/etc/tidegate/tidegate.toml";
const ADDRESS: &str = "127.0.0.1:7080";
/// Places that a setting of the service unit hides from the service.
const HIDDEN: [(&str, &[&str]); 2] =
    [("ProtectHome=yes", &["/home", "/root", "/run/user"]), ("PrivateTmp=yes", &["/tmp", "/var/tmp"])];

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Print the socket unit instead: with it no request is refused while the daemon is started anew
    #[arg(long)]
    socket: bool,
    /// Configuration file of the daemon
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
    /// Address of the socket unit; it takes the place of listen.address
    #[arg(long, value_name = "ADDRESS:PORT", default_value = ADDRESS)]
    listen: std::net::SocketAddr,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.socket {
        return print(&SOCKET.replace(ADDRESS, &arguments.listen.to_string()));
    }
    let program = std::env::current_exe()?;
    let config = absolute(&arguments.config)?;
    for warning in warnings(&program, &config) {
        note(&format!("tidegate: warning: {warning}"));
    }
    print(&service(&program, &config)?)
}

/// Why a service with these paths would not start.
fn warnings(program: &Path, config: &Path) -> Vec<String> {
    let program_warning = hidden(program).map(|setting| {
        format!(
            "the service would not start: the unit hides {} from it ({setting}); copy the program to /usr/local/bin and \
             print the unit with that one",
            program.display()
        )
    });
    // A link leads where it leads, and the service has to go all the way.
    let target = config.canonicalize().ok();
    let setting = hidden(config).or_else(|| target.as_deref().and_then(hidden));
    let config_warning = setting.map(|setting| {
        format!(
            "the service would not start: the unit hides {} from it ({setting}); move the file to {CONFIG} and name it \
             with --config",
            config.display()
        )
    });
    program_warning.into_iter().chain(config_warning).collect()
}

/// The setting of the unit that hides a path from the service, if one does.
fn hidden(path: &Path) -> Option<&'static str> {
    let hides = |places: &[&str]| places.iter().any(|place| path.starts_with(place));
    HIDDEN.iter().find(|(_, places)| hides(places)).map(|(setting, _)| *setting)
}

fn service(program: &Path, config: &Path) -> Result<String, Failure> {
    Ok(SERVICE.replace(PROGRAM, &quoted(program)?).replace(CONFIG, &quoted(config)?))
}

/// As systemd.service(5) reads a path in a command line.
fn quoted(path: &Path) -> Result<String, Failure> {
    let text = path.to_str().filter(|text| !text.contains(char::is_control));
    let text = text.ok_or_else(|| Failure::new(format!("{} cannot stand in a unit file", path.display())))?;
    let text = text.replace('%', "%%").replace('$', "$$");
    let is_plain = !text.contains([' ', '"', '\'', '\\', ';']);
    Ok(if is_plain { text } else { format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_filled_in_so_that_systemd_reads_them_back() {
        let unit = service(Path::new("/opt/a b/tidegate"), Path::new("/srv/50%.toml")).expect("paths");
        assert!(unit.contains("\nExecStart=\"/opt/a b/tidegate\" serve --config /srv/50%%.toml\n"), "{unit}");
        assert!(!unit.contains(PROGRAM) && !unit.contains(CONFIG));
        assert!(service(Path::new("/opt/a\nb"), Path::new("/x")).is_err());
    }

    #[test]
    fn what_the_unit_hides_from_the_service_is_named_with_the_way_out() {
        let told = |program: &str, config: &str| warnings(Path::new(program), Path::new(config));
        for (program, setting) in [
            ("/home/a/bin/tidegate", "ProtectHome=yes"),
            ("/root/tidegate", "ProtectHome=yes"),
            ("/run/user/1000/tidegate", "ProtectHome=yes"),
            ("/tmp/tidegate", "PrivateTmp=yes"),
            ("/var/tmp/x/tidegate", "PrivateTmp=yes"),
        ] {
            let [warning] = told(program, CONFIG).try_into().expect("one warning");
            assert!(warning.contains(&format!("hides {program} from it ({setting})")), "{warning}");
            assert!(warning.contains("/usr/local/bin"), "the way out: {warning}");
        }
        let [program, config] = told("/tmp/tidegate", "/root/t.toml").try_into().expect("two warnings");
        assert!(program.contains("/tmp/tidegate") && config.contains("/root/t.toml"), "{program} {config}");
        for seen in [PROGRAM, "/usr/local/bin/tidegate", "/opt/home/tidegate", "/homes/tidegate", "/tmpfs/x"]
        {
            assert_eq!(told(seen, CONFIG), [""; 0], "{seen}");
        }
        let dir = tempfile::tempdir_in("/tmp").expect("a directory");
        let link = Path::new("/opt").join("tidegate-no-such-file");
        assert!(warnings(Path::new(PROGRAM), &link).is_empty(), "a file that is not there yet");
        assert_eq!(warnings(Path::new(PROGRAM), dir.path()).len(), 1);
        for (setting, _) in HIDDEN {
            assert!(SERVICE.contains(&format!("\n{setting}\n")), "{setting} is none of the unit's");
        }
    }

    #[test]
    fn the_units_are_those_of_the_defaults() {
        assert!(SOCKET.contains(&format!("ListenStream={ADDRESS}\n")));
        assert!(crate::config::DEFAULTS.contains(&format!("address = \"{ADDRESS}\"")));
        assert_eq!(SERVICE.matches(PROGRAM).count(), 1);
        assert_eq!(SERVICE.matches(CONFIG).count(), 1);
    }
}
