//! The rule on Proxmox's own cases, what stands on top of it, and what people read.

mod against;
mod played;

use crate::retention::class::{Class, class_of, name_of, slot_of};
use crate::retention::judge::{Item, Keep, judge};
use jiff::tz::TimeZone;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

fn at(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().expect("a time of this test").as_second()
}

/// Items of these times; each is called by its time.
fn items(times: impl IntoIterator<Item = i64>) -> Vec<Item> {
    times.into_iter().map(|time| Item { name: format!("s{time}"), time, held: None }).collect()
}

/// What is kept: `k` or `-` for each item.
fn marks(items: &[Item], keep: &Keep) -> String {
    let now = items.iter().map(|item| item.time).max().unwrap_or(0);
    judge(items, keep, &TimeZone::UTC, now).iter().map(|verdict| if verdict.keep { 'k' } else { '-' }).collect()
}

/// `last=3,daily=7` and so on.
fn keep(text: &str) -> Keep {
    let mut keep = Keep::default();
    for (name, number) in text.split(',').filter_map(|part| part.split_once('=')) {
        let number: u32 = number.parse().expect("a number of this test");
        match name {
            "last" => keep.last = Some(number),
            "hourly" => keep.hourly = Some(number),
            "daily" => keep.daily = Some(number),
            "weekly" => keep.weekly = Some(number),
            "monthly" => keep.monthly = Some(number),
            "yearly" => keep.yearly = Some(number),
            "within" => keep.within = Some(i64::from(number)),
            "min" => keep.min_keep = number,
            _ => panic!("{name} is no rule"),
        }
    }
    keep
}

/// Two a day, at 00:00 and 12:00 UTC, the newest on 2026-03-10 at 12:00.
fn two_hundred() -> Vec<Item> {
    let newest = at("2026-03-10T12:00:00Z");
    items((0..200).map(|n| newest - n * 12 * HOUR))
}

#[test]
fn two_hundred_snapshots_keep_as_many_as_on_proxmox() {
    let kept = |text: &str| marks(&two_hundred(), &keep(text)).matches('k').count();
    assert_eq!(kept("last=2,daily=7,weekly=4,monthly=3"), 15);
    assert_eq!(kept("daily=7,weekly=4"), 11);
    assert_eq!(kept("weekly=4"), 4);
    assert_eq!(kept("last=3,yearly=2"), 4);
    assert_eq!(kept("last=1,weekly=60"), 15);
    assert_eq!(kept(""), 200);
}

#[test]
fn the_fifteen_and_their_reasons() {
    let items = two_hundred();
    let verdicts = judge(&items, &keep("last=2,daily=7,weekly=4,monthly=3"), &TimeZone::UTC, items[0].time);
    let lines: Vec<String> = items
        .iter()
        .zip(&verdicts)
        .filter(|(_, verdict)| verdict.keep)
        .map(|(item, verdict)| {
            let time = jiff::Timestamp::from_second(item.time).expect("a time").strftime("%m-%d %H");
            format!("{time} {}", verdict.reason)
        })
        .collect();
    assert_eq!(
        lines,
        [
            "03-10 12 last 1 of 2",
            "03-10 00 last 2 of 2",
            "03-09 12 daily 1 of 7 (2026-03-09)",
            "03-08 12 daily 2 of 7 (2026-03-08)",
            "03-07 12 daily 3 of 7 (2026-03-07)",
            "03-06 12 daily 4 of 7 (2026-03-06)",
            "03-05 12 daily 5 of 7 (2026-03-05)",
            "03-04 12 daily 6 of 7 (2026-03-04)",
            "03-03 12 daily 7 of 7 (2026-03-03)",
            "03-01 12 weekly 1 of 4 (2026-W09)",
            "02-22 12 weekly 2 of 4 (2026-W08)",
            "02-15 12 weekly 3 of 4 (2026-W07)",
            "02-08 12 weekly 4 of 4 (2026-W06)",
            "01-31 12 monthly 1 of 3 (2026-01)",
            "12-31 12 monthly 2 of 3 (2025-12)",
        ]
    );
    let reason = |text: &str| {
        let at_ = items.iter().position(|item| item.time == at(text)).expect("one of the two hundred");
        verdicts[at_].reason.to_string()
    };
    assert_eq!(reason("2026-03-09T00:00:00Z"), "a newer one of its day is kept (2026-03-09)");
    assert_eq!(reason("2026-02-28T12:00:00Z"), "a newer one of its week is kept (2026-W09)");
    assert_eq!(reason("2026-02-05T12:00:00Z"), "a newer one of its week is kept (2026-W06)");
    // The history ends in December, so the third month is never filled.
    assert_eq!(reason("2025-12-05T12:00:00Z"), "a newer one of its month is kept (2025-12)");
}

/// After `prune_backups_test.pm` of pve-storage: five backups and a protected one, around the first noon of 2020.
#[test]
fn what_pve_storage_tests_of_its_own() {
    let base = at("2020-01-01T12:18:21Z");
    let long_ago = base - 585 * DAY - HOUR;
    let yesterday = base - DAY - HOUR;
    let mut backups = items([long_ago, yesterday, yesterday + 30, yesterday + 60, base - HOUR, base]);
    backups[2].held = Some("protected".to_owned());
    for (rules, wanted) in [
        ("last=3", "--kkkk"),
        ("weekly=2", "k-k--k"),
        ("hourly=0,daily=1,weekly=1,monthly=1", "k-kk-k"),
        ("hourly=4,daily=0", "k-kkkk"),
        ("hourly=0,daily=0,weekly=0,monthly=0,yearly=2", "--kk-k"),
        ("last=2,hourly=2", "k-kkkk"),
        ("last=1,monthly=2", "k-kk-k"),
        ("monthly=3", "k-kk-k"),
        ("last=1,daily=1,weekly=1", "k-kk-k"),
        ("hourly=0,last=1,daily=1,weekly=1,monthly=0,yearly=0", "k-kk-k"),
        ("daily=2", "--kk-k"),
        ("weekly=1,monthly=1", "k-k--k"),
        ("weekly=1,yearly=1", "k-k--k"),
        ("", "kkkkkk"),
        ("last=0,hourly=0,daily=0,weekly=0,monthly=0,yearly=0", "kkkkkk"),
    ] {
        assert_eq!(marks(&backups, &keep(rules)), wanted, "{rules}");
    }
    assert_eq!(marks(&items([83, 60 * 60 * 24 * (365 * 100 + 25) + 60]), &keep("yearly=1")), "-k");
    // December is covered by what `weekly` keeps of it, so New Year's Eve goes.
    assert_eq!(marks(&items([base - 7 * DAY, base - DAY, base]), &keep("daily=1,weekly=1,monthly=1")), "k-k");
    let december = |day: i64| base + (366 - 31 + day - 1) * DAY;
    assert_eq!(marks(&items([december(3), december(4), december(7)]), &keep("daily=1,weekly=1")), "-kk");
}

/// After `tests/prune.rs` of Proxmox Backup Server.
#[test]
fn what_proxmox_backup_tests_of_its_own() {
    let of = |day: &str, times: &[&str]| items(times.iter().map(|time| at(&format!("{day}T{time}:15Z"))));
    let hours = of("2019-11-15", &["09:39", "10:49", "10:59", "11:39", "11:49", "11:59"]);
    assert_eq!(marks(&hours, &keep("hourly=3")), "k-k--k");
    assert_eq!(marks(&hours, &keep("hourly=2")), "--k--k");
    let days = [
        "2018-11-15",
        "2019-11-15",
        "2019-11-21",
        "2019-11-22",
        "2019-11-29",
        "2019-12-01",
        "2019-12-02",
        "2019-12-03",
        "2019-12-04",
    ];
    let days = items(days.iter().map(|day| at(&format!("{day}T11:59:15Z"))));
    assert_eq!(marks(&days, &keep("daily=1")), "--------k");
    assert_eq!(marks(&days, &keep("last=1,daily=1")), "-------kk");
    assert_eq!(marks(&days, &keep("daily=1,weekly=1")), "-----k--k");
    assert_eq!(marks(&days, &keep("daily=1,weekly=1,monthly=1")), "---k-k--k");
    assert_eq!(marks(&days, &keep("monthly=1,yearly=1")), "k-------k");
    let four =
        items(["2019-12-02T11:59:15Z", "2019-12-03T11:59:15Z", "2019-12-04T11:59:15Z", "2019-12-04T12:59:15Z"].map(at));
    for (rules, wanted) in [
        ("last=4", "kkkk"),
        ("last=3", "-kkk"),
        ("last=2", "--kk"),
        ("last=1", "---k"),
        ("last=0", "kkkk"),
        ("last=2,daily=2", "kkkk"),
        ("daily=3", "kk-k"),
        ("daily=2", "-k-k"),
        ("weekly=5", "---k"),
        ("daily=1,weekly=5", "---k"),
        ("monthly=6", "---k"),
        ("yearly=7", "---k"),
        ("weekly=5,monthly=6,yearly=7", "---k"),
    ] {
        assert_eq!(marks(&four, &keep(rules)), wanted, "{rules}");
    }
}

#[test]
fn days_and_weeks_are_those_of_the_zone() {
    // 23:30 and 00:30 in Berlin: one day in UTC, two in Berlin.
    let two = items(["2026-01-10T22:30:00Z", "2026-01-10T23:30:00Z"].map(at));
    let kept = |zone: &str| {
        let zone = TimeZone::get(zone).expect("a zone of this test");
        judge(&two, &keep("daily=5"), &zone, two[1].time).iter().filter(|verdict| verdict.keep).count()
    };
    assert_eq!((kept("UTC"), kept("Europe/Berlin")), (1, 2));
    // Sunday 2027-01-03 is of the last week of 2026, Monday of the first of 2027.
    let week = items(["2026-12-31T12:00:00Z", "2027-01-03T12:00:00Z", "2027-01-04T12:00:00Z"].map(at));
    assert_eq!(marks(&week, &keep("weekly=5")), "-kk");
    let verdicts = judge(&week, &keep("weekly=5"), &TimeZone::UTC, week[2].time);
    assert_eq!(verdicts[1].reason.to_string(), "weekly 2 of 5 (2026-W53)");
    assert_eq!(verdicts[0].reason.to_string(), "a newer one of its week is kept (2026-W53)");
    // The hour that the clock shows twice is one hour.
    let berlin = TimeZone::get("Europe/Berlin").expect("a zone of this test");
    let twice = items(["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"].map(at));
    let verdicts = judge(&twice, &keep("hourly=9"), &berlin, twice[1].time);
    assert_eq!(verdicts[0].reason.to_string(), "a newer one of its hour is kept (2026-10-25 02:00)");
}

#[test]
fn what_stands_on_top_of_the_rule() {
    let now = at("2026-03-10T12:00:00Z");
    let days = items((0..6).map(|n| now - n * DAY));
    let reasons = |rules: &str| {
        let verdicts = judge(&days, &keep(rules), &TimeZone::UTC, now);
        verdicts.iter().map(|verdict| (verdict.keep, verdict.reason.to_string())).collect::<Vec<_>>()
    };
    let of = |n: usize, rules: &str| reasons(rules)[n].clone();
    assert_eq!(of(0, "last=1,within=172800"), (true, "last 1 of 1".into()));
    assert_eq!(of(1, "last=1,within=172800"), (true, "younger than 2d".into()));
    assert_eq!(
        of(2, "last=1,within=172800"),
        (false, "older than all that is kept".into()),
        "two days old is not younger"
    );
    assert_eq!(of(3, "last=1,min=4"), (true, "at least 4 are kept".into()));
    assert_eq!(of(4, "last=1,min=4"), (false, "older than all that is kept".into()));
    assert_eq!(of(5, "min=1"), (true, "no rule removes anything".into()));
    assert_eq!(of(5, "within=60"), (true, "no rule removes anything".into()));
    assert!(judge(&[], &keep("last=1"), &TimeZone::UTC, now).is_empty());
}

#[test]
fn the_held_neither_count_nor_occupy() {
    let now = at("2026-03-10T12:00:00Z");
    let mut days = items((0..4).map(|n| now - n * HOUR));
    days[0].held = Some("protected by `pre-upgrade*`".to_owned());
    assert_eq!(marks(&days, &keep("daily=1")), "kk--");
    assert_eq!(marks(&days, &keep("last=1,min=2")), "kkk-");
    let verdicts = judge(&days, &keep("daily=1"), &TimeZone::UTC, now);
    assert_eq!(verdicts[0].reason.to_string(), "protected by `pre-upgrade*`");
}

#[test]
fn classes_alone_decide_and_help_the_rule() {
    let now = at("2026-03-10T12:00:00Z");
    let named = |name: &str, days: i64| Item { name: name.to_owned(), time: now - days * DAY, held: None };
    let items = [
        named("a", 9),
        named("b", 7),
        named("c", 6),
        named("d-weekly", 27),
        named("e-weekly", 28),
        named("f-monthly", 100),
        named("g-yearly", 500),
    ];
    let ages = [(Class::Daily, 7 * DAY), (Class::Weekly, 28 * DAY), (Class::Monthly, 180 * DAY)];
    let mut keep = Keep { classes: ages.into_iter().collect(), ..Keep::default() };
    let reasons = |keep: &Keep| {
        let verdicts = judge(&items, keep, &TimeZone::UTC, now);
        verdicts.iter().map(|v| format!("{} {}", if v.keep { 'k' } else { '-' }, v.reason)).collect::<Vec<_>>()
    };
    assert_eq!(
        reasons(&keep),
        [
            "- daily, older than 7d",
            "- daily, older than 7d",
            "k daily, younger than 7d",
            "k weekly, younger than 28d",
            "- weekly, older than 28d",
            "k monthly, younger than 180d",
            // There is no yearly class, so it lives as long as a monthly one.
            "- monthly, older than 180d",
        ]
    );
    keep.within = Some(8 * DAY);
    assert_eq!(reasons(&keep)[1..4], ["k younger than 8d", "k younger than 8d", "k weekly, younger than 28d"]);
    keep.within = None;
    keep.last = Some(2);
    assert_eq!(reasons(&keep)[1], "k last 2 of 2");
    assert_eq!(reasons(&keep)[3], "k weekly, younger than 28d");
    assert_eq!(reasons(&keep)[4], "- older than all that is kept");
    // The newest stays, however old.
    let old = judge(&items[4..5], &Keep { last: None, ..keep.clone() }, &TimeZone::UTC, now);
    assert_eq!(old[0].reason.to_string(), "the newest");
    assert!(old[0].keep);
}

#[test]
fn of_two_with_one_time_the_greater_name_is_the_newer() {
    let two = |a: &str, b: &str| [a, b].map(|name| Item { name: name.to_owned(), time: 1000, held: None });
    assert_eq!(marks(&two("a", "b"), &keep("last=1")), "-k");
    assert_eq!(marks(&two("b", "a"), &keep("last=5")), "k-", "one time is one period");
}

#[test]
fn what_is_kept_in_one_line() {
    let mut all = keep("last=3,daily=7,weekly=0,within=172800,min=2");
    all.classes = [(Class::Daily, 7 * DAY), (Class::Weekly, 36 * HOUR)].into_iter().collect();
    assert_eq!(all.to_string(), "last 3, daily 7; younger than 2d; daily ones 7d, weekly ones 36h; at least 2");
    assert_eq!(keep("min=2,within=90").to_string(), "everything");
}

#[test]
fn a_slot_is_of_the_longest_class_that_is_open() {
    let berlin = TimeZone::get("Europe/Berlin").expect("a zone of this test");
    let ages = [Class::Daily, Class::Weekly, Class::Monthly].map(|class| (class, DAY)).into_iter().collect();
    let slot = at("2026-03-10T12:00:00Z");
    let class = |existing: &[(Class, &str)]| {
        let existing = existing.iter().map(|(class, time)| (*class, at(time)));
        class_of(slot, existing, &ages, &berlin)
    };
    assert_eq!(class(&[]), Class::Monthly);
    // 23:30 UTC on the last of February is in March in Berlin.
    assert_eq!(class(&[(Class::Monthly, "2026-02-28T23:30:00Z")]), Class::Weekly);
    assert_eq!(class(&[(Class::Monthly, "2026-02-28T22:30:00Z")]), Class::Monthly);
    let month = (Class::Monthly, "2026-03-01T00:00:00Z");
    assert_eq!(class(&[month, (Class::Weekly, "2026-03-08T22:30:00Z")]), Class::Weekly, "Sunday is of the week before");
    assert_eq!(class(&[month, (Class::Weekly, "2026-03-08T23:30:00Z")]), Class::Daily);
    assert_eq!(
        class(&[month, (Class::Monthly, "2026-03-09T10:00:00Z")]),
        Class::Weekly,
        "a monthly one is no weekly one"
    );
    assert_eq!(class_of(slot, [], &[(Class::Weekly, DAY)].into_iter().collect(), &berlin), Class::Weekly);
    assert_eq!(class_of(slot, [], &[].into_iter().collect(), &berlin), Class::Daily);
}

#[test]
fn a_name_tells_slot_and_class() {
    let slot = at("2026-11-21T02:00:00Z");
    assert_eq!(name_of("auto", slot, Class::Daily), "auto-20261121T020000Z");
    assert_eq!(name_of("auto", slot, Class::Monthly), "auto-20261121T020000Z-monthly");
    for class in Class::ALL {
        let name = name_of("a-b", slot, class);
        assert_eq!((slot_of("a-b", &name), Class::of_name(&name)), (Some(slot), class));
    }
    for foreign in [
        "auto",
        "auto-",
        "auto-x",
        "auto-20261121T020000",
        "auto-20261121T020000Z-hourly",
        "auto-99999999T999999Z",
        "my-20261121T020000Z",
        "weekly",
        "auto-2026-11-21",
        "auto-weekly",
    ] {
        assert_eq!(slot_of("auto", foreign), None, "{foreign}");
    }
    assert_eq!(Class::of_name("weekly"), Class::Daily);
}
