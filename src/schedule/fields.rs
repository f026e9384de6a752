//! The one form of every expression, and the search for the next and the last wall-clock time that fits it. Knows no time
//! zone: what the clock on the wall skips or shows twice is the business of [`crate::schedule::slots`].

use crate::schedule::set::Set;
use jiff::civil::{Date, DateTime, Time};
use std::collections::BTreeSet;

/// Months that a search looks through: the calendar repeats after 400 years, so what is not found by then never comes.
const MONTHS_MAX: usize = 400 * 12;

/// What an expression says of each part of a date and a time. Times are whole seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    /// 0 to 59.
    pub seconds: Set,
    /// 0 to 59.
    pub minutes: Set,
    /// 0 to 23.
    pub hours: Set,
    /// Days of the month, 1 to 31.
    pub days: Set,
    /// 1 to 12.
    pub months: Set,
    /// 0 is Monday, 6 is Sunday.
    pub weekdays: Set,
    /// The years, or every year.
    pub years: Option<BTreeSet<i16>>,
    /// How `days` and `weekdays` go together.
    pub day_rule: DayRule,
}

/// How the day of the month and the weekday go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DayRule {
    /// A day must fit both: calendar events, and cron where one of the two begins with `*`.
    Both,
    /// A day that fits one of the two is enough: cron where both are restricted.
    Either,
}

impl Fields {
    /// Every day at midnight: what a field is where an expression leaves it out.
    pub fn daily() -> Fields {
        Fields {
            seconds: Set::one(0),
            minutes: Set::one(0),
            hours: Set::one(0),
            days: Set::range(1, 31),
            months: Set::range(1, 12),
            weekdays: Set::range(0, 6),
            years: None,
            day_rule: DayRule::Both,
        }
    }

    /// True where it is due in each hour of a day.
    pub fn every_hour(&self) -> bool {
        self.hours == Set::range(0, 23)
    }

    /// True where some year has a day that fits: there is no 31 February.
    pub fn has_a_day(&self) -> bool {
        match &self.years {
            Some(years) => years.iter().any(|year| self.first_day_of(*year).is_some()),
            None => self.day_at_or_after(Date::constant(2000, 1, 1)).is_some(),
        }
    }

    /// True where this wall-clock time fits.
    pub fn fits(&self, at: DateTime) -> bool {
        self.at_or_after(at) == Some(at)
    }

    /// The first wall-clock time that fits and is `from` or later.
    pub fn at_or_after(&self, from: DateTime) -> Option<DateTime> {
        if self.fits_day(from.date())
            && let Some(time) = self.time_at_or_after(from.time())
        {
            return Some(from.date().to_datetime(time));
        }
        let day = self.day_at_or_after(from.date().tomorrow().ok()?)?;
        Some(day.to_datetime(self.time_at_or_after(Time::midnight())?))
    }

    /// The last wall-clock time that fits and is `from` or earlier.
    pub fn at_or_before(&self, from: DateTime) -> Option<DateTime> {
        if self.fits_day(from.date())
            && let Some(time) = self.time_at_or_before(from.time())
        {
            return Some(from.date().to_datetime(time));
        }
        let day = self.day_at_or_before(from.date().yesterday().ok()?)?;
        Some(day.to_datetime(self.time_at_or_before(Time::MAX)?))
    }

    fn time_at_or_after(&self, from: Time) -> Option<Time> {
        let (hour, minute, second) = parts(from);
        let (minute_0, second_0) = (self.minutes.first()?, self.seconds.first()?);
        if self.hours.contains(hour) {
            if self.minutes.contains(minute)
                && let Some(second) = self.seconds.at_or_after(second)
            {
                return time(hour, minute, second);
            }
            if let Some(minute) = self.minutes.at_or_after(minute + 1) {
                return time(hour, minute, second_0);
            }
        }
        time(self.hours.at_or_after(hour + 1)?, minute_0, second_0)
    }

    fn time_at_or_before(&self, from: Time) -> Option<Time> {
        let (hour, minute, second) = parts(from);
        let (minute_n, second_n) = (self.minutes.last()?, self.seconds.last()?);
        if self.hours.contains(hour) {
            if self.minutes.contains(minute)
                && let Some(second) = self.seconds.at_or_before(second)
            {
                return time(hour, minute, second);
            }
            if let Some(minute) = minute.checked_sub(1).and_then(|m| self.minutes.at_or_before(m)) {
                return time(hour, minute, second_n);
            }
        }
        time(self.hours.at_or_before(hour.checked_sub(1)?)?, minute_n, second_n)
    }

    fn fits_day(&self, day: Date) -> bool {
        let year_fits = self.years.as_ref().is_none_or(|years| years.contains(&day.year()));
        year_fits && self.days_of(day.year(), day.month()).contains(small(day.day()))
    }

    fn first_day_of(&self, year: i16) -> Option<Date> {
        self.day_at_or_after(Date::new(year, 1, 1).ok()?).filter(|day| day.year() == year)
    }

    fn day_at_or_after(&self, from: Date) -> Option<Date> {
        let (mut year, mut month, mut day) = (from.year(), from.month(), from.day());
        for _ in 0..MONTHS_MAX {
            let fitting = match &self.years {
                Some(years) => *years.range(year..).next()?,
                None => year,
            };
            if fitting > year {
                (year, month, day) = (fitting, 1, 1);
            }
            if let Some(found) = self.days_of(year, month).at_or_after(small(day)) {
                return date(year, month, found);
            }
            (year, month, day) = if month == 12 { (year.checked_add(1)?, 1, 1) } else { (year, month + 1, 1) };
        }
        None
    }

    fn day_at_or_before(&self, from: Date) -> Option<Date> {
        let (mut year, mut month, mut day) = (from.year(), from.month(), from.day());
        for _ in 0..MONTHS_MAX {
            let fitting = match &self.years {
                Some(years) => *years.range(..=year).next_back()?,
                None => year,
            };
            if fitting < year {
                (year, month, day) = (fitting, 12, 31);
            }
            if let Some(found) = self.days_of(year, month).at_or_before(small(day)) {
                return date(year, month, found);
            }
            (year, month, day) = if month == 1 { (year.checked_sub(1)?, 12, 31) } else { (year, month - 1, 31) };
        }
        None
    }

    /// The days of a month that fit; none where the month does not.
    fn days_of(&self, year: i16, month: i8) -> Set {
        let first = Date::new(year, month, 1).ok().filter(|_| self.months.contains(small(month)));
        let Some(first) = first else { return Set::EMPTY };
        let all = Set::range(1, small(first.days_in_month()));
        let opening = small(first.weekday().to_monday_zero_offset());
        let weekdays = (0..7).filter(|n| self.weekdays.contains((opening + n) % 7));
        let by_weekday = weekdays.fold(Set::EMPTY, |days, n| days.or(Set::steps(1 + n, 31, 7)));
        let fitting = match self.day_rule {
            DayRule::Both => self.days.and(by_weekday),
            DayRule::Either => self.days.or(by_weekday),
        };
        all.and(fitting)
    }
}

fn parts(time: Time) -> (u8, u8, u8) {
    (small(time.hour()), small(time.minute()), small(time.second()))
}

/// A part of a date or a time, which is never negative.
fn small(part: i8) -> u8 {
    u8::try_from(part).unwrap_or(0)
}

fn time(hour: u8, minute: u8, second: u8) -> Option<Time> {
    let part = |n: u8| i8::try_from(n).ok();
    Time::new(part(hour)?, part(minute)?, part(second)?, 0).ok()
}

fn date(year: i16, month: i8, day: u8) -> Option<Date> {
    Date::new(year, month, i8::try_from(day).ok()?).ok()
}
