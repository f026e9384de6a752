//! What stands in the description of a snapshot that was taken before updates: whether the guest ran, and how it ended. It is
//! what is left when the guest's disk goes back.

use crate::base::id::VmId;
use crate::kinds::guest::hand::snapshot::{Row, window_line};
use crate::retention::class::{Class, name_of, slot_of};

/// What the names of these snapshots begin with.
pub const PREFIX: &str = "patch";

/// How a guest's updates ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// They are in, and the guest is well.
    Updated,
    /// Nothing was installed: why.
    Unchanged(String),
    /// They failed, and the guest was left as it is.
    Failed(String),
    /// They failed, and the guest shall go back: since when, in seconds since 1970, and why.
    GoingBack(i64, String),
    /// They failed, and the guest went back.
    WentBack(String),
}

const RAN_NOT: &str = "it did not run";
const UPDATED: &str = "updated";
const UNCHANGED: &str = "nothing installed: ";
const FAILED: &str = "failed: ";
const GOING_BACK: &str = "going back since ";
const WENT_BACK: &str = "went back: ";
/// As many characters of a reason stand in a description.
const REASON_CHARACTERS_MAX: usize = 400;

/// The name of the snapshot that is taken before the updates of an opening.
pub fn name(slot: i64) -> String {
    name_of(PREFIX, slot, Class::Daily)
}

/// The opening's time as names have it: `20261122T010000Z`.
pub fn stamp(slot: i64) -> String {
    name(slot).split_off(PREFIX.len() + 1)
}

/// The opening whose time a name has; `None` where it is no such time.
pub fn of_stamp(stamp: &str) -> Option<i64> {
    slot_of(PREFIX, &format!("{PREFIX}-{stamp}"))
}

/// The opening for which a snapshot was taken.
pub fn slot(row: &Row) -> Option<i64> {
    slot_of(PREFIX, &row.name)
}

/// Whether the guest ran when it was taken.
pub fn ran(row: &Row) -> bool {
    !row.description.lines().any(|line| line == RAN_NOT)
}

fn plain(why: &str) -> String {
    why.chars().map(|c| if c.is_control() { ' ' } else { c }).take(REASON_CHARACTERS_MAX).collect()
}

/// The description of a snapshot.
pub fn describe(set: &str, window: &str, vmid: VmId, ran: bool, outcome: Option<&Outcome>) -> String {
    let mut lines = vec![format!("guest {vmid} before its updates")];
    if !ran {
        lines.push(RAN_NOT.to_owned());
    }
    lines.extend(outcome.map(|outcome| match outcome {
        Outcome::Updated => UPDATED.to_owned(),
        Outcome::Unchanged(why) => format!("{UNCHANGED}{}", plain(why)),
        Outcome::Failed(why) => format!("{FAILED}{}", plain(why)),
        Outcome::GoingBack(at, why) => format!("{GOING_BACK}{at}: {}", plain(why)),
        Outcome::WentBack(why) => format!("{WENT_BACK}{}", plain(why)),
    }));
    lines.push(window_line(set, window));
    lines.join("\n")
}

/// How it ended, or `None`: it has not.
pub fn outcome(row: &Row) -> Option<Outcome> {
    row.description.lines().find_map(|line| {
        if line == UPDATED {
            Some(Outcome::Updated)
        } else if let Some(why) = line.strip_prefix(UNCHANGED) {
            Some(Outcome::Unchanged(why.to_owned()))
        } else if let Some(why) = line.strip_prefix(FAILED) {
            Some(Outcome::Failed(why.to_owned()))
        } else if let Some(why) = line.strip_prefix(WENT_BACK) {
            Some(Outcome::WentBack(why.to_owned()))
        } else {
            let (at, why) = line.strip_prefix(GOING_BACK)?.split_once(": ").unwrap_or(("0", ""));
            Some(Outcome::GoingBack(at.parse().unwrap_or_default(), why.to_owned()))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::guest::hand::snapshot::rows;
    use serde_json::json;

    #[test]
    fn what_is_written_can_be_read() {
        let vmid = VmId::new(200).expect("a number of a guest");
        let all = [
            None,
            Some(Outcome::Updated),
            Some(Outcome::Unchanged("it is up to date".into())),
            Some(Outcome::Failed("tcp:22: nobody\nlistens".into())),
            Some(Outcome::GoingBack(77, "exit code: 100".into())),
            Some(Outcome::WentBack("x".into())),
        ];
        for written in all {
            for written_ran in [true, false] {
                let text = describe("lab", "sunday", vmid, written_ran, written.as_ref());
                let list = json!([{"name": name(1_795_309_200), "description": text, "snaptime": 5}]);
                let row = rows(&list).remove(0);
                assert_eq!(row.window, Some(("lab".to_owned(), "sunday".to_owned())));
                assert_eq!((slot(&row), ran(&row)), (Some(1_795_309_200), written_ran));
                let wanted = match &written {
                    Some(Outcome::Failed(_)) => Some(Outcome::Failed("tcp:22: nobody listens".into())),
                    other => other.clone(),
                };
                assert_eq!(outcome(&row), wanted);
            }
        }
        assert_eq!(stamp(1_795_309_200), "20261122T010000Z");
    }
}
