//! What a packet is for: protocol, ports, ICMP type; and how rules say it.

use std::fmt;

/// A protocol with what rules may ask of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// TCP or another protocol with ports.
    Ports {
        /// Which.
        proto: Ported,
        /// Source port.
        from: u16,
        /// Destination port.
        to: u16,
    },
    /// ICMP of the packet's family, by type and code.
    Icmp {
        /// Type number.
        kind: u8,
        /// Code number.
        code: u8,
    },
    /// Any other, by its number.
    Other(u8),
}

/// Protocols with ports (`$PROTOCOLS_WITH_PORTS` of `PVE::Firewall`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ported {
    /// 6.
    Tcp,
    /// 17.
    Udp,
    /// 33.
    Dccp,
    /// 132.
    Sctp,
    /// 136.
    UdpLite,
}

impl Ported {
    /// From its name or number.
    pub fn parse(text: &str) -> Option<Ported> {
        match text {
            "tcp" | "6" => Some(Ported::Tcp),
            "udp" | "17" => Some(Ported::Udp),
            "dccp" | "33" => Some(Ported::Dccp),
            "sctp" | "132" => Some(Ported::Sctp),
            "udplite" | "136" => Some(Ported::UdpLite),
            _ => None,
        }
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Ported::Tcp => "tcp",
            Ported::Udp => "udp",
            Ported::Dccp => "dccp",
            Ported::Sctp => "sctp",
            Ported::UdpLite => "udplite",
        }
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Traffic::Ports { proto, to, .. } => write!(f, "{}/{to}", proto.as_str()),
            Traffic::Icmp { kind, .. } => write!(f, "icmp type {kind}"),
            Traffic::Other(number) => write!(f, "protocol {number}"),
        }
    }
}

/// Names of ports that rules may use: the few of `/etc/services` that people write. Others are not decided.
const PORTS: [(&str, u16); 34] = [
    ("domain", 53),
    ("ftp", 21),
    ("git", 9418),
    ("http", 80),
    ("http-alt", 8080),
    ("https", 443),
    ("imap2", 143),
    ("imaps", 993),
    ("ipp", 631),
    ("iscsi-target", 3260),
    ("kerberos", 88),
    ("ldap", 389),
    ("ldaps", 636),
    ("microsoft-ds", 445),
    ("ms-sql-s", 1433),
    ("ms-wbt-server", 3389),
    ("mysql", 3306),
    ("netbios-ssn", 139),
    ("nfs", 2049),
    ("ntp", 123),
    ("pop3", 110),
    ("pop3s", 995),
    ("postgresql", 5432),
    ("redis", 6379),
    ("rsync", 873),
    ("smtp", 25),
    ("snmp", 161),
    ("ssh", 22),
    ("submission", 587),
    ("submissions", 465),
    ("sunrpc", 111),
    ("syslog", 514),
    ("telnet", 23),
    ("tftp", 69),
];

/// Whether a port is among those of a rule: numbers, names and ranges `a:b`, with commas between.
///
/// # Errors
/// A name that is not known here.
pub fn port_matches(spec: &str, port: u16) -> Result<bool, String> {
    let mut found = false;
    for part in spec.split(',').filter(|p| !p.is_empty()) {
        let (first, last) = part.split_once(':').unwrap_or((part, part));
        found |= number(first)? <= port && port <= number(last)?;
    }
    Ok(found)
}

fn number(text: &str) -> Result<u16, String> {
    let named = || PORTS.iter().find(|(name, _)| *name == text).map(|(_, port)| *port);
    text.parse().ok().or_else(named).ok_or_else(|| format!("the port `{text}` is not known here"))
}

/// ICMP types by their names in iptables: name, type, code (all codes where there is none).
const ICMP4: [(&str, u8, Option<u8>); 24] = [
    ("echo-reply", 0, None),
    ("destination-unreachable", 3, None),
    ("network-unreachable", 3, Some(0)),
    ("host-unreachable", 3, Some(1)),
    ("protocol-unreachable", 3, Some(2)),
    ("port-unreachable", 3, Some(3)),
    ("fragmentation-needed", 3, Some(4)),
    ("source-route-failed", 3, Some(5)),
    ("network-unknown", 3, Some(6)),
    ("host-unknown", 3, Some(7)),
    ("network-prohibited", 3, Some(9)),
    ("host-prohibited", 3, Some(10)),
    ("communication-prohibited", 3, Some(13)),
    ("source-quench", 4, None),
    ("redirect", 5, None),
    ("echo-request", 8, None),
    ("router-advertisement", 9, None),
    ("router-solicitation", 10, None),
    ("time-exceeded", 11, None),
    ("parameter-problem", 12, None),
    ("timestamp-request", 13, None),
    ("timestamp-reply", 14, None),
    ("address-mask-request", 17, None),
    ("address-mask-reply", 18, None),
];

/// The same of ICMPv6.
const ICMP6: [(&str, u8, Option<u8>); 16] = [
    ("destination-unreachable", 1, None),
    ("no-route", 1, Some(0)),
    ("communication-prohibited", 1, Some(1)),
    ("address-unreachable", 1, Some(3)),
    ("port-unreachable", 1, Some(4)),
    ("packet-too-big", 2, None),
    ("time-exceeded", 3, None),
    ("parameter-problem", 4, None),
    ("echo-request", 128, None),
    ("echo-reply", 129, None),
    ("router-solicitation", 133, None),
    ("router-advertisement", 134, None),
    ("neighbor-solicitation", 135, None),
    ("neighbour-solicitation", 135, None),
    ("neighbor-advertisement", 136, None),
    ("neighbour-advertisement", 136, None),
];

/// Whether an ICMP message is of the type that a rule says.
///
/// # Errors
/// A name that is not known here.
pub fn icmp_matches(spec: &str, v6: bool, kind: u8, code: u8) -> Result<bool, String> {
    if spec.is_empty() || spec == "any" {
        return Ok(true);
    }
    if let Ok(number) = spec.parse::<u8>() {
        return Ok(number == kind);
    }
    let table: &[(&str, u8, Option<u8>)] = if v6 { &ICMP6 } else { &ICMP4 };
    let (_, of, with) = table
        .iter()
        .find(|(name, ..)| *name == spec)
        .ok_or_else(|| format!("the ICMP type `{spec}` is not known here"))?;
    Ok(*of == kind && with.is_none_or(|c| c == code))
}

/// The number of a protocol by what rules call it.
///
/// # Errors
/// A name that is not known here.
pub fn protocol(text: &str) -> Result<u8, String> {
    let named = match text {
        "icmp" => 1,
        "igmp" => 2,
        "ipv4" | "ipencap" => 4,
        "tcp" => 6,
        "udp" => 17,
        "dccp" => 33,
        "ipv6" => 41,
        "gre" => 47,
        "esp" => 50,
        "ah" => 51,
        "icmpv6" | "ipv6-icmp" => 58,
        "ospf" => 89,
        "vrrp" => 112,
        "sctp" => 132,
        "udplite" => 136,
        other => return other.parse().map_err(|_| format!("the protocol `{other}` is not known here")),
    };
    Ok(named)
}

impl Traffic {
    /// Its protocol number in a family.
    pub fn number(&self, v6: bool) -> u8 {
        match self {
            Traffic::Ports { proto: Ported::Tcp, .. } => 6,
            Traffic::Ports { proto: Ported::Udp, .. } => 17,
            Traffic::Ports { proto: Ported::Dccp, .. } => 33,
            Traffic::Ports { proto: Ported::Sctp, .. } => 132,
            Traffic::Ports { proto: Ported::UdpLite, .. } => 136,
            Traffic::Icmp { .. } => {
                if v6 {
                    58
                } else {
                    1
                }
            }
            Traffic::Other(number) => *number,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_types() {
        assert_eq!(port_matches("80,443,8000:8010", 8005), Ok(true));
        assert_eq!(port_matches("ssh", 22), Ok(true));
        assert_eq!(port_matches("80", 81), Ok(false));
        assert!(port_matches("quux", 81).is_err());
        assert_eq!(icmp_matches("echo-request", false, 8, 0), Ok(true));
        assert_eq!(icmp_matches("echo-request", true, 128, 0), Ok(true));
        assert_eq!(icmp_matches("fragmentation-needed", false, 3, 3), Ok(false));
        assert_eq!(icmp_matches("8", false, 8, 0), Ok(true));
        assert_eq!(protocol("ospf"), Ok(89));
        assert_eq!(protocol("47"), Ok(47));
    }
}
