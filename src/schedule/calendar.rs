//! Calendar events as Proxmox VE reads them (`proxmox-time`, after systemd.time(7)): `[WEEKDAYS] [DATE] [TIME]`, or one word
//! as `daily`; at the end perhaps `UTC`.
//!
//! What PVE refuses is refused (`~` for days from the end of a month, names of months, `24:00`). Two things that PVE takes
//! are refused as well, since nobody means them: an hour or a date that can never be (PVE reads `25:30` as minute 25,
//! second 30 of every hour), and years before 1970.

use crate::base::diagnostic::nearest;
use crate::schedule::fields::Fields;
use crate::schedule::set::Set;
use std::collections::BTreeSet;

/// Nothing that people write is longer; what is, is not read at all.
const LENGTH_MAX: usize = 1000;

/// The years that an expression may name: PVE and systemd end before 2200.
const YEARS: std::ops::Range<u32> = 1970..2200;

const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

const WORDS: [&str; 10] = [
    "minutely",
    "hourly",
    "daily",
    "weekly",
    "monthly",
    "quarterly",
    "semiannually",
    "semi-annually",
    "yearly",
    "annually",
];

/// A part of a date or a time: what it is called and which numbers it takes (`first..end`, without `end`).
struct Part {
    name: &'static str,
    first: u32,
    end: u32,
}

const YEAR: Part = Part { name: "year", first: 0, end: YEARS.end };
const MONTH: Part = Part { name: "month", first: 1, end: 13 };
const DAY: Part = Part { name: "day", first: 1, end: 32 };
const HOUR: Part = Part { name: "hour", first: 0, end: 24 };
const MINUTE: Part = Part { name: "minute", first: 0, end: 60 };
const SECOND: Part = Part { name: "second", first: 0, end: 60 };

/// What an expression says: its fields, and whether it names UTC itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it is due.
    pub fields: Fields,
    /// True where the expression ends in `UTC`.
    pub utc: bool,
}

/// Reads an expression; an error says which part is wrong and what is expected there.
pub fn read(text: &str) -> Result<Event, String> {
    let whole = text.trim();
    if whole.len() > LENGTH_MAX {
        return Err(format!("a calendar event of {} bytes is not read: {LENGTH_MAX} at most", whole.len()));
    }
    let (rest, utc) = match whole.strip_suffix("UTC") {
        Some(rest) => (rest.trim_end_matches(' '), true),
        None => (whole, false),
    };
    if rest.is_empty() {
        return Err("a calendar event is expected, as `02:00`, `mon..fri 22:30`, `*-*-01 04:00` or `hourly`".to_owned());
    }
    let fields = match word(rest) {
        Some(fields) => fields,
        None => Reader { whole: rest, rest }.event()?,
    };
    if !fields.has_a_day() {
        return Err(format!("`{whole}` is never due: no year has such a day"));
    }
    Ok(Event { fields, utc })
}

/// The expressions that are one word.
fn word(text: &str) -> Option<Fields> {
    let daily = Fields::daily();
    let on_first = |months: Set| Fields { days: Set::one(1), months, ..Fields::daily() };
    Some(match text {
        "minutely" => Fields { hours: Set::range(0, 23), minutes: Set::range(0, 59), ..daily },
        "hourly" => Fields { hours: Set::range(0, 23), ..daily },
        "daily" => daily,
        "weekly" => Fields { weekdays: Set::one(0), ..daily },
        "monthly" => on_first(Set::range(1, 12)),
        "quarterly" => on_first(Set::steps(1, 12, 3)),
        "semiannually" | "semi-annually" => on_first(Set::steps(1, 12, 6)),
        "yearly" | "annually" => on_first(Set::one(1)),
        _ => return None,
    })
}

struct Reader<'a> {
    whole: &'a str,
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn event(mut self) -> Result<Fields, String> {
        let mut fields = Fields::daily();
        if self.rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
            fields.weekdays = self.weekdays()?;
            self.skip_blanks();
        }
        // What comes before the first `:` or blank is a date where it has a `-`.
        let head = self.rest.split([':', ' ', '\t']).next().unwrap_or_default();
        if head.contains('~') {
            return Err(format!(
                "`{}`: `~`, a day counted from the end of the month, is systemd's and not PVE's",
                self.whole
            ));
        }
        match head.matches('-').count() {
            0 => {}
            1 => self.month_and_day(&mut fields)?,
            _ => {
                fields.years = self.years()?;
                self.expect('-', "between year and month")?;
                self.month_and_day(&mut fields)?;
            }
        }
        if !self.rest.is_empty() {
            self.time(&mut fields)?;
        }
        if self.rest.is_empty() { Ok(fields) } else { Err(self.wrong("nothing more is expected after the time")) }
    }

    fn weekdays(&mut self) -> Result<Set, String> {
        let mut days = Set::EMPTY;
        loop {
            let first = self.weekday()?;
            let last = if self.take("..") { self.weekday()? } else { first };
            let count = (last + 7 - first) % 7;
            days = (0..=count).fold(days, |days, n| days.or(Set::one((first + n) % 7)));
            if !self.take(",") {
                return Ok(days);
            }
        }
    }

    fn weekday(&mut self) -> Result<u8, String> {
        let end = self.rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        let known = |(_, day): &(u8, &str)| name.eq_ignore_ascii_case(day) || name.eq_ignore_ascii_case(&day[..3]);
        if let Some((at, _)) = (0u8..).zip(WEEKDAYS).find(known) {
            self.rest = rest;
            return Ok(at);
        }
        let short = WEEKDAYS.iter().map(|day| &day[..3]);
        let near = nearest(name, short.chain(WEEKDAYS).chain(WORDS));
        let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        let found = if name.is_empty() { self.ahead() } else { name };
        let expected = "a weekday (`mon` to `sun`) or a word as `hourly`, `daily`, `weekly`, `monthly` is expected";
        Err(format!("`{}`: {expected}, not `{found}`{near}", self.whole))
    }

    fn month_and_day(&mut self, fields: &mut Fields) -> Result<(), String> {
        fields.months = self.set(&MONTH)?;
        self.expect('-', "between month and day")?;
        fields.days = self.set(&DAY)?;
        self.skip_blanks();
        Ok(())
    }

    /// `HOUR:MINUTE[:SECOND]`, or `MINUTE` alone, which is that minute of every hour.
    fn time(&mut self, fields: &mut Fields) -> Result<(), String> {
        fields.hours = Set::range(0, 23);
        if self.rest.contains(':') {
            fields.hours = self.set(&HOUR)?;
            self.expect(':', "between hour and minute")?;
        }
        fields.minutes = self.set(&MINUTE)?;
        if self.take(":") {
            fields.seconds = self.set(&SECOND)?;
        }
        Ok(())
    }

    fn set(&mut self, part: &Part) -> Result<Set, String> {
        let before = self.rest;
        let all = || part.first..part.end;
        let numbers = self.numbers(part)?;
        let set: Set = all().filter(|n| numbers.fit(*n)).filter_map(|n| u8::try_from(n).ok()).collect();
        if set.is_empty() {
            self.rest = before;
            return Err(self.wrong(&format!("the {} is {} to {}", part.name, part.first, part.end - 1)));
        }
        Ok(set)
    }

    fn years(&mut self) -> Result<Option<BTreeSet<i16>>, String> {
        let before = self.rest;
        let numbers = self.numbers(&YEAR)?;
        if matches!(numbers, Numbers::All) {
            return Ok(None);
        }
        let years: BTreeSet<i16> = YEARS.filter(|n| numbers.fit(*n)).filter_map(|n| i16::try_from(n).ok()).collect();
        if years.is_empty() {
            self.rest = before;
            return Err(self.wrong(&format!("the year is {} to {}", YEARS.start, YEARS.end - 1)));
        }
        Ok(Some(years))
    }

    /// `*`, `*/STEP`, or a list of `A`, `A/STEP`, `A..B`, `A..B/STEP`.
    fn numbers(&mut self, part: &Part) -> Result<Numbers, String> {
        if self.take("*") {
            if !self.take("/") {
                return Ok(Numbers::All);
            }
            let step = self.step(part, 1)?;
            return Ok(Numbers::Some(vec![Run { first: part.first, last: part.end - 1, step }]));
        }
        let mut runs = Vec::new();
        loop {
            let before = self.rest;
            let first = self.number(part)?;
            let range = self.take("..");
            let last = if range { self.number(part)? } else { part.end - 1 };
            if first > last {
                self.rest = before;
                return Err(self.wrong(&format!("the range of the {} ends before it begins", part.name)));
            }
            let step = if self.take("/") { Some(self.step(part, 0)?) } else { None };
            runs.push(match (range, step) {
                (true, None) => Run { first, last, step: 1 },
                // PVE: a step of 0 is the first alone.
                (_, Some(0)) | (false, None) => Run { first, last: first, step: 1 },
                (_, Some(step)) => Run { first, last, step },
            });
            if !self.take(",") {
                return Ok(Numbers::Some(runs));
            }
        }
    }

    fn number(&mut self, part: &Part) -> Result<u32, String> {
        let first = if part.name == YEAR.name { YEARS.start } else { part.first };
        self.digits(part.end).ok_or_else(|| self.wrong(&format!("the {} is {first} to {}", part.name, part.end - 1)))
    }

    fn step(&mut self, part: &Part, lowest: u32) -> Result<u32, String> {
        let before = self.rest;
        let step = self.digits(part.end).filter(|step| *step >= lowest);
        step.ok_or_else(|| {
            self.rest = before;
            self.wrong(&format!("a step of the {} is 1 to {}", part.name, part.end - 1))
        })
    }

    /// A number below `end`.
    fn digits(&mut self, end: u32) -> Option<u32> {
        let length = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(length);
        let number = digits.parse::<u32>().ok().filter(|number| *number < end)?;
        self.rest = rest;
        Some(number)
    }

    fn take(&mut self, token: &str) -> bool {
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, token: char, place: &str) -> Result<(), String> {
        let there = self.take(token.encode_utf8(&mut [0; 4]));
        if there { Ok(()) } else { Err(self.wrong(&format!("`{token}` is expected {place}"))) }
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    /// The next word, to show where reading stopped.
    fn ahead(&self) -> &'a str {
        self.rest.trim_start().split([' ', '\t']).next().unwrap_or_default()
    }

    fn wrong(&self, expected: &str) -> String {
        match self.ahead() {
            "" => format!("`{}`: {expected}, and the text ends there", self.whole),
            ahead => format!("`{}`: {expected}, not `{ahead}`", self.whole),
        }
    }
}

enum Numbers {
    All,
    Some(Vec<Run>),
}

struct Run {
    first: u32,
    last: u32,
    step: u32,
}

impl Numbers {
    fn fit(&self, number: u32) -> bool {
        match self {
            Numbers::All => true,
            Numbers::Some(runs) => runs
                .iter()
                .any(|run| (run.first..=run.last).contains(&number) && (number - run.first).is_multiple_of(run.step)),
        }
    }
}
