//! cron's five fields: minute, hour, day of the month, month, weekday; and its nicknames (`@daily`).
//!
//! Each field is held against cron's own grammar before croner reads it: croner knows extensions (`L`, `W`, `#`, seconds,
//! years) that the cron of a node would refuse, and does not say in which field it stumbled.

use crate::base::diagnostic::nearest;
use crate::schedule::fields::{DayRule, Fields};
use crate::schedule::set::Set;
use croner::parser::{CronParser, Seconds, Year};

/// Nothing that people write is longer; what is, is not read at all.
const LENGTH_MAX: usize = 1000;

const WEEKDAYS: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
const MONTHS: &[&str] = &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];

/// The nicknames of cron(8) and what they stand for. `@reboot` is no time and has no place here.
const NICKNAMES: &[(&str, &str)] = &[
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// One of the five places: what it is called, which numbers it takes, which names.
struct Place {
    name: &'static str,
    range: &'static str,
    names: &'static [&'static str],
}

const PLACES: [Place; 5] = [
    Place { name: "minute", range: "0 to 59", names: &[] },
    Place { name: "hour", range: "0 to 23", names: &[] },
    Place { name: "day of the month", range: "1 to 31", names: &[] },
    Place { name: "month", range: "1 to 12 or jan to dec", names: MONTHS },
    Place { name: "weekday", range: "0 to 7 or sun to sat", names: WEEKDAYS },
];

/// Reads an expression; an error says which field is wrong and what is expected there.
pub fn read(text: &str) -> Result<Fields, String> {
    let text = text.trim();
    if text.len() > LENGTH_MAX {
        return Err(format!("a cron expression of {} bytes is not read: {LENGTH_MAX} at most", text.len()));
    }
    let spelled = if text.starts_with('@') { nickname(text)? } else { text };
    let words: Vec<&str> = spelled.split_ascii_whitespace().collect();
    let Ok(words) = <[&str; 5]>::try_from(words.as_slice()) else {
        return Err(format!(
            "`{text}` has {} fields: cron's five are expected, minute hour day-of-month month weekday, as in `0 2 * * 1-5`",
            words.len()
        ));
    };
    let [minutes, hours, days, months, weekdays] = std::array::from_fn(|at| values(at, words[at]));
    // cron(8): a day field that begins with `*` restricts nothing of its own, and then both have to fit.
    let either = !words[2].starts_with('*') && !words[4].starts_with('*');
    let fields = Fields {
        minutes: minutes?,
        hours: hours?,
        days: days?,
        months: months?,
        weekdays: weekdays?,
        day_rule: if either { DayRule::Either } else { DayRule::Both },
        ..Fields::daily()
    };
    if fields.has_a_day() { Ok(fields) } else { Err(format!("`{text}` is never due: no year has such a day")) }
}

fn nickname(text: &str) -> Result<&'static str, String> {
    let found = NICKNAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    found.map(|(_, spelled)| *spelled).ok_or_else(|| {
        let names: Vec<&str> = NICKNAMES.iter().map(|(name, _)| *name).collect();
        format!("`{text}` is none of {}", names.join(", "))
    })
}

/// The numbers of one field.
fn values(at: usize, word: &str) -> Result<Set, String> {
    let place = &PLACES[at];
    let wrong = |why: &str| format!("`{word}` as the {} of a cron expression: {why}", place.name);
    for part in word.split(',') {
        well_formed(place, part).map_err(|why| wrong(&why))?;
    }
    let mut words = ["*"; 5];
    words[at] = word;
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    let read = parser.parse(&words.join(" ")).map_err(|_| {
        wrong(&format!(
            "{} is expected, `*`, `a-b` with a not above b, or `*/step` with a step of 1 or more",
            place.range
        ))
    })?;
    let pattern = read.pattern;
    let field = [pattern.minutes, pattern.hours, pattern.days, pattern.months, pattern.days_of_week];
    let numbers = field[at].values().into_iter().filter_map(|n| u8::try_from(n).ok());
    // cron counts weekdays from Sunday (0 and 7), we from Monday.
    Ok(numbers.map(|n| if at == 4 { (n + 6) % 7 } else { n }).collect())
}

/// Holds one part of a list against `*`, `a`, `a-b` with `/step` after `*` and `a-b`.
fn well_formed(place: &Place, part: &str) -> Result<(), String> {
    let (range, step) = part.split_once('/').map_or((part, None), |(range, step)| (range, Some(step)));
    let (first, last) = range.split_once('-').map_or((range, None), |(first, last)| (first, Some(last)));
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    for end in [Some(first), last].into_iter().flatten() {
        let named = place.names.iter().any(|name| name.eq_ignore_ascii_case(end));
        if number(end) || named || (end == "*" && last.is_none()) {
            continue;
        }
        let near = nearest(end, place.names.iter().copied()).map(str::to_lowercase);
        let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        return Err(match end {
            "" => format!("a value is missing; {} is expected", place.range),
            _ => format!("`{end}` is not {}{near}", place.range),
        });
    }
    match step {
        Some(step) if !number(step) => Err(format!("`{step}` is no step; a number is expected after `/`")),
        Some(step) if range != "*" && last.is_none() => {
            Err(format!("a step needs a range: `{first}-{}/{step}` or `*/{step}`", highest(place)))
        }
        Some(_) | None => Ok(()),
    }
}

/// The largest number of a place, from the words that name its range.
fn highest(place: &Place) -> &'static str {
    place.range.split(' ').rfind(|word| word.bytes().all(|b| b.is_ascii_digit())).unwrap_or_default()
}
