//! Expressions that are read and refused, slots on ordinary days, and the days on which the clock is changed.

mod against;
mod clock;
mod cron;

use crate::schedule::slots::{Schedule, offset};
use std::time::Duration;

fn at(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().expect("a time of this test").as_second()
}

fn berlin(text: &str) -> Schedule {
    Schedule::calendar(text, Some("Europe/Berlin")).expect("a calendar event of this test")
}

/// The first slots after a moment, as a clock in the schedule's zone shows them.
fn first(schedule: &Schedule, after: &str, count: usize) -> Vec<String> {
    let slots = std::iter::successors(schedule.next(at(after)), |slot| schedule.next(*slot)).take(count);
    slots.map(|slot| shown(schedule, slot)).collect()
}

fn shown(schedule: &Schedule, slot: i64) -> String {
    let slot = jiff::Timestamp::from_second(slot).expect("a slot is a time");
    slot.to_zoned(schedule.zone().clone()).strftime("%a %F %T").to_string()
}

/// The first slots of a calendar event after Saturday 2026-11-21 00:00 UTC.
#[track_caller]
fn check(text: &str, wanted: &[&str]) {
    let schedule = Schedule::calendar(text, None).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(first(&schedule, "2026-11-21T00:00:00Z", wanted.len()), wanted, "{text}");
}

#[test]
fn words() {
    check("minutely", &["Sat 2026-11-21 00:01:00", "Sat 2026-11-21 00:02:00"]);
    check("hourly", &["Sat 2026-11-21 01:00:00", "Sat 2026-11-21 02:00:00"]);
    check("daily", &["Sun 2026-11-22 00:00:00", "Mon 2026-11-23 00:00:00"]);
    check("weekly", &["Mon 2026-11-23 00:00:00", "Mon 2026-11-30 00:00:00"]);
    check("monthly", &["Tue 2026-12-01 00:00:00", "Fri 2027-01-01 00:00:00"]);
    check("quarterly", &["Fri 2027-01-01 00:00:00", "Thu 2027-04-01 00:00:00"]);
    for word in ["semiannually", "semi-annually"] {
        check(word, &["Fri 2027-01-01 00:00:00", "Thu 2027-07-01 00:00:00"]);
    }
    for word in ["yearly", "annually"] {
        check(word, &["Fri 2027-01-01 00:00:00", "Sat 2028-01-01 00:00:00"]);
    }
}

#[test]
fn times() {
    check("22:00", &["Sat 2026-11-21 22:00:00", "Sun 2026-11-22 22:00:00"]);
    check("2:5", &["Sat 2026-11-21 02:05:00"]);
    check("0:0", &["Sun 2026-11-22 00:00:00"]);
    check("*:0/15", &["Sat 2026-11-21 00:15:00", "Sat 2026-11-21 00:30:00"]);
    check("*/7:10", &["Sat 2026-11-21 00:10:00", "Sat 2026-11-21 07:10:00", "Sat 2026-11-21 14:10:00"]);
    check("0/2:30", &["Sat 2026-11-21 00:30:00", "Sat 2026-11-21 02:30:00"]);
    check("8..17/4:0", &["Sat 2026-11-21 08:00:00", "Sat 2026-11-21 12:00:00", "Sat 2026-11-21 16:00:00"]);
    check("6,4..10:23,5/5", &["Sat 2026-11-21 04:05:00", "Sat 2026-11-21 04:10:00"]);
    check("22:00:30", &["Sat 2026-11-21 22:00:30"]);
    check("*:3:5", &["Sat 2026-11-21 00:03:05"]);
    check("*:*:*", &["Sat 2026-11-21 00:00:01", "Sat 2026-11-21 00:00:02"]);
    // A number alone is a minute of every hour; a step of 0 is the first alone: so PVE reads them.
    check("10", &["Sat 2026-11-21 00:10:00", "Sat 2026-11-21 01:10:00"]);
    check("*", &["Sat 2026-11-21 00:01:00"]);
    check("*/20", &["Sat 2026-11-21 00:20:00", "Sat 2026-11-21 00:40:00", "Sat 2026-11-21 01:00:00"]);
    check("5..9/0:0", &["Sat 2026-11-21 05:00:00", "Sun 2026-11-22 05:00:00"]);
}

#[test]
fn weekdays_and_dates() {
    check("mon", &["Mon 2026-11-23 00:00:00", "Mon 2026-11-30 00:00:00"]);
    check("MON..friDay 22:30", &["Mon 2026-11-23 22:30:00", "Tue 2026-11-24 22:30:00"]);
    check("sat,sun 4:00", &["Sat 2026-11-21 04:00:00", "Sun 2026-11-22 04:00:00", "Sat 2026-11-28 04:00:00"]);
    check("sat..mon", &["Sun 2026-11-22 00:00:00", "Mon 2026-11-23 00:00:00", "Sat 2026-11-28 00:00:00"]);
    check("mon,wed..fri 1:0", &["Mon 2026-11-23 01:00:00", "Wed 2026-11-25 01:00:00", "Thu 2026-11-26 01:00:00"]);
    check("*-*-01", &["Tue 2026-12-01 00:00:00", "Fri 2027-01-01 00:00:00"]);
    check("*-*-01 04:00", &["Tue 2026-12-01 04:00:00"]);
    check("12-24 18:00", &["Thu 2026-12-24 18:00:00", "Fri 2027-12-24 18:00:00"]);
    check("2026-12-24", &["Thu 2026-12-24 00:00:00"]);
    check("2027-*-1..7/3", &["Fri 2027-01-01 00:00:00", "Mon 2027-01-04 00:00:00", "Thu 2027-01-07 00:00:00"]);
    check("2020/4-02-29", &["Tue 2028-02-29 00:00:00", "Sun 2032-02-29 00:00:00"]);
    check("*-*-31", &["Thu 2026-12-31 00:00:00", "Sun 2027-01-31 00:00:00", "Wed 2027-03-31 00:00:00"]);
    // The first Saturday of each month; a Monday that is 29 February.
    check("Sat *-*-1..7 15:00", &["Sat 2026-12-05 15:00:00", "Sat 2027-01-02 15:00:00"]);
    check("mon *-02-29", &["Mon 2044-02-29 00:00:00", "Mon 2072-02-29 00:00:00"]);
    check("  daily  ", &["Sun 2026-11-22 00:00:00"]);
    check("12:00 UTC", &["Sat 2026-11-21 12:00:00"]);
    check("mon *-*-*02:00", &["Mon 2026-11-23 02:00:00"]);
}

/// After the cases of proxmox-time's own tests, from 1970 (a Thursday) on.
#[test]
fn what_proxmox_tests_of_its_own() {
    let from_1970 = |text: &str| {
        let schedule = Schedule::calendar(text, None).unwrap_or_else(|error| panic!("{text}: {error}"));
        schedule.next(-1).or_else(|| panic!("{text} has no slot"))
    };
    const DAY: i64 = 86_400;
    assert_eq!(from_1970("02-28"), Some((31 + 27) * DAY));
    assert_eq!(from_1970("02-29"), Some((2 * 365 + 31 + 28) * DAY));
    assert_eq!(from_1970("1965/5-01-01"), Some(0));
    assert_eq!(from_1970("2020-07-31"), Some(1_596_153_600));
    let lists = Schedule::calendar("2020-7..9-2/2", None).expect("an event");
    assert_eq!(lists.next(1_596_153_600), Some(1_596_153_600 + 2 * DAY));
    let years = Schedule::calendar("2020,2021-12-31", None).expect("an event");
    assert_eq!(years.next(1_596_153_600), Some(1_609_372_800));
    for day in ["mon,tue,fri", "mon,tue..wednesday,fri..sat", "monDay", "fri..mon"] {
        assert!(Schedule::calendar(day, None).is_ok(), "{day}");
    }
}

#[track_caller]
fn refused(text: &str, why: &str) {
    let error = Schedule::calendar(text, None).expect_err(text);
    assert!(error.contains(why), "{text}: {error}");
}

#[test]
fn refusals_say_what_is_expected() {
    refused("", "a calendar event is expected, as `02:00`");
    refused("UTC", "a calendar event is expected");
    refused("24:00", "the hour is 0 to 23, not `24:00`");
    refused("25:30", "the hour is 0 to 23");
    refused("2:60", "the minute is 0 to 59, not `60`");
    refused("2:00:60", "the second is 0 to 59, not `60`");
    refused("60", "the minute is 0 to 59");
    refused("2:", "the minute is 0 to 59, and the text ends there");
    refused(":30", "the hour is 0 to 23, not `:30`");
    refused("17..8:00", "the range of the hour ends before it begins, not `17..8:00`");
    refused("*/0:00", "a step of the hour is 1 to 23, not `0:00`");
    refused("*/24:00", "a step of the hour is 1 to 23");
    refused("*,5", "nothing more is expected after the time, not `,5`");
    refused("02:00 03:00", "nothing more is expected after the time, not `03:00`");
    refused("02:00 mon", "nothing more is expected after the time");
    refused("moon 02:00", "did you mean `mon`?");
    refused("mo..fr", "a weekday (`mon` to `sun`) or a word");
    refused("hourli", "did you mean `hourly`?");
    refused("Daily", "did you mean `daily`?");
    refused("mon..", "a weekday");
    refused("mon,", "a weekday");
    refused("mon-fri", "the month is 1 to 12");
    refused("*-*~1", "`~`, a day counted from the end of the month, is systemd's and not PVE's");
    refused("mon *-02~03 2:00", "is systemd's and not PVE's");
    refused("*-13-01", "the month is 1 to 12, not `13-01`");
    refused("*-*-32", "the day is 1 to 31, not `32`");
    refused("*-*-0", "the day is 1 to 31, not `0`");
    refused("2200-01-01", "the year is 1970 to 2199");
    refused("1969-01-01", "the year is 1970 to 2199");
    refused("jan-01", "a weekday");
    refused("02-30", "is never due");
    refused("2027-02-29", "is never due");
    refused("12h", "nothing more is expected after the time, not `h`");
    refused(&"1,".repeat(600), "1200 bytes");
}

#[test]
fn zones() {
    let error = Schedule::calendar("02:00", Some("Europe/Berln")).expect_err("no such zone");
    assert_eq!(
        error,
        "`Europe/Berln` is no time zone: a name as `Europe/Berlin` or `UTC` is expected; did you mean `Europe/Berlin`?"
    );
    for none in ["", "CET-1CEST", "Mars/Olympus", "../etc/passwd", "Etc/Unknown"] {
        assert!(Schedule::cron("@daily", Some(none)).is_err(), "{none}");
    }
    let error = Schedule::calendar("02:00 UTC", Some("Europe/Berlin")).expect_err("two zones");
    assert_eq!(error, "`02:00 UTC` says UTC and the time zone is Europe/Berlin: leave one of the two out");
    assert!(Schedule::calendar("02:00 UTC", Some("UTC")).is_ok());
    assert_eq!(Schedule::calendar("02:00", None).expect("an event").to_string(), "02:00 (UTC)");
    assert_eq!(berlin(" 02:00 ").to_string(), "02:00 (Europe/Berlin)");
}

#[test]
fn years_that_are_named_end() {
    let schedule = Schedule::calendar("2026-12-24 18:00", None).expect("an event");
    let slot = at("2026-12-24T18:00:00Z");
    assert_eq!((schedule.next(slot - 1), schedule.next(slot)), (Some(slot), None));
    assert_eq!((schedule.last(slot - 1), schedule.last(slot)), (None, Some(slot)));
    assert_eq!((schedule.last(i64::MAX), schedule.next(i64::MIN)), (Some(slot), Some(slot)));
    // Every hour of one day, from far away on both sides.
    let hours = berlin("2026-10-25 *:00");
    assert_eq!(shown(&hours, hours.next(i64::MIN).expect("a slot")), "Sun 2026-10-25 00:00:00");
    assert_eq!(shown(&hours, hours.last(i64::MAX).expect("a slot")), "Sun 2026-10-25 23:00:00");
    assert_eq!(hours.slots(i64::MIN, i64::MAX).count(), 25);
}

#[test]
fn a_year_of_hours_is_found_in_no_time() {
    let schedule = berlin("hourly");
    let from = at("2026-01-01T00:00:00Z");
    let begin = std::time::Instant::now();
    assert_eq!(schedule.slots(from - 1, from + 365 * 86_400 - 1).count(), 8760);
    // 45 ms where this was written, in a debug build; machines that build other things meanwhile take longer.
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
}

#[test]
fn jitter_is_the_same_for_ever_and_spread() {
    let hour = Duration::from_secs(3600);
    // These numbers must never change: a new version would take a snapshot again at another moment of the same slot.
    // (The first 8 bytes of SHA-256 over key, a zero byte and the slot; shifted right by one; the rest of the division.)
    assert_eq!(offset("nightly:101", 1_795_226_400, hour), 1913);
    assert_eq!(offset("nightly:102", 1_795_226_400, hour), 2953);
    for none in [Duration::ZERO, Duration::from_millis(999)] {
        assert_eq!(offset("nightly:101", 0, none), 0);
    }
    assert!((0..i64::MAX).contains(&offset("x", i64::MIN, Duration::MAX)));
    let spread: std::collections::BTreeSet<i64> = (0..100).map(|n| offset(&format!("p:{n}"), 0, hour)).collect();
    assert!(spread.iter().all(|n| (0..3600).contains(n)) && spread.len() > 90, "{spread:?}");
    let (first, last) = (spread.first().expect("many"), spread.last().expect("many"));
    assert!(*first < 400 && *last > 3200, "{spread:?}");
}
