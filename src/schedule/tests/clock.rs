//! The two days a year on which the clock on the wall is changed, and one that a country left out.

use super::{at, berlin, first};
use crate::schedule::slots::Schedule;

/// The slots of one day and a bit, with the offset in force, in the schedule's zone.
fn slots(schedule: &Schedule, after: &str, until: &str) -> Vec<String> {
    let zoned = |slot| jiff::Timestamp::from_second(slot).expect("a slot").to_zoned(schedule.zone().clone());
    schedule.slots(at(after), at(until)).map(|slot| zoned(slot).strftime("%d %H:%M %:z").to_string()).collect()
}

const SPRING: (&str, &str) = ("2026-03-28T23:30:00Z", "2026-03-29T02:30:00Z"); // 00:30 to 04:30, 02:00 to 03:00 left out
const AUTUMN: (&str, &str) = ("2026-10-24T22:30:00Z", "2026-10-25T03:00:00Z"); // 00:30 to 04:00, 02:00 to 03:00 twice

#[test]
fn a_time_in_the_gap_is_due_right_after_it() {
    let spring = |text| slots(&berlin(text), SPRING.0, SPRING.1);
    assert_eq!(spring("02:30"), ["29 03:00 +02:00"]);
    assert_eq!(spring("02:00"), ["29 03:00 +02:00"]);
    assert_eq!(spring("2:0/10"), ["29 03:00 +02:00"], "six times, one gap, one slot");
    assert_eq!(spring("1..3:30"), ["29 01:30 +01:00", "29 03:00 +02:00", "29 03:30 +02:00"]);
    assert_eq!(spring("2..3:00"), ["29 03:00 +02:00"], "02:00 moves to where 03:00 is");
    assert_eq!(spring("03:00"), ["29 03:00 +02:00"]);
    let cron = Schedule::cron("30 2 * * *", Some("Europe/Berlin")).expect("an expression");
    assert_eq!(slots(&cron, SPRING.0, SPRING.1), ["29 03:00 +02:00"]);
    assert_eq!(first(&berlin("02:30"), SPRING.0, 2), ["Sun 2026-03-29 03:00:00", "Mon 2026-03-30 02:30:00"]);
}

#[test]
fn a_time_that_is_shown_twice_is_due_once() {
    let autumn = |text| slots(&berlin(text), AUTUMN.0, AUTUMN.1);
    assert_eq!(autumn("02:30"), ["25 02:30 +02:00"]);
    assert_eq!(autumn("2:0/20"), ["25 02:00 +02:00", "25 02:20 +02:00", "25 02:40 +02:00"]);
    assert_eq!(autumn("1..3:00"), ["25 01:00 +02:00", "25 02:00 +02:00", "25 03:00 +01:00"]);
    // Asked in the middle of the second showing: the slot is past.
    let second = at("2026-10-25T01:10:00Z");
    assert_eq!(berlin("02:30").last(second), Some(at("2026-10-25T00:30:00Z")));
    assert_eq!(berlin("02:30").next(second), Some(at("2026-10-26T01:30:00Z")));
    assert_eq!(berlin("2:*:*").next(second), Some(at("2026-10-26T01:00:00Z")));
}

#[test]
fn every_hour_follows_the_clock() {
    let hours = berlin("hourly");
    assert_eq!(
        slots(&hours, SPRING.0, SPRING.1),
        ["29 01:00 +01:00", "29 03:00 +02:00", "29 04:00 +02:00"],
        "each of them an hour after the other"
    );
    assert_eq!(
        slots(&hours, AUTUMN.0, AUTUMN.1),
        ["25 01:00 +02:00", "25 02:00 +02:00", "25 02:00 +01:00", "25 03:00 +01:00", "25 04:00 +01:00"]
    );
    assert_eq!(slots(&berlin("*:30"), SPRING.0, SPRING.1), ["29 01:30 +01:00", "29 03:30 +02:00", "29 04:30 +02:00"]);
    let quarters = Schedule::cron("*/15 * * * *", Some("Europe/Berlin")).expect("an expression");
    for (after, until) in [SPRING, AUTUMN] {
        let times: Vec<i64> = quarters.slots(at(after), at(until)).collect();
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 900), "{times:?}");
    }
}

#[test]
fn half_an_hour_on_lord_howe() {
    let howe = |text| Schedule::calendar(text, Some("Australia/Lord_Howe")).expect("an event");
    // 2026-10-04: 02:00 to 02:30 left out; 2026-04-05: 01:30 to 02:00 twice.
    let (spring, autumn) =
        (("2026-10-03T13:40:00Z", "2026-10-03T17:00:00Z"), ("2026-04-04T13:10:00Z", "2026-04-04T16:30:00Z"));
    assert_eq!(slots(&howe("02:15"), spring.0, spring.1), ["04 02:30 +11:00"]);
    assert_eq!(slots(&howe("01:45"), autumn.0, autumn.1), ["05 01:45 +11:00"]);
    assert_eq!(slots(&howe("hourly"), spring.0, spring.1), ["04 01:00 +10:30", "04 03:00 +11:00", "04 04:00 +11:00"]);
    assert_eq!(
        slots(&howe("*:45"), autumn.0, autumn.1),
        ["05 00:45 +11:00", "05 01:45 +11:00", "05 01:45 +10:30", "05 02:45 +10:30"]
    );
}

#[test]
fn the_day_that_samoa_left_out() {
    let apia = |text| Schedule::calendar(text, Some("Pacific/Apia")).expect("an event");
    // After Thursday 2011-12-29 came Saturday 2011-12-31.
    assert_eq!(
        first(&apia("02:00"), "2011-12-29T11:00:00Z", 4),
        ["Thu 2011-12-29 02:00:00", "Sat 2011-12-31 00:00:00", "Sat 2011-12-31 02:00:00", "Sun 2012-01-01 02:00:00"]
    );
    assert_eq!(
        first(&apia("fri 02:00"), "2011-12-29T11:00:00Z", 2),
        ["Sat 2011-12-31 00:00:00", "Fri 2012-01-06 02:00:00"]
    );
    assert_eq!(
        slots(&apia("hourly"), "2011-12-30T08:30:00Z", "2011-12-30T11:30:00Z"),
        ["29 23:00 -10:00", "31 00:00 +14:00", "31 01:00 +14:00"]
    );
}
