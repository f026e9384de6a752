//! DNS as the simulated world has it. Names get an address of the range for tests (RFC 2544) that follows from their
//! letters, so that a profile can be tried without a network; the world may say otherwise. Names below `.invalid` are not
//! there (RFC 6761).

use crate::base::resolver::{Resolution, Resolver};
use crate::sim::front::Sim;
use futures::future::BoxFuture;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The cluster's DNS.
#[derive(Clone, Debug)]
pub struct SimNames(pub(crate) Sim);

impl Resolver for SimNames {
    fn resolve<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Resolution> {
        let told = self.0.with_world(|world| world.names.get(name).cloned());
        let all: BTreeSet<IpAddr> = match told {
            Some(told) => told.into_iter().collect(),
            None if name.ends_with(".invalid") => BTreeSet::new(),
            None => BTreeSet::from([made_up(name)]),
        };
        let answer = if all.is_empty() { Err(format!("there is no name `{name}` in DNS")) } else { Ok(all) };
        Box::pin(std::future::ready(answer))
    }
}

fn made_up(name: &str) -> IpAddr {
    // FNV-1a, 17 bits of it.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let [.., a, b, c] = hash.to_be_bytes();
    IpAddr::from([198, 18 + (a & 1), b, c])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::baseline::Baseline;
    use futures::FutureExt;

    #[test]
    fn names_have_addresses_that_follow_from_them() {
        let sim = Sim::new(Baseline::Homelab);
        let ask = |name: &str| sim.names().resolve(name).now_or_never().expect("at once");
        let one = ask("api.github.com").expect("an address");
        assert_eq!(ask("api.github.com"), Ok(one.clone()));
        assert_ne!(ask("deb.debian.org"), Ok(one));
        assert!(ask("nothing.invalid").is_err());
        sim.with_world(|world| world.names.insert("api.github.com".into(), vec!["2001:db8::1".parse().expect("one")]));
        assert_eq!(ask("api.github.com").map(|all| all.len()), Ok(1));
    }
}
