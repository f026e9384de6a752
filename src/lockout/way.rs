//! From where to where pvectl talks to PVE.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// One way to the API: found by the edge, which alone knows the machine that it runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    /// The address of ours that it begins at.
    pub from: IpAddr,
    /// The address and port of the endpoint.
    pub to: SocketAddr,
}

/// `10.0.20.50 to 192.168.1.11:8006`.
impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.from, self.to)
    }
}
