//! The periods by which snapshots are counted: hours, days, ISO weeks, months and years of a time zone.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use std::fmt;

/// The rules of a retention in the order in which they choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// `keepLast`: each time is a period of its own.
    Last,
    /// `keepHourly`
    Hourly,
    /// `keepDaily`
    Daily,
    /// `keepWeekly`: ISO weeks, from Monday.
    Weekly,
    /// `keepMonthly`
    Monthly,
    /// `keepYearly`
    Yearly,
}

impl Rule {
    /// In the order in which they choose.
    pub const ALL: [Rule; 6] = [Rule::Last, Rule::Hourly, Rule::Daily, Rule::Weekly, Rule::Monthly, Rule::Yearly];
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::Last => "last",
            Rule::Hourly => "hourly",
            Rule::Daily => "daily",
            Rule::Weekly => "weekly",
            Rule::Monthly => "monthly",
            Rule::Yearly => "yearly",
        })
    }
}

/// A time and its wall-clock time, from which all its periods follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dates {
    time: i64,
    local: DateTime,
    days: i64,
}

impl Dates {
    /// The dates of a moment (seconds since 1970) in a zone.
    pub fn of(time: i64, zone: &TimeZone) -> Dates {
        let within = time.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
        let local = zone.to_datetime(Timestamp::from_second(within).unwrap_or_default());
        let days = Date::constant(1970, 1, 1).until(local.date()).map_or(0, |span| i64::from(span.get_days()));
        Dates { time, local, days }
    }

    /// What tells the periods of a rule apart. The hour that a clock shows twice is one period, as in PVE.
    pub fn key(&self, rule: Rule) -> i64 {
        match rule {
            Rule::Last => self.time,
            Rule::Hourly => self.days * 24 + i64::from(self.local.hour()),
            Rule::Daily => self.days,
            // 1970 began on a Thursday.
            Rule::Weekly => (self.days + 3).div_euclid(7),
            Rule::Monthly => i64::from(self.local.year()) * 12 + i64::from(self.local.month()) - 1,
            Rule::Yearly => i64::from(self.local.year()),
        }
    }

    /// The period of a rule.
    pub fn period(&self, rule: Rule) -> Period {
        Period { rule, key: self.key(rule) }
    }
}

/// One hour, day, week, month or year.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period {
    rule: Rule,
    key: i64,
}

impl Period {
    /// Whose period it is.
    pub fn rule(self) -> Rule {
        self.rule
    }
}

fn day(days: i64) -> Option<Date> {
    Date::constant(1970, 1, 1).checked_add(Span::new().try_days(days).ok()?).ok()
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Period { rule, key } = *self;
        match rule {
            Rule::Last => write!(f, "{}", Timestamp::from_second(key).unwrap_or_default()),
            Rule::Hourly => match day(key.div_euclid(24)) {
                Some(day) => write!(f, "{day} {:02}:00", key.rem_euclid(24)),
                None => write!(f, "{key}"),
            },
            Rule::Daily => match day(key) {
                Some(day) => write!(f, "{day}"),
                None => write!(f, "{key}"),
            },
            Rule::Weekly => match day(key * 7 - 3) {
                Some(monday) => {
                    let week = monday.iso_week_date();
                    write!(f, "{}-W{:02}", week.year(), week.week())
                }
                None => write!(f, "{key}"),
            },
            Rule::Monthly => write!(f, "{:04}-{:02}", key.div_euclid(12), key.rem_euclid(12) + 1),
            Rule::Yearly => write!(f, "{key:04}"),
        }
    }
}
