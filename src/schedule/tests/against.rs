//! Random schedules against a slow reference that walks through all minutes, in zones that change their clocks; and what
//! holds for every text and every time.

use crate::schedule::slots::Schedule;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Days around a change of the clock: zone, first day, days.
const WINDOWS: [(&str, &str, i64); 13] = [
    ("UTC", "2026-02-27", 3),
    ("Europe/Berlin", "2026-03-28", 3),
    ("Europe/Berlin", "2026-10-24", 3),
    ("America/New_York", "2026-03-07", 3),
    ("America/New_York", "2026-10-31", 3),
    ("Australia/Lord_Howe", "2026-04-04", 3),
    ("Australia/Lord_Howe", "2026-10-03", 3),
    ("Pacific/Apia", "2011-12-28", 5),
    // Midnight itself is left out, or shown twice.
    ("America/Sao_Paulo", "2018-11-03", 3),
    ("America/Sao_Paulo", "2018-02-16", 3),
    ("America/Havana", "2026-10-31", 3),
    ("Africa/Casablanca", "2026-02-14", 3),
    ("Asia/Kathmandu", "1985-12-31", 3),
];

/// A schedule as lists of numbers; an empty list is all of them.
#[derive(Clone, Debug)]
struct Lists {
    minutes: BTreeSet<i8>,
    hours: BTreeSet<i8>,
    days: BTreeSet<i8>,
    /// 1 is Monday, 7 is Sunday.
    weekdays: BTreeSet<i8>,
}

impl Lists {
    fn text(&self, name: fn(i8) -> String, numbers: &BTreeSet<i8>) -> String {
        let all: Vec<String> = numbers.iter().map(|n| name(*n)).collect();
        if all.is_empty() { "*".to_owned() } else { all.join(",") }
    }

    fn calendar(&self) -> String {
        const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let weekday = |n: i8| NAMES[usize::try_from(n - 1).expect("1 to 7")].to_owned();
        let number = |n: i8| n.to_string();
        let weekdays = if self.weekdays.is_empty() { String::new() } else { self.text(weekday, &self.weekdays) + " " };
        format!(
            "{weekdays}*-*-{} {}:{}",
            self.text(number, &self.days),
            self.text(number, &self.hours),
            self.text(number, &self.minutes)
        )
    }

    fn cron(&self) -> String {
        let number = |n: i8| n.to_string();
        let of = |numbers| self.text(number, numbers);
        format!("{} {} {} * {}", of(&self.minutes), of(&self.hours), of(&self.days), of(&self.weekdays))
    }

    fn fits(&self, time: DateTime, either: bool) -> bool {
        let within = |numbers: &BTreeSet<i8>, n: i8| numbers.is_empty() || numbers.contains(&n);
        let day = within(&self.days, time.day());
        let weekday = within(&self.weekdays, time.weekday().to_monday_one_offset());
        let restricted = !self.days.is_empty() && !self.weekdays.is_empty();
        let fits = if either && restricted { day || weekday } else { day && weekday };
        fits && within(&self.hours, time.hour()) && within(&self.minutes, time.minute())
    }

    fn every_hour(&self) -> bool {
        self.hours.is_empty() || self.hours.len() == 24
    }
}

fn lists() -> impl Strategy<Value = Lists> {
    let some = |range: std::ops::RangeInclusive<i8>, most: usize| {
        prop_oneof![Just(BTreeSet::new()), proptest::collection::btree_set(range, 1..=most)]
    };
    let hours = prop_oneof![
        2 => some(0..=4, 4),
        1 => some(0..=23, 6),
        1 => Just((0..24).collect::<BTreeSet<i8>>()),
    ];
    (some(0..=59, 5), hours, some(1..=31, 20), some(1..=7, 5)).prop_map(|(minutes, hours, days, weekdays)| Lists {
        minutes,
        hours,
        days,
        weekdays,
    })
}

/// What is due in a window, by looking at each minute of it. `clock` is each minute with what the clock shows then.
fn reference(lists: &Lists, either: bool, clock: &[(i64, DateTime)]) -> Vec<i64> {
    if lists.every_hour() {
        return clock.iter().filter(|(_, shown)| lists.fits(*shown, either)).map(|(at, _)| *at).collect();
    }
    let mut due = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut latest: Option<DateTime> = None;
    for (at, shown) in clock {
        // What lies between the latest time shown so far and this one was left out: it is due now.
        let mut time = latest.map_or(*shown, |latest| latest + jiff::Span::new().minutes(1));
        while time < *shown {
            if lists.fits(time, either) {
                due.insert(*at);
            }
            time += jiff::Span::new().minutes(1);
        }
        if seen.insert(*shown) && lists.fits(*shown, either) {
            due.insert(*at);
        }
        latest = latest.max(Some(*shown));
    }
    due.into_iter().collect()
}

fn clock(zone: &str, first: &str, days: i64) -> Vec<(i64, DateTime)> {
    let zone = TimeZone::get(zone).expect("a zone of this test");
    let date: jiff::civil::Date = first.parse().expect("a date of this test");
    let from = date.to_zoned(zone.clone()).expect("midnight of this test").timestamp();
    let minutes = (0..days * 1440).map(|n| from + jiff::SignedDuration::from_mins(n));
    minutes.map(|at| (at.as_second(), zone.to_datetime(at))).collect()
}

#[test]
fn each_change_of_the_clock_is_in_its_window() {
    for (zone, first, days) in &WINDOWS[1..] {
        let clock = clock(zone, first, *days);
        let moved = clock.windows(2).any(|pair| pair[1].1 != pair[0].1 + jiff::Span::new().minutes(1));
        assert!(moved, "{zone} does not change its clock from {first} on");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_missed_and_nothing_doubled(lists in lists()) {
        for (zone, first, days) in WINDOWS {
            let clock = clock(zone, first, days);
            let (from, until) = (clock[0].0, clock[clock.len() - 1].0);
            for either in [false, true] {
                let (text, schedule) = match either {
                    false => (lists.calendar(), Schedule::calendar(&lists.calendar(), Some(zone))),
                    true => (lists.cron(), Schedule::cron(&lists.cron(), Some(zone))),
                };
                let schedule = schedule.map_err(TestCaseError::fail)?;
                let wanted = reference(&lists, either, &clock);
                let found: Vec<i64> = schedule.slots(from - 1, until).collect();
                prop_assert_eq!(&found, &wanted, "{} in {} from {}", text, zone, first);
                // Asked at any moment, also while an hour is shown for the second time.
                for (at, shown) in clock.iter().step_by(29) {
                    let past = wanted.partition_point(|slot| slot <= at);
                    if let Some(last) = past.checked_sub(1) {
                        prop_assert_eq!(schedule.last(*at), Some(wanted[last]), "{} at {} in {}", text, shown, zone);
                    }
                    if let Some(next) = wanted.get(past) {
                        prop_assert_eq!(schedule.next(*at), Some(*next), "{} at {} in {}", text, shown, zone);
                    }
                }
                // Backwards the same.
                let back = std::iter::successors(schedule.last(until), |slot| schedule.last(*slot - 1));
                let mut back: Vec<i64> = back.take_while(|slot| *slot >= from).collect();
                back.reverse();
                prop_assert_eq!(&back, &wanted, "backwards: {} in {} from {}", text, zone, first);
            }
        }
    }

    #[test]
    fn next_and_last_agree(lists in lists(), at in 0i64..4_000_000_000, window in 0..WINDOWS.len()) {
        let zone = WINDOWS[window].0;
        let schedule = Schedule::calendar(&lists.calendar(), Some(zone)).map_err(TestCaseError::fail)?;
        let next = schedule.next(at).ok_or_else(|| TestCaseError::fail("these have no end"))?;
        let last = schedule.last(at).ok_or_else(|| TestCaseError::fail("these have no beginning"))?;
        prop_assert!(last <= at && at < next);
        prop_assert_eq!(schedule.last(next), Some(next));
        prop_assert_eq!(schedule.last(next - 1), Some(last), "nothing lies between the two");
        prop_assert_eq!(schedule.next(last), Some(next));
        prop_assert_eq!(schedule.next(last - 1), Some(last));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn no_text_and_no_time_is_too_odd(
        text in prop_oneof![".{0,30}", "[a-z0-9*/.,:~ UTC-]{0,24}", "([0-9*]{1,2}[/.,-]?[0-9]{0,3} ){4,6}"],
        at in prop_oneof![any::<i64>(), -400_000_000_000i64..300_000_000_000],
        zone in prop_oneof![Just("UTC".to_owned()), Just("Pacific/Apia".to_owned()), ".{0,12}"],
    ) {
        for schedule in [Schedule::calendar(&text, Some(&zone)), Schedule::cron(&text, Some(&zone))].into_iter().flatten() {
            if let Some(next) = schedule.next(at) {
                prop_assert!(next > at);
                prop_assert_eq!(schedule.last(next), Some(next));
            }
            if let Some(last) = schedule.last(at) {
                prop_assert!(last <= at);
            }
        }
    }

    #[test]
    fn the_ends_of_time(lists in lists(), far in 0i64..200_000) {
        for zone in ["UTC", "Pacific/Apia", "America/New_York"] {
            let schedule = Schedule::calendar(&lists.calendar(), Some(zone)).map_err(TestCaseError::fail)?;
            let (begin, end) = (jiff::Timestamp::MIN.as_second(), jiff::Timestamp::MAX.as_second());
            for at in [i64::MIN, i64::MAX, begin - far, begin + far, end - far, end + far] {
                prop_assert!(schedule.next(at).is_none_or(|next| next > at));
                prop_assert!(schedule.last(at).is_none_or(|last| last <= at));
            }
        }
    }
}
