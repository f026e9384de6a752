//! Which of the updates that wait in a guest are installed, and why the others are not.

use crate::host::job::Package;
use crate::host::state::{JobState, Phase};
use crate::host::token::Token;
use crate::kinds::patch_window::spec::{Class, Updates};
use crate::kinds::selector::matches;
use std::collections::{BTreeMap, BTreeSet};

const DAY: i64 = 86_400;

/// What the wave before got, of one distribution in one release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Canary {
    /// Versions that it got, by package.
    pub got: BTreeMap<String, String>,
    /// Packages of which an update still waits there.
    pub waits: BTreeSet<String>,
    /// When it was looked at, the last of them, in seconds since 1970.
    pub at: i64,
}

/// What the wave before got, by distribution and release.
pub type Canaries = BTreeMap<(String, String), Canary>;

/// The updates of a guest, weighed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// What is installed, in the order of the names.
    pub install: Vec<Package>,
    /// What is not, and why.
    pub left: Vec<(String, String)>,
}

/// Adds what a guest of the wave before got. `assess` is what it had waiting, `patch` what became of it.
pub fn learn(canaries: &mut Canaries, assess: &JobState, patch: Option<&JobState>) {
    let canary = canaries.entry((assess.os.clone(), assess.release.clone())).or_default();
    let patch = patch.filter(|patch| patch.phase == Phase::Done && patch.exit == Some(0));
    for changed in patch.iter().flat_map(|patch| &patch.changed).filter(|changed| changed.to != "-") {
        canary.waits.remove(&changed.name);
        canary.got.insert(changed.name.clone(), changed.to.clone());
    }
    let waits = assess.pending.iter().filter(|pending| !canary.got.contains_key(&pending.name));
    let waits: Vec<String> = waits.map(|pending| pending.name.clone()).collect();
    canary.waits.extend(waits);
    canary.at = canary.at.max(assess.ended.unwrap_or(assess.started));
}

/// Weighs what waits in a guest. `canaries` is what the wave before got; `None` for the first wave.
pub fn choose(assess: &JobState, updates: &Updates, canaries: Option<&Canaries>, now: i64) -> Choice {
    let mut choice = Choice::default();
    let held: BTreeSet<&str> = assess.held.iter().map(String::as_str).collect();
    let of = (assess.os.clone(), assess.release.clone());
    let canary = canaries.map(|canaries| canaries.get(&of));
    let soak = i64::from(updates.soak_days) * DAY;
    let mut pending: Vec<_> = assess.pending.iter().collect();
    pending.sort();
    for update in pending {
        let base = update.name.split_once(':').map_or(update.name.as_str(), |(name, _)| name);
        let excluded = updates.exclude.iter().find(|p| matches(p, &update.name) || matches(p, base));
        let version = match canary {
            Some(Some(canary)) => canary.got.get(&update.name).cloned(),
            Some(None) | None => None,
        };
        let why = if held.contains(update.name.as_str()) || held.contains(base) {
            Some("held in the guest".to_owned())
        } else if let Some(pattern) = excluded {
            Some(format!("excluded by `{pattern}`"))
        } else if updates.class == Class::Security && !update.security {
            Some("no security update".to_owned())
        } else if soak > 0 && now.saturating_sub(update.since) < soak {
            let days = now.saturating_sub(update.since).max(0) / DAY;
            Some(format!("available for {days} of {} days", updates.soak_days))
        } else {
            match canary {
                None => None,
                Some(None) => Some(format!("nobody in the wave before has {} {}", assess.os, assess.release)),
                Some(Some(_)) if version.is_some() => None,
                Some(Some(canary)) if canary.waits.contains(&update.name) => {
                    Some("the wave before has not got it".to_owned())
                }
                Some(Some(canary)) if update.since > canary.at => {
                    Some("it came after the wave before was updated".to_owned())
                }
                Some(Some(_)) => None,
            }
        };
        let version = version.unwrap_or_else(|| update.to.clone());
        match (why, Token::argument(update.name.as_str()), Token::new(version)) {
            (Some(why), _, _) => choice.left.push((update.name.clone(), why)),
            (None, Some(name), Some(version)) => choice.install.push(Package { name, version }),
            (None, _, _) => choice.left.push((update.name.clone(), "its name or version is not plain".to_owned())),
        }
    }
    choice
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::state::{Changed, Pending};

    fn pending(name: &str, to: &str, security: bool, since: i64) -> Pending {
        Pending { name: name.into(), from: "1".into(), to: to.into(), security, since }
    }

    fn assessed(os: &str, pending: Vec<Pending>) -> JobState {
        JobState {
            os: os.into(),
            release: "12".into(),
            pending,
            phase: Phase::Done,
            ended: Some(1000),
            ..JobState::default()
        }
    }

    fn names(choice: &Choice) -> Vec<String> {
        choice.install.iter().map(|p| format!("{}={}", p.name, p.version)).collect()
    }

    #[test]
    fn what_is_excluded_held_young_or_no_security_update_is_left() {
        let mut guest = assessed(
            "debian",
            vec![
                pending("openssl", "2", true, 0),
                pending("linux-image-amd64", "7", true, 0),
                pending("nginx", "3", true, 0),
                pending("vim", "9", false, 0),
                pending("curl", "8", true, 9 * DAY),
            ],
        );
        guest.held = vec!["nginx".into()];
        let updates = Updates { class: Class::Security, exclude: vec!["linux-image-*".into()], soak_days: 3 };
        let choice = choose(&guest, &updates, None, 10 * DAY);
        assert_eq!(names(&choice), ["openssl=2"]);
        let left: Vec<(&str, &str)> = choice.left.iter().map(|(n, w)| (n.as_str(), w.as_str())).collect();
        assert_eq!(
            left,
            [
                ("curl", "available for 1 of 3 days"),
                ("linux-image-amd64", "excluded by `linux-image-*`"),
                ("nginx", "held in the guest"),
                ("vim", "no security update"),
            ]
        );
    }

    #[test]
    fn a_later_wave_gets_the_versions_of_the_wave_before() {
        let canary = assessed("debian", vec![pending("openssl", "2", true, 0), pending("vim", "9", false, 0)]);
        let patched = JobState {
            phase: Phase::Done,
            exit: Some(0),
            changed: vec![Changed { name: "openssl".into(), from: "1".into(), to: "2".into() }],
            ..JobState::default()
        };
        let mut canaries = Canaries::new();
        learn(&mut canaries, &canary, Some(&patched));
        let guest = assessed(
            "debian",
            vec![
                pending("openssl", "3", true, 2000),
                pending("vim", "9", false, 0),
                pending("late", "1", false, 2000),
                pending("early", "1", false, 500),
            ],
        );
        let choice = choose(&guest, &Updates::default(), Some(&canaries), 5000);
        assert_eq!(names(&choice), ["early=1", "openssl=2"], "never a newer version than the canary's");
        let left: Vec<&str> = choice.left.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(left, ["late", "vim"]);
        let alpine = assessed("alpine", vec![pending("busybox", "2", false, 0)]);
        let choice = choose(&alpine, &Updates::default(), Some(&canaries), 5000);
        assert_eq!(choice.left, [("busybox".to_owned(), "nobody in the wave before has alpine 12".to_owned())]);
    }
}
