//! Shortages of tidegate's own: the system gave no socket for a call. They say nothing about the endpoint.
//!
//! Must not know: what the socket was for, what is done meanwhile.

use std::fmt;
use std::io;

use rustix::io::Errno;

/// What the system was short of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shortage {
    /// File descriptors of the process or of the system (EMFILE, ENFILE).
    Descriptors,
    /// Memory or buffers of the kernel (ENOMEM, ENOBUFS).
    Memory,
    /// Local ports towards the address, or a local address that could reach it (EADDRNOTAVAIL).
    Ports,
}

impl Shortage {
    /// What the system was short of when it failed with `error`, if that is why.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<Self> {
        match Errno::from_io_error(error)? {
            Errno::MFILE | Errno::NFILE => Some(Self::Descriptors),
            Errno::NOMEM | Errno::NOBUFS => Some(Self::Memory),
            // What `connect` reports when all local ports towards the address are in use.
            Errno::ADDRNOTAVAIL => Some(Self::Ports),
            _ => None,
        }
    }

    /// The word of metrics and reasons.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Descriptors => "descriptors",
            Self::Memory => "memory",
            Self::Ports => "ports",
        }
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Descriptors => "no file descriptor is left (see `ulimit -n`)",
            Self::Memory => "the kernel has no memory for a socket",
            Self::Ports => "no local port is left for that address",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_of_ours_is_told_apart() {
        for (errno, wanted) in [
            (Errno::MFILE, Some(Shortage::Descriptors)),
            (Errno::NFILE, Some(Shortage::Descriptors)),
            (Errno::NOMEM, Some(Shortage::Memory)),
            (Errno::NOBUFS, Some(Shortage::Memory)),
            (Errno::ADDRNOTAVAIL, Some(Shortage::Ports)),
            (Errno::CONNREFUSED, None),
            (Errno::NETUNREACH, None),
            (Errno::ADDRINUSE, None),
            (Errno::ACCESS, None),
        ] {
            assert_eq!(Shortage::of(&io::Error::from(errno)), wanted, "{errno}");
        }
        assert_eq!(Shortage::of(&io::Error::other("no number")), None);
    }
}
