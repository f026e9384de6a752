//! cron's fields: what is read, what is refused, and croner's own slots.

use super::{at, first};
use crate::schedule::slots::Schedule;
use std::str::FromStr;

#[track_caller]
fn check(text: &str, wanted: &[&str]) {
    let schedule = Schedule::cron(text, None).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(first(&schedule, "2026-11-21T00:00:00Z", wanted.len()), wanted, "{text}");
}

#[test]
fn fields() {
    check("0 2 * * *", &["Sat 2026-11-21 02:00:00", "Sun 2026-11-22 02:00:00"]);
    check("30 22 * * mon-fri", &["Mon 2026-11-23 22:30:00", "Tue 2026-11-24 22:30:00"]);
    check("*/20 * * * *", &["Sat 2026-11-21 00:20:00", "Sat 2026-11-21 00:40:00", "Sat 2026-11-21 01:00:00"]);
    check("5 8-17/4 * * *", &["Sat 2026-11-21 08:05:00", "Sat 2026-11-21 12:05:00", "Sat 2026-11-21 16:05:00"]);
    check("0 0 1 JAN,jul *", &["Fri 2027-01-01 00:00:00", "Thu 2027-07-01 00:00:00"]);
    check("0 0 * * 7", &["Sun 2026-11-22 00:00:00", "Sun 2026-11-29 00:00:00"]);
    check("0 0 * * 0", &["Sun 2026-11-22 00:00:00"]);
    check("0 0 * * fri-sun", &["Sun 2026-11-22 00:00:00", "Fri 2026-11-27 00:00:00", "Sat 2026-11-28 00:00:00"]);
    check("0 0 29 2 *", &["Tue 2028-02-29 00:00:00"]);
    check(" 0\t2 *  * * ", &["Sat 2026-11-21 02:00:00"]);
    check("@daily", &["Sun 2026-11-22 00:00:00"]);
    check("@midnight", &["Sun 2026-11-22 00:00:00"]);
    check("@Hourly", &["Sat 2026-11-21 01:00:00"]);
    check("@weekly", &["Sun 2026-11-22 00:00:00"]);
    check("@monthly", &["Tue 2026-12-01 00:00:00"]);
    check("@yearly", &["Fri 2027-01-01 00:00:00"]);
    check("@annually", &["Fri 2027-01-01 00:00:00"]);
}

#[test]
fn days_of_month_and_week_are_either_where_both_are_restricted() {
    check(
        "0 0 13 * 5",
        &["Fri 2026-11-27 00:00:00", "Fri 2026-12-04 00:00:00", "Fri 2026-12-11 00:00:00", "Sun 2026-12-13 00:00:00"],
    );
    // A field that begins with `*` restricts nothing of its own, as in cron(8): odd days that are Fridays.
    check("0 0 */2 * 5", &["Fri 2026-11-27 00:00:00", "Fri 2026-12-11 00:00:00", "Fri 2026-12-25 00:00:00"]);
    // 31 February never comes, Fridays in February do.
    check("0 0 31 2 5", &["Fri 2027-02-05 00:00:00"]);
}

#[track_caller]
fn refused(text: &str, why: &str) {
    let error = Schedule::cron(text, None).expect_err(text);
    assert!(error.contains(why), "{text}: {error}");
}

#[test]
fn refusals_say_which_field() {
    refused("", "`` has 0 fields: cron's five are expected, minute hour day-of-month month weekday");
    refused("02:00", "has 1 fields");
    refused("0 0 2 * * *", "has 6 fields");
    refused("60 2 * * *", "`60` as the minute of a cron expression: 0 to 59 is expected");
    refused("0 24 * * *", "`24` as the hour of a cron expression: 0 to 23 is expected");
    refused("0 0 0 * *", "`0` as the day of the month of a cron expression: 1 to 31 is expected");
    refused("0 0 * 13 *", "as the month of a cron expression: 1 to 12 or jan to dec is expected");
    refused("0 0 * * 8", "as the weekday of a cron expression: 0 to 7 or sun to sat is expected");
    refused("0 0 * * mo", "`mo` is not 0 to 7 or sun to sat; did you mean `mon`?");
    refused("0 0 * * fri-mon", "a not above b");
    refused("0 17-8 * * *", "a not above b");
    refused("mon 0 * * *", "`mon` is not 0 to 59");
    refused("0 0 * * jan", "`jan` is not 0 to 7");
    refused("0,, 2 * * *", "a value is missing");
    refused("0 2 -3 * *", "a value is missing");
    refused("*/0 * * * *", "a step of 1 or more");
    refused("*/ * * * *", "`` is no step");
    refused("5/10 * * * *", "a step needs a range: `5-59/10` or `*/10`");
    refused("0 0 * 3/2 *", "`3-12/2`");
    refused("0 0 L * *", "`L` is not 1 to 31");
    refused("0 0 15W * *", "`15W` is not 1 to 31");
    refused("0 0 * * 5#2", "`5#2` is not 0 to 7");
    refused("0 0 ? * *", "`?` is not 1 to 31");
    refused("*-5 0 * * *", "`*` is not 0 to 59");
    refused("99999999999 0 * * *", "0 to 59 is expected");
    refused("0 0 30 2 *", "is never due");
    refused("@reboot", "`@reboot` is none of @yearly, @annually, @monthly");
    refused("@dayly", "is none of");
}

#[test]
fn croner_finds_the_same_slots() {
    let expressions = [
        "0 2 * * *",
        "*/7 3-9 * * 1-5",
        "0,30 */5 1,15 * *",
        "15 4 13 * 5",
        "0 0 29 2 *",
        "59 23 31 12 *",
        "5 0 * 8 *",
        "0 12 1-7 * mon",
        "*/15 * * jan-mar sun",
        "0 22 * * 1-5",
        "@weekly",
        "@monthly",
    ];
    for text in expressions {
        let ours = Schedule::cron(text, None).expect(text);
        let theirs = croner::Cron::from_str(text).expect(text);
        let mut here = at("2026-11-21T00:00:00Z");
        for _ in 0..200 {
            let from = jiff::Timestamp::from_second(here).expect("a slot").to_zoned(jiff::tz::TimeZone::UTC);
            let slot = theirs.find_next_occurrence(&from, false).expect(text).timestamp().as_second();
            assert_eq!(ours.next(here), Some(slot), "{text} after {from}");
            here = slot;
        }
    }
}
