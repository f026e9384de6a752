//! Macros of rules: names for protocols and ports, as PVE has them (`$pve_fw_macros` of `PVE::Firewall`).

/// The family that a macro is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    V4,
    V6,
    Both,
}

/// Protocol, source ports, destination ports (or ICMP type); an empty text asks nothing.
pub type Part = (&'static str, &'static str, &'static str);

/// The parts of a macro in a family, any of which makes it match; `None` for a macro that is not known here.
pub fn parts(name: &str, v6: bool) -> Option<&'static [Part]> {
    let known = MACROS.iter().filter(|(n, ..)| n.eq_ignore_ascii_case(name));
    let of = |family: Family| family == Family::Both || (family == Family::V6) == v6;
    let mut seen = false;
    for (_, family, parts) in known {
        seen = true;
        if of(*family) {
            return Some(parts);
        }
    }
    seen.then_some(&[])
}

const MACROS: [(&str, Family, &[Part]); 88] = [
    ("Amanda", Family::Both, &[("udp", "", "10080"), ("tcp", "", "10080")]),
    ("Auth", Family::Both, &[("tcp", "", "113")]),
    ("BGP", Family::Both, &[("tcp", "", "179")]),
    ("BitTorrent", Family::Both, &[("tcp", "", "6881:6889"), ("udp", "", "6881")]),
    ("BitTorrent32", Family::Both, &[("tcp", "", "6881:6999"), ("udp", "", "6881")]),
    ("CVS", Family::Both, &[("tcp", "", "2401")]),
    ("Ceph", Family::Both, &[("tcp", "", "6789"), ("tcp", "", "3300"), ("tcp", "", "6800:7300")]),
    ("Citrix", Family::Both, &[("tcp", "", "1494"), ("udp", "", "1604"), ("tcp", "", "2598")]),
    ("DAAP", Family::Both, &[("tcp", "", "3689"), ("udp", "", "3689")]),
    ("DCC", Family::Both, &[("tcp", "", "6277")]),
    ("DHCPfwd", Family::Both, &[("udp", "67:68", "67:68")]),
    ("DHCPv6", Family::V6, &[("udp", "546:547", "546:547")]),
    ("DNS", Family::Both, &[("udp", "", "53"), ("tcp", "", "53")]),
    ("Distcc", Family::Both, &[("tcp", "", "3632")]),
    ("FTP", Family::Both, &[("tcp", "", "21")]),
    ("Finger", Family::Both, &[("tcp", "", "79")]),
    ("GNUnet", Family::Both, &[("tcp", "", "2086"), ("udp", "", "2086"), ("tcp", "", "1080"), ("udp", "", "1080")]),
    ("GRE", Family::Both, &[("47", "", "")]),
    ("Git", Family::Both, &[("tcp", "", "9418")]),
    ("HKP", Family::Both, &[("tcp", "", "11371")]),
    ("HTTP", Family::Both, &[("tcp", "", "80")]),
    ("HTTPS", Family::Both, &[("tcp", "", "443")]),
    ("ICPV2", Family::Both, &[("udp", "", "3130")]),
    ("ICQ", Family::Both, &[("tcp", "", "5190")]),
    ("IMAP", Family::Both, &[("tcp", "", "143")]),
    ("IMAPS", Family::Both, &[("tcp", "", "993")]),
    ("IPIP", Family::Both, &[("94", "", "")]),
    ("IPsec", Family::Both, &[("udp", "500", "500"), ("50", "", "")]),
    ("IPsecah", Family::Both, &[("udp", "500", "500"), ("51", "", "")]),
    ("IPsecnat", Family::Both, &[("udp", "", "500"), ("udp", "", "4500"), ("50", "", "")]),
    ("IRC", Family::Both, &[("tcp", "", "6667")]),
    ("Jetdirect", Family::Both, &[("tcp", "", "9100")]),
    ("L2TP", Family::Both, &[("udp", "", "1701")]),
    ("LDAP", Family::Both, &[("tcp", "", "389")]),
    ("LDAPS", Family::Both, &[("tcp", "", "636")]),
    ("MDNS", Family::Both, &[("udp", "", "5353")]),
    ("MSNP", Family::Both, &[("tcp", "", "1863")]),
    ("MSSQL", Family::Both, &[("tcp", "", "1433")]),
    ("Mail", Family::Both, &[("tcp", "", "25"), ("tcp", "", "465"), ("tcp", "", "587")]),
    ("Munin", Family::Both, &[("tcp", "", "4949")]),
    ("MySQL", Family::Both, &[("tcp", "", "3306")]),
    ("NNTP", Family::Both, &[("tcp", "", "119")]),
    ("NNTPS", Family::Both, &[("tcp", "", "563")]),
    ("NTP", Family::Both, &[("udp", "", "123")]),
    (
        "NeighborDiscovery",
        Family::V6,
        &[
            ("icmpv6", "", "router-solicitation"),
            ("icmpv6", "", "router-advertisement"),
            ("icmpv6", "", "neighbor-solicitation"),
            ("icmpv6", "", "neighbor-advertisement"),
        ],
    ),
    ("OSPF", Family::Both, &[("89", "", "")]),
    ("OpenVPN", Family::Both, &[("udp", "", "1194")]),
    ("PCA", Family::Both, &[("udp", "", "5632"), ("tcp", "", "5631")]),
    ("PMG", Family::Both, &[("tcp", "", "8006")]),
    ("POP3", Family::Both, &[("tcp", "", "110")]),
    ("POP3S", Family::Both, &[("tcp", "", "995")]),
    ("PPtP", Family::Both, &[("47", "", ""), ("tcp", "", "1723")]),
    ("Ping", Family::V4, &[("icmp", "", "echo-request")]),
    ("Ping", Family::V6, &[("icmpv6", "", "echo-request")]),
    ("PostgreSQL", Family::Both, &[("tcp", "", "5432")]),
    ("Printer", Family::Both, &[("tcp", "", "515")]),
    ("RDP", Family::Both, &[("tcp", "", "3389")]),
    ("RIP", Family::Both, &[("udp", "", "520")]),
    ("RNDC", Family::Both, &[("tcp", "", "953")]),
    ("Razor", Family::Both, &[("tcp", "", "2703")]),
    ("Rdate", Family::Both, &[("tcp", "", "37")]),
    ("Rsync", Family::Both, &[("tcp", "", "873")]),
    ("SANE", Family::Both, &[("tcp", "", "6566")]),
    (
        "SMB",
        Family::Both,
        &[("udp", "", "135,445"), ("udp", "", "137:139"), ("udp", "137", "1024:65535"), ("tcp", "", "135,139,445")],
    ),
    ("SMBswat", Family::Both, &[("tcp", "", "901")]),
    ("SMTP", Family::Both, &[("tcp", "", "25")]),
    ("SMTPS", Family::Both, &[("tcp", "", "465")]),
    ("SNMP", Family::Both, &[("udp", "", "161:162"), ("tcp", "", "161")]),
    ("SPAMD", Family::Both, &[("tcp", "", "783")]),
    ("SPICEproxy", Family::Both, &[("tcp", "", "3128")]),
    ("SSH", Family::Both, &[("tcp", "", "22")]),
    ("SVN", Family::Both, &[("tcp", "", "3690")]),
    ("SixXS", Family::Both, &[("tcp", "", "3874"), ("udp", "", "3740"), ("41", "", ""), ("udp", "", "5072,8374")]),
    ("Squid", Family::Both, &[("tcp", "", "3128")]),
    ("Submission", Family::Both, &[("tcp", "", "587")]),
    ("Syslog", Family::Both, &[("udp", "", "514"), ("tcp", "", "514")]),
    ("TFTP", Family::Both, &[("udp", "", "69")]),
    ("Telnet", Family::Both, &[("tcp", "", "23")]),
    ("Telnets", Family::Both, &[("tcp", "", "992")]),
    ("Time", Family::Both, &[("tcp", "", "37")]),
    ("Trcrt", Family::V4, &[("udp", "", "33434:33524"), ("icmp", "", "echo-request")]),
    ("Trcrt", Family::V6, &[("udp", "", "33434:33524"), ("icmpv6", "", "echo-request")]),
    ("VNC", Family::Both, &[("tcp", "", "5900:5999")]),
    ("VNCL", Family::Both, &[("tcp", "", "5500")]),
    ("Web", Family::Both, &[("tcp", "", "80"), ("tcp", "", "443")]),
    ("Webcache", Family::Both, &[("tcp", "", "8080")]),
    ("Webmin", Family::Both, &[("tcp", "", "10000")]),
    ("Whois", Family::Both, &[("tcp", "", "43")]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_case_and_families() {
        assert_eq!(parts("ssh", false), Some(&[("tcp", "", "22")][..]));
        assert_eq!(parts("Ping", true), Some(&[("icmpv6", "", "echo-request")][..]));
        assert_eq!(parts("DHCPv6", false), Some(&[][..]));
        assert_eq!(parts("quux", false), None);
    }
}
