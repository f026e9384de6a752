//! The name of a machine, which is its runner's: `POOL-VMID-HHHHHHHHTTTTTT`. HHHHHHHH is a proof of whose it is, TTTTTT the second of its
//! making in base 36, so that no two are ever the same, without randomness. A registration whose machine is gone is known by it.

use crate::base::id::VmId;
use crate::github::place::Place;
use sha2::{Digest, Sha256};

/// As long as a pool's name may be: the machine's is one label of a DNS name, 63 at most.
pub const POOL_CHARACTERS_MAX: usize = 38;
/// Characters of a moment in base 36: enough until the year 2038.
const MOMENT: usize = 6;
/// Characters of the proof.
const PROOF: usize = 8;

/// What proves that a name was given by this pool of this set, on this cluster, for this place on GitHub. Two clusters of one name
/// that are given the same set cannot be told apart by it.
pub fn proof(cluster: &str, set: &str, pool: &str, place: &Place) -> String {
    let mut hash = Sha256::new();
    for part in [cluster, set, pool, &place.api, &place.scope.path()] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hex::encode(&hash.finalize()[..PROOF / 2])
}

/// The name of a machine that is made at a moment (seconds since 1970).
pub fn name(pool: &str, vmid: VmId, proof: &str, made: i64) -> String {
    let mut moment = String::new();
    let mut rest = u64::try_from(made).unwrap_or(0);
    for _ in 0..MOMENT {
        let digit = u32::try_from(rest % 36).unwrap_or(0);
        moment.insert(0, char::from_digit(digit, 36).unwrap_or('0'));
        rest /= 36;
    }
    format!("{pool}-{vmid}-{proof}{moment}")
}

/// A name as this pool gives them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The machine's number.
    pub vmid: VmId,
    /// The proof in it; it may be another pool's.
    pub proof: String,
    /// When it was made, in seconds since 1970.
    pub made: i64,
}

/// Reads a name; `None` if it is none that a pool of this name gives.
pub fn read(pool: &str, name: &str) -> Option<Named> {
    let (vmid, rest) = name.strip_prefix(pool)?.strip_prefix('-')?.split_once('-')?;
    let plain = |text: &str| text.chars().all(|c| c.is_ascii_digit() || c.is_ascii_lowercase());
    if rest.len() != PROOF + MOMENT || !plain(rest) {
        return None;
    }
    let (proof, moment) = rest.split_at(PROOF);
    let vmid = VmId::new(vmid.parse().ok()?)?;
    Some(Named { vmid, proof: proof.to_owned(), made: i64::from_str_radix(moment, 36).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::github::place::{Auth, PUBLIC_API, Scope, SecretRef};

    #[test]
    fn a_name_tells_whose_it_is() {
        let place =
            |scope| Place { api: PUBLIC_API.into(), scope, auth: Auth::Token(SecretRef::Env("GITHUB_TOKEN".into())) };
        let acme = place(Scope::Organization("acme".into()));
        let ours = proof("lab", "home", "ci", &acme);
        assert_eq!(ours.len(), 8);
        for other in [
            proof("lab2", "home", "ci", &acme),
            proof("lab", "work", "ci", &acme),
            proof("lab", "home", "ci2", &acme),
            proof("lab", "home", "ci", &place(Scope::Organization("other".into()))),
        ] {
            assert_ne!(other, ours);
        }
        let vmid = VmId::new(50_000).expect("a number");
        let made = 1_795_315_200;
        let text = name("ci", vmid, &ours, made);
        assert_eq!(text, format!("ci-50000-{ours}tovu2o"));
        assert_eq!(read("ci", &text), Some(Named { vmid, proof: ours.clone(), made }));
        assert_ne!(name("ci", vmid, &ours, made + 1), text);
        for bad in [
            "ci-50000",
            "ci-50000-abcdef01",
            "ci-50000-abcd0123ab",
            "ci-x-abcdef010123ab",
            "ci-50000-ABCDEF010123ab",
            "other-50000-abcdef010123ab",
            "ci-2-50000-abcdef010123ab",
        ] {
            assert_eq!(read("ci", bad), None, "{bad}");
        }
        let longest = name(&"p".repeat(POOL_CHARACTERS_MAX), VmId::new(999_999_999).expect("a number"), &ours, made);
        assert_eq!(longest.len(), 63);
    }
}
