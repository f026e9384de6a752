//! How a policy's snapshots are called: by the time that they were due, in UTC, so that whoever takes it up again after a crash
//! finds what was taken. Their ages are PVE's `snaptime`, never their names.

use crate::kinds::snapshot_policy::spec::SnapshotPolicySpec;

/// Letters of a prefix, so that with the time (`-20261121T020000Z`) and a class (`-monthly`) PVE's 40 are kept.
pub const PREFIX_MAX: usize = 15;

/// What a policy's names begin with: what its manifest says, or its own name as far as PVE takes it.
pub fn prefix(policy: &str, spec: &SnapshotPolicySpec) -> String {
    if let Some(prefix) = &spec.name_prefix {
        return prefix.clone();
    }
    let own: String = policy.chars().skip_while(|c| !c.is_ascii_alphabetic()).take(PREFIX_MAX).collect();
    let own = own.trim_end_matches('-');
    if own.is_empty() { "auto".to_owned() } else { own.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::guest::hand::snapshot::check_name;
    use crate::retention::class::{Class, name_of, slot};

    #[test]
    fn a_name_says_when_it_was_due_and_pve_takes_it() {
        let last = 253_402_128_000;
        let cases = [(1_795_226_400, Class::Daily), (0, Class::Yearly), (last, Class::Monthly), (1, Class::Weekly)];
        for (slot_at, class) in cases {
            for prefix in ["auto", "a-b_c", "fifteen-letters"] {
                let name = name_of(prefix, slot_at, class);
                assert_eq!(check_name(&name).as_deref(), Ok(name.as_str()));
                assert_eq!(slot(&name), Some(slot_at), "{name}");
            }
        }
        for none in ["", "auto", "auto-", "auto-20261321T020000Z", "before-upgrade", "20261121T020000Z", "x-2026"] {
            assert_eq!(slot(none), None, "{none}");
        }
    }

    #[test]
    fn a_prefix_is_made_of_the_name_where_none_is_said() {
        let spec = |prefix: Option<&str>| {
            let mut spec = serde_json::json!({"selector": {}, "schedule": "02:00"});
            spec["namePrefix"] = prefix.into();
            serde_json::from_value::<SnapshotPolicySpec>(spec).expect("a spec")
        };
        for (policy, wanted) in [
            ("nightly", "nightly"),
            ("7-days", "days"),
            ("12", "auto"),
            ("a-very-long-name-of-a-policy", "a-very-long-nam"),
        ] {
            assert_eq!(prefix(policy, &spec(None)), wanted);
        }
        assert_eq!(prefix("nightly", &spec(Some("auto"))), "auto");
    }
}
