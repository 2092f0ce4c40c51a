//! `tidegate unit`: the units of systemd, with the paths of this machine.

use std::path::{Path, PathBuf, absolute};

use clap::Args;

use crate::cli::exit::Failure;
use crate::cli::print;

const SERVICE: &str = include_str!("../../systemd/tidegate.service");
const SOCKET: &str = include_str!("../../systemd/tidegate.socket");
/// The paths in them.
const PROGRAM: &str = "/usr/bin/tidegate";
const CONFIG: &str = "/etc/tidegate/tidegate.toml";
const ADDRESS: &str = "127.0.0.1:7080";

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
    print(&service(&program, &absolute(&arguments.config)?)?)
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
    fn the_units_are_those_of_the_defaults() {
        assert!(SOCKET.contains(&format!("ListenStream={ADDRESS}\n")));
        assert!(crate::config::DEFAULTS.contains(&format!("address = \"{ADDRESS}\"")));
        assert_eq!(SERVICE.matches(PROGRAM).count(), 1);
        assert_eq!(SERVICE.matches(CONFIG).count(), 1);
    }
}
