//! Addresses as rules and sets say them: one, a network, a range, a list, a set (`+name`) or an alias.

use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

/// One entry of an address set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// An address, a network, or the name of an alias.
    pub cidr: String,
    /// Excludes instead of including.
    pub nomatch: bool,
}

/// Named addresses of one scope: the cluster (`dc/`) or a guest (`guest/`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Sets by name.
    pub sets: BTreeMap<String, Vec<Member>>,
    /// Aliases by lower-cased name.
    pub aliases: BTreeMap<String, String>,
}

/// Why an address of a rule matches nothing: PVE leaves such a rule out altogether.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown(pub String);

/// The scopes that a rule sees, the nearest first.
#[derive(Clone, Copy, Debug)]
pub struct Scopes<'a> {
    /// The guest's own names; security groups see none.
    pub guest: Option<&'a Names>,
    /// The cluster's.
    pub cluster: &'a Names,
}

/// An address or a network as a network. PVE clears the host bits.
pub fn network(text: &str) -> Option<IpNet> {
    let net = IpNet::from_str(text).or_else(|_| IpAddr::from_str(text).map(IpNet::from)).ok()?;
    Some(net.trunc())
}

impl Scopes<'_> {
    /// Whether an address is among those that a rule's `source` or `dest` says. An empty text is any address.
    ///
    /// # Errors
    /// What is named and is not there, or is no address: the rule does not count.
    pub fn matches(&self, spec: &str, address: IpAddr) -> Result<bool, Unknown> {
        if spec.is_empty() {
            return Ok(true);
        }
        if let Some(name) = spec.strip_prefix('+') {
            return self.in_set(name, address);
        }
        if let Some((first, last)) = spec.split_once('-').and_then(|(a, b)| Some((parse(a)?, parse(b)?))) {
            return Ok(same_family(first, address) && first <= address && address <= last);
        }
        if spec.split(',').all(|part| network(part).is_some()) {
            let mut nets = spec.split(',').filter_map(network);
            return Ok(nets.any(|net| net.contains(&address)));
        }
        let net = self.alias(spec)?;
        Ok(net.contains(&address))
    }

    /// The family that a spec fixes its rule to: `Some(true)` for IPv6. Sets have members of both.
    ///
    /// # Errors
    /// As [`Scopes::matches`].
    pub fn family(&self, spec: &str) -> Result<Option<bool>, Unknown> {
        if spec.is_empty() || spec.starts_with('+') {
            return Ok(None);
        }
        let first = spec.split([',', '-']).next().unwrap_or(spec);
        match network(first) {
            Some(net) => Ok(Some(net.addr().is_ipv6())),
            None => Ok(Some(self.alias(spec)?.addr().is_ipv6())),
        }
    }

    fn in_set(&self, name: &str, address: IpAddr) -> Result<bool, Unknown> {
        let unknown = || Unknown(format!("no such ipset '{name}'"));
        let (guest, cluster) = scope(name);
        let bare = bare(name);
        let own = self.guest.filter(|_| guest).and_then(|names| names.sets.get(bare));
        let members = own.or_else(|| self.cluster.sets.get(bare).filter(|_| cluster)).ok_or_else(unknown)?;
        // `hash:net` of the kernel: the narrowest network that contains the address decides.
        let mut best: Option<(u8, bool)> = None;
        for member in members {
            let net = network(&member.cidr).map_or_else(|| self.alias(&member.cidr), Ok);
            let Ok(net) = net else { continue };
            let narrower = best.is_none_or(|(prefix, _)| net.prefix_len() >= prefix);
            if net.contains(&address) && narrower {
                best = Some((net.prefix_len(), !member.nomatch));
            }
        }
        Ok(best.is_some_and(|(_, within)| within))
    }

    fn alias(&self, name: &str) -> Result<IpNet, Unknown> {
        let (guest, cluster) = scope(name);
        let bare = bare(name).to_ascii_lowercase();
        let own = self.guest.filter(|_| guest).and_then(|names| names.aliases.get(&bare));
        let text = own.or_else(|| self.cluster.aliases.get(&bare).filter(|_| cluster));
        text.and_then(|t| network(t)).ok_or_else(|| Unknown(format!("no such alias '{name}'")))
    }
}

/// Which scopes a name may mean: the guest's, the cluster's.
fn scope(name: &str) -> (bool, bool) {
    (!name.starts_with("dc/"), !name.starts_with("guest/"))
}

fn bare(name: &str) -> &str {
    name.strip_prefix("dc/").or_else(|| name.strip_prefix("guest/")).unwrap_or(name)
}

fn parse(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

fn same_family(a: IpAddr, b: IpAddr) -> bool {
    a.is_ipv6() == b.is_ipv6()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(sets: &[(&str, &[&str])], aliases: &[(&str, &str)]) -> Names {
        let member =
            |text: &&str| Member { cidr: text.trim_start_matches('!').to_owned(), nomatch: text.starts_with('!') };
        Names {
            sets: sets.iter().map(|(n, m)| ((*n).to_owned(), m.iter().map(member).collect())).collect(),
            aliases: aliases.iter().map(|(n, a)| ((*n).to_owned(), (*a).to_owned())).collect(),
        }
    }

    #[test]
    fn every_way_to_say_an_address() {
        let cluster = names(&[("web", &["10.0.0.0/24", "!10.0.0.9", "db"]), ("empty", &[])], &[("db", "10.9.0.1")]);
        let guest = names(&[("web", &["192.168.0.0/16"])], &[("db", "fd00::1")]);
        let both = Scopes { guest: Some(&guest), cluster: &cluster };
        let group = Scopes { guest: None, cluster: &cluster };
        for (scopes, spec, address, expected) in [
            (both, "", "1.2.3.4", true),
            (both, "1.2.3.4", "1.2.3.4", true),
            (both, "1.2.3.0/24,10.0.0.1", "10.0.0.1", true),
            (both, "1.2.3.4-1.2.3.9", "1.2.3.9", true),
            (both, "1.2.3.4-1.2.3.9", "1.2.3.10", false),
            (both, "+web", "192.168.3.4", true),
            (both, "+dc/web", "192.168.3.4", false),
            (group, "+web", "10.0.0.7", true),
            (group, "+web", "10.0.0.9", false),
            (group, "+web", "10.9.0.1", true),
            (group, "+empty", "10.0.0.7", false),
            (both, "db", "fd00::1", true),
            (both, "dc/db", "10.9.0.1", true),
            (group, "DB", "10.9.0.1", true),
        ] {
            assert_eq!(scopes.matches(spec, address.parse().expect("an address")), Ok(expected), "{spec} {address}");
        }
        for (scopes, spec) in [(group, "+nope"), (group, "guest/db"), (both, "+guest/empty"), (both, "nope")] {
            assert!(scopes.matches(spec, "10.0.0.1".parse().expect("an address")).is_err(), "{spec}");
        }
        assert_eq!(both.family("fd00::/8"), Ok(Some(true)));
        assert_eq!(both.family("+web"), Ok(None));
        assert_eq!(group.family("db"), Ok(Some(false)));
    }
}
