//! The addresses of a name, or of a guest, over time. DNS answers with some of them now and others later; what it does not say
//! any more stays for a time, and when it fails nothing changes. A guest that moves or does not answer is the same. Nothing is remembered here: each address carries, in the comment of
//! its entry on the cluster, since when it is gone.

use crate::base::resolver::Resolution;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// How long an address stays that the name no longer has, in seconds, unless said otherwise: content networks turn their
/// addresses over within minutes, and connections last longer.
pub const GRACE_SECONDS: i64 = 3600;

/// The addresses of a name that are let through: since when each is gone from DNS (seconds since 1970), if it is.
pub type Known = BTreeMap<IpAddr, Option<i64>>;

/// What is let through from now on. `now` in seconds since 1970.
pub fn refresh(known: &Known, resolution: &Resolution, now: i64, grace: i64) -> Known {
    let current = match resolution {
        Ok(current) if !current.is_empty() => current,
        // Neither a failure nor silence takes anything away.
        Ok(_) | Err(_) => return known.clone(),
    };
    let mut out: Known = current.iter().map(|address| (*address, None)).collect();
    for (address, gone) in known {
        // A clock that went back begins the time anew.
        let since = gone.filter(|since| *since <= now).unwrap_or(now);
        if !current.contains(address) && now - since < grace {
            out.insert(*address, Some(since));
        }
    }
    out
}

/// Of those, so many: what is told now before what is gone, what was let through already before what is new, so that whoever
/// has more than that does not turn them over with every look.
pub fn at_most(most: usize, now: Known, before: &Known) -> Known {
    let mut all: Vec<(IpAddr, Option<i64>)> = now.into_iter().collect();
    all.sort_by_key(|(address, gone)| {
        (gone.is_some(), std::cmp::Reverse(*gone), !before.contains_key(address), *address)
    });
    all.truncate(most);
    all.into_iter().collect()
}

const GONE: &str = ", gone since ";

/// The comment of an entry: `api.github.com`, or `api.github.com, gone since 2026-11-21T10:00:00Z`.
pub fn comment(name: &str, gone: Option<i64>) -> String {
    match gone.and_then(|seconds| Timestamp::from_second(seconds).ok()) {
        Some(since) => format!("{name}{GONE}{since}"),
        None => name.to_owned(),
    }
}

/// The other way round: the name, and since when the address is gone.
pub fn read_comment(comment: &str) -> (&str, Option<i64>) {
    match comment.split_once(GONE) {
        Some((name, since)) => (name, since.trim().parse::<Timestamp>().ok().map(Timestamp::as_second)),
        None => (comment.trim(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(texts: &[&str]) -> std::collections::BTreeSet<IpAddr> {
        texts.iter().map(|t| t.parse().expect("an address")).collect()
    }

    fn shown(known: &Known) -> Vec<String> {
        known.iter().map(|(a, gone)| format!("{a}{}", gone.map_or(String::new(), |s| format!("-{s}")))).collect()
    }

    #[test]
    fn addresses_come_and_go_and_come_back() {
        let first = refresh(&Known::new(), &Ok(set(&["10.0.0.1", "10.0.0.2"])), 100, 60);
        assert_eq!(shown(&first), ["10.0.0.1", "10.0.0.2"]);
        let second = refresh(&first, &Ok(set(&["10.0.0.2", "10.0.0.3"])), 110, 60);
        assert_eq!(shown(&second), ["10.0.0.1-110", "10.0.0.2", "10.0.0.3"]);
        assert_eq!(
            refresh(&second, &Ok(set(&["10.0.0.2", "10.0.0.3"])), 120, 60),
            second,
            "a quiet name writes nothing"
        );
        let back = refresh(&second, &Ok(set(&["10.0.0.1", "10.0.0.2", "10.0.0.3"])), 130, 60);
        assert_eq!(shown(&back), ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        let last = refresh(&second, &Ok(set(&["10.0.0.3"])), 170, 60);
        assert_eq!(shown(&last), ["10.0.0.2-170", "10.0.0.3"]);
        for failure in [Err("SERVFAIL".to_owned()), Ok(set(&[]))] {
            assert_eq!(refresh(&last, &failure, 1_000_000, 60), last);
        }
    }

    #[test]
    fn more_than_are_let_through_are_not_turned_over() {
        let all = set(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]);
        let before: Known = set(&["10.0.0.3", "10.0.0.4"]).into_iter().map(|a| (a, None)).collect();
        let first = at_most(3, refresh(&before, &Ok(all.clone()), 100, 60), &before);
        assert_eq!(shown(&first), ["10.0.0.1", "10.0.0.3", "10.0.0.4"]);
        assert_eq!(at_most(3, refresh(&first, &Ok(all), 110, 60), &first), first);
        // Whoever takes a new address at every look pushes out what went longest ago.
        let moved = at_most(3, refresh(&first, &Ok(set(&["10.0.0.9"])), 120, 60), &first);
        let again = at_most(3, refresh(&moved, &Ok(set(&["10.0.0.8"])), 130, 60), &moved);
        assert_eq!(shown(&again), ["10.0.0.1-120", "10.0.0.8", "10.0.0.9-130"]);
    }

    #[test]
    fn comments_carry_it() {
        for (gone, text) in [(None, "a.example"), (Some(1_763_719_200), "a.example, gone since 2025-11-21T10:00:00Z")] {
            assert_eq!(comment("a.example", gone), text);
            assert_eq!(read_comment(text), ("a.example", gone));
        }
        assert_eq!(read_comment("a.example, gone since yesterday"), ("a.example", None));
    }

    proptest! {
        /// Whatever DNS says, in whatever order, with failures between: what was let in never becomes nobody.
        #[test]
        fn a_set_never_becomes_empty(answers in prop::collection::vec((prop::option::of(prop::collection::btree_set(0u8..6, 0..4)), 0i64..90), 1..30)) {
            let (mut known, mut now) = (Known::new(), 0);
            let mut lived = false;
            for (answer, passed) in answers {
                now += passed;
                let resolution = answer.map_or(Err("SERVFAIL".to_owned()), |hosts| Ok(hosts.into_iter().map(|h| IpAddr::from([10, 0, 0, h])).collect()));
                let next = refresh(&known, &resolution, now, 60);
                if let Ok(current) = &resolution {
                    prop_assert!(current.iter().all(|a| next.get(a) == Some(&None)));
                }
                for address in known.keys().filter(|a| !next.contains_key(a)) {
                    prop_assert!(known[address].is_some_and(|since| now - since >= 60), "taken away before its time");
                }
                lived |= !next.is_empty();
                prop_assert!(!lived || !next.is_empty());
                known = next;
            }
        }
    }
}
