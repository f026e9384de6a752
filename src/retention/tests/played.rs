//! Policies played over a year, and what is foretold of each snapshot.

use super::{DAY, HOUR, at, keep};
use crate::retention::class::Class;
use crate::retention::judge::{Item, Keep, judge};
use crate::retention::play::{Event, Played, Policy, What, play, until_when};
use crate::schedule::slots::Schedule;
use std::collections::BTreeMap;

fn year(schedule: &Schedule, keep: &Keep) -> Played {
    play(Policy { schedule, keep, prefix: "auto" }, at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"))
}

fn names(played: &Played) -> Vec<&str> {
    played.left.iter().map(|(item, _)| item.name.as_str()).collect()
}

fn pruned(events: &[Event]) -> BTreeMap<&str, i64> {
    let gone = events.iter().filter(|event| matches!(event.what, What::Pruned(_)));
    gone.map(|event| (event.name.as_str(), event.at)).collect()
}

#[test]
fn a_year_of_nights() {
    let schedule = Schedule::calendar("02:00", None).expect("an event");
    let played = year(&schedule, &keep("last=1,daily=3,weekly=2,monthly=3,yearly=1"));
    // The months are those of Sundays: `weekly` covers a month before `monthly` comes to it, so its last days go.
    assert_eq!(
        names(&played),
        [
            "auto-20260927T020000Z",
            "auto-20261025T020000Z",
            "auto-20261129T020000Z",
            "auto-20261220T020000Z",
            "auto-20261227T020000Z",
            "auto-20261228T020000Z",
            "auto-20261229T020000Z",
            "auto-20261230T020000Z",
            "auto-20261231T020000Z",
        ]
    );
    let taken = played.events.iter().filter(|event| event.what == What::Taken(Class::Daily)).count();
    assert_eq!(taken, 365);
    assert_eq!(played.events.len(), 365 + 365 - played.left.len());
    assert_eq!(played.most.0, 10);
}

#[test]
fn a_year_of_hours_keeps_what_the_rule_keeps_of_all() {
    let schedule = Schedule::calendar("hourly", Some("Europe/Berlin")).expect("an event");
    let keep = keep("last=3,hourly=24,daily=7,weekly=4,monthly=6,yearly=1");
    let played = year(&schedule, &keep);
    assert_eq!(played.events.iter().filter(|event| matches!(event.what, What::Taken(_))).count(), 8760);
    assert_eq!(played.left.len(), 3 + 24 + 7 + 4 + 6);
    // Judged once more, nothing goes.
    let kept: Vec<Item> = played.left.iter().map(|(item, _)| item.clone()).collect();
    let now = at("2026-12-31T23:00:00Z");
    assert!(judge(&kept, &keep, schedule.zone(), now).iter().all(|verdict| verdict.keep));
    assert_eq!(played.most.0, 45);
}

#[test]
fn classes_are_named_and_live_as_long_as_they_should() {
    let schedule = Schedule::calendar("02:00", Some("Europe/Berlin")).expect("an event");
    let ages = [(Class::Daily, 7 * DAY), (Class::Weekly, 28 * DAY), (Class::Monthly, 180 * DAY)];
    let keep = Keep { classes: ages.into_iter().collect(), ..Keep::default() };
    let played = year(&schedule, &keep);
    let taken = |wanted: Class| played.events.iter().filter(|event| event.what == What::Taken(wanted)).count();
    // One a month; one a week, but for the week of which the month's came first and no other.
    assert_eq!((taken(Class::Monthly), taken(Class::Weekly), taken(Class::Daily)), (12, 53, 300));
    let left = |class: Class| played.left.iter().filter(|(item, _)| Class::of_name(&item.name) == class).count();
    assert_eq!((left(Class::Monthly), left(Class::Weekly)), (5, 4));
    assert_eq!(played.oldest.as_ref().map(|(age, _)| *age / DAY), Some(180));
    let (item, verdict) = &played.left[0];
    assert_eq!(item.name, "auto-20260801T000000Z-monthly");
    assert_eq!(verdict.reason.to_string(), "monthly, younger than 180d");
}

#[test]
fn a_schedule_that_ends_and_one_that_never_begins() {
    let once = Schedule::calendar("2026-05-05 12:00", None).expect("an event");
    let played = year(&once, &keep("last=1"));
    assert_eq!(names(&played), ["auto-20260505T120000Z"]);
    assert_eq!(played.most, (1, Some(at("2026-05-05T12:00:00Z"))));
    let never = Schedule::calendar("2030-01-01", None).expect("an event");
    let played = year(&never, &keep("last=1"));
    assert_eq!((played.left.len(), played.most, played.oldest), (0, (0, None), None));
    // From and until: the first belongs to it, the last does not.
    let nightly = Schedule::calendar("00:00", None).expect("an event");
    assert_eq!(year(&nightly, &keep("")).left.len(), 365);
}

#[test]
fn what_is_foretold_comes_true() {
    for (text, rules) in [
        ("02:00", "last=1,daily=3,weekly=2,monthly=3"),
        ("*/6:00", "last=2,hourly=5,daily=4,weekly=3"),
        ("mon,thu 04:00", "last=3,monthly=2"),
    ] {
        let schedule = Schedule::calendar(text, Some("America/New_York")).expect("an event");
        let keep = keep(rules);
        let policy = Policy { schedule: &schedule, keep: &keep, prefix: "auto" };
        let (from, now) = (at("2025-01-01T00:00:00Z"), at("2026-01-15T09:30:00Z"));
        let existing: Vec<Item> = play(policy, from, now).left.into_iter().map(|(item, _)| item).collect();
        let later = play(policy, from, now + 2 * 366 * DAY);
        let gone = pruned(&later.events);
        assert!(existing.len() > 4);
        for (item, until) in existing.iter().zip(until_when(&existing, policy, now)) {
            assert_eq!(until, gone.get(item.name.as_str()).copied(), "{} of {text} with {rules}", item.name);
            assert!(until.is_some_and(|until| until > now));
        }
    }
}

#[test]
fn what_stays_for_ever_and_what_goes_at_once() {
    let schedule = Schedule::calendar("02:00", None).expect("an event");
    let now = at("2026-01-15T09:30:00Z");
    let item = |name: &str, age: i64, held: Option<&str>| Item {
        name: name.to_owned(),
        time: now - age,
        held: held.map(str::to_owned),
    };
    let items = [item("a", HOUR, None), item("b", 2 * HOUR, Some("protected")), item("c", 400 * DAY, None)];
    let when = |keep: &Keep| until_when(&items, Policy { schedule: &schedule, keep, prefix: "auto" }, now);
    assert_eq!(when(&keep("")), [None, None, None]);
    let tomorrow = at("2026-01-16T02:00:00Z");
    assert_eq!(when(&keep("last=1")), [Some(tomorrow), None, Some(tomorrow)]);
    assert_eq!(when(&keep("last=2")), [Some(tomorrow + DAY), None, Some(tomorrow)]);
    // A year's is kept for as long as five others are not newer.
    assert_eq!(when(&keep("last=1,yearly=9"))[2], None);
    // No slot ever comes: nothing is pruned any more.
    let over = Schedule::calendar("2020-01-01", None).expect("an event");
    let keep = keep("last=1");
    assert_eq!(until_when(&items, Policy { schedule: &over, keep: &keep, prefix: "auto" }, now), [None, None, None]);
}
