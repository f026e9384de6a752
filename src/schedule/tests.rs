//! Expressions that are read and refused, slots on ordinary days, and the days on which the clock is changed.

use crate::schedule::slots::{Schedule, offset};
use std::time::Duration;

fn at(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().expect("a time of this test").as_second()
}

fn shown(slot: Option<i64>, schedule: &Schedule) -> String {
    let slot = slot.and_then(|s| jiff::Timestamp::from_second(s).ok());
    slot.map_or_else(|| "none".to_owned(), |s| s.to_zoned(schedule.zone().clone()).strftime("%F %T %:z").to_string())
}

#[track_caller]
fn calendar(text: &str) -> Schedule {
    Schedule::calendar(text, None).expect("a calendar event of this test")
}

#[track_caller]
fn cron(text: &str) -> Schedule {
    Schedule::cron(text, None).expect("a cron expression of this test")
}

/// The first slots after a moment, in UTC.
fn first(schedule: &Schedule, after: &str, count: usize) -> Vec<String> {
    let slots = schedule.slots(at(after), i64::MAX).take(count);
    slots.map(|s| jiff::Timestamp::from_second(s).expect("a slot").strftime("%F %T").to_string()).collect()
}

#[test]
fn smoke() {
    for (text, want) in [
        ("02:00", "2026-11-21 02:00:00"),
        ("mon..fri 22:30", "2026-11-23 22:30:00"),
        ("*-*-01", "2026-12-01 00:00:00"),
        ("*:0/15", "2026-11-21 00:15:00"),
        ("10", "2026-11-21 00:10:00"),
        ("yearly", "2027-01-01 00:00:00"),
        ("*-02-29", "2028-02-29 00:00:00"),
        ("*:*:0/7", "2026-11-21 00:00:07"),
    ] {
        assert_eq!(first(&calendar(text), "2026-11-21T00:00:00Z", 1), [want], "{text}");
    }
    for (text, want) in [
        ("0 2 * * *", "2026-11-21 02:00:00"),
        ("30 22 * * mon-fri", "2026-11-23 22:30:00"),
        ("0 0 13 * 5", "2026-11-27 00:00:00"),
        ("*/20 * * * *", "2026-11-21 00:20:00"),
        ("@monthly", "2026-12-01 00:00:00"),
        ("0 0 * * 7", "2026-11-22 00:00:00"),
    ] {
        assert_eq!(first(&cron(text), "2026-11-21T00:00:00Z", 1), [want], "{text}");
    }
}

#[test]
fn a_year_of_hours_is_found_in_no_time() {
    for text in ["hourly", "0..22:00", "02:00"] {
        let schedule = Schedule::calendar(text, Some("Europe/Berlin")).expect("an event");
        let from = at("2026-01-01T00:00:00Z");
        let begin = std::time::Instant::now();
        let n = schedule.slots(from, from + 365 * 86_400).count();
        eprintln!("{text}: {n} slots in {:?}", begin.elapsed());
    }
    let _ = (offset("k", 0, Duration::from_secs(5)), shown(None, &calendar("daily")));
}
