//! The two ends of each way to the API: our own address, as the kernel's routes say, and the endpoint's.

use crate::lockout::way::Way;
use crate::pve::http::endpoint::Endpoint;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};

/// The first node of the simulated homelab.
const SIMULATED: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 168, 1, 11)), 8006);

/// What we speak to.
pub enum Ends {
    /// A real cluster.
    Endpoints(Vec<Endpoint>),
    /// The simulator, from a made-up address.
    Simulated(Option<IpAddr>),
}

impl Ends {
    /// Every way that can be told. A name that has no address, or an address without a route, has none: a request to it says
    /// that better.
    pub fn ways(&self) -> Vec<Way> {
        match self {
            Ends::Simulated(from) => from.iter().map(|from| Way { from: *from, to: SIMULATED }).collect(),
            Ends::Endpoints(endpoints) => {
                let all = endpoints.iter().filter_map(|end| (end.host(), end.port()).to_socket_addrs().ok()).flatten();
                let mut ways: Vec<Way> = all.filter_map(way).collect();
                ways.sort();
                ways.dedup();
                ways
            }
        }
    }
}

/// The address that a packet to an endpoint would carry. A UDP socket that is connected has asked for the route and sent nothing.
fn way(to: SocketAddr) -> Option<Way> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(to).ok()?;
    Some(Way { from: socket.local_addr().ok()?.ip(), to })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_which_address_is_ours() {
        let ends = Ends::Endpoints(vec![Endpoint::parse("127.0.0.1:18006").expect("an endpoint")]);
        let to: SocketAddr = "127.0.0.1:18006".parse().expect("an address");
        assert_eq!(ends.ways(), [Way { from: IpAddr::V4(Ipv4Addr::LOCALHOST), to }]);
        assert_eq!(Ends::Simulated(None).ways(), []);
        let from: IpAddr = "10.0.20.50".parse().expect("an address");
        assert_eq!(Ends::Simulated(Some(from)).ways(), [Way { from, to: SIMULATED }]);
    }
}
