//! `snapshot simulate`: snapshot policies played over time without a cluster, to see what a retention comes to before it is in
//! force. Nothing is read but manifests, and nothing is sent.

use crate::base::clock::Clock;
use crate::base::quantity::parse_seconds;
use crate::cli::args::guests::SnapshotSimulate;
use crate::cli::declared;
use crate::cli::exit;
use crate::cli::output::{self, Format, table, utc};
use crate::cli::policies::{self, Policy, local};
use crate::cli::run::{Ended, Failure, print};
use crate::cli::session::WallClock;
use crate::kinds::snapshot_policy::NAME;
use crate::kinds::snapshot_policy::member::span;
use crate::kinds::snapshot_policy::name::prefix;
use crate::retention::judge::{Item, Verdict};
use crate::retention::play::{self, Played, What, play, until_when};
use crate::schedule::slots::Schedule;
use jiff::civil::Date;
use jiff::{SignedDuration, Span, Timestamp, Zoned};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How many of the first runs are shown.
const FIRST_SHOWN: usize = 5;
/// How many of the snapshots that are left the table shows, the newest; all of them are in `-o json`.
const LEFT_SHOWN: usize = 100;
/// Snapshots that one policy may take while it is played: some minutes of work where all of them are kept.
const SLOTS_MAX: usize = 40_000;

/// How long a policy is played: `1y`, `6w`, or a span as in manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// Years of the calendar.
    Years(u16),
    /// Days of the calendar, of which two a year have no 24 hours.
    Days(u32),
    /// Seconds.
    Seconds(u64),
}

/// Reads `--for`.
pub fn length(text: &str) -> Result<Length, String> {
    let number = |unit| text.strip_suffix(unit)?.parse::<u16>().ok();
    let length = match (number('y'), number('w'), number('d')) {
        (Some(years), _, _) => Some(Length::Years(years)),
        (None, Some(weeks), _) => Some(Length::Days(u32::from(weeks) * 7)),
        (None, None, Some(days)) => Some(Length::Days(u32::from(days))),
        (None, None, None) => parse_seconds(text).map(Length::Seconds),
    };
    let some = length.filter(|length| !matches!(length, Length::Years(0) | Length::Days(0) | Length::Seconds(0)));
    some.ok_or_else(|| "expected a span of time such as 1y, 26w, 90d or 36h".to_owned())
}

/// The end of a span that begins at a time; `None` outside of the calendar.
fn end(begin: &Zoned, length: Length) -> Option<Zoned> {
    match length {
        Length::Years(years) => begin.checked_add(Span::new().try_years(years).ok()?).ok(),
        Length::Days(days) => begin.checked_add(Span::new().try_days(days).ok()?).ok(),
        Length::Seconds(seconds) => begin.checked_add(SignedDuration::from_secs(i64::try_from(seconds).ok()?)).ok(),
    }
}

/// Reads `--from`: a day, which begins at midnight in the policy's zone, or a time.
pub fn start(text: &str) -> Result<Start, String> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(Start::At(at));
    }
    let day = text.parse::<Date>().map(Start::Day);
    day.map_err(|_| "expected a day such as 2026-01-01, or a time such as 2026-01-01T12:00:00Z".to_owned())
}

/// When the play begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At midnight in the policy's zone.
    Day(Date),
    /// At a moment.
    At(Timestamp),
}

/// `snapshot simulate`.
pub fn simulate(args: &SnapshotSimulate) -> Ended {
    let tree = declared::read(NAME, &args.files)?;
    let only = declared::chosen(NAME, &tree, &args.policy)?;
    let wanted = tree.desired.resources.values().filter(|want| only.contains(&want.resource));
    let chosen: Vec<Policy<'_>> = wanted.filter_map(policies::policy).collect();
    if chosen.is_empty() {
        return Err(Failure::new(exit::USAGE, format!("the manifests declare no {NAME}")));
    }
    let plays = chosen.iter().map(|policy| Play::of(policy, args)).collect::<Result<Vec<_>, Failure>>()?;
    match &args.format.output {
        Some(Format::Value(form)) => {
            let value = Value::from(plays.iter().map(Play::json).collect::<Vec<_>>());
            print(&output::write(&value, form)?);
        }
        Some(Format::Name) => plays.iter().flat_map(|play| &play.played.left).for_each(|(item, _)| {
            print(&format!("{}\n", item.name));
        }),
        Some(Format::Table | Format::Wide) | None => {
            let texts: Vec<String> = plays.iter().map(Play::text).collect();
            print(&texts.join("\n"));
        }
    }
    Ok(exit::DONE)
}

/// A policy that was played.
struct Play<'a> {
    policy: &'a Policy<'a>,
    from: i64,
    until: i64,
    first: Vec<i64>,
    played: Played,
    /// When each of what is left will be pruned.
    gone: Vec<Option<i64>>,
}

/// What happened in a month.
#[derive(Default)]
struct Month {
    taken: usize,
    pruned: usize,
    left: usize,
}

impl<'a> Play<'a> {
    fn of(policy: &'a Policy<'a>, args: &SnapshotSimulate) -> Result<Play<'a>, Failure> {
        let schedule = &policy.rule.schedule;
        let far = || Failure::new(exit::USAGE, "such a time is outside of the calendar");
        let begin = begin(args.from, schedule).ok_or_else(far)?;
        let end = end(&begin, args.length).ok_or_else(far)?;
        let (from, until) = (begin.timestamp().as_second(), end.timestamp().as_second());
        let slots = || schedule.slots(from - 1, until - 1);
        if slots().nth(SLOTS_MAX).is_some() {
            let why = format!("{NAME}/{} takes more than {SLOTS_MAX} snapshots in that time", policy.name);
            return Err(Failure::new(exit::USAGE, why).hint("play less of it: --for 30d"));
        }
        let prefix = prefix(policy.name, policy.spec);
        let rules = play::Policy { schedule, keep: &policy.rule.keep, prefix: &prefix };
        let played = play(rules, from, until);
        let left: Vec<Item> = played.left.iter().map(|(item, _)| item.clone()).collect();
        let gone = until_when(&left, rules, until - 1);
        Ok(Play { policy, from, until, first: slots().take(FIRST_SHOWN).collect(), played, gone })
    }

    fn taken(&self) -> usize {
        self.played.events.iter().filter(|event| matches!(event.what, What::Taken(_))).count()
    }

    fn pruned(&self) -> usize {
        self.played.events.len() - self.taken()
    }

    fn age(&self, item: &Item) -> i64 {
        self.until - item.time
    }

    fn months(&self) -> BTreeMap<String, Month> {
        let mut months: BTreeMap<String, Month> = BTreeMap::new();
        let mut left = 0usize;
        for event in &self.played.events {
            let month = months.entry(local(&self.policy.rule.schedule, event.at)[..7].to_owned()).or_default();
            match &event.what {
                What::Taken(_) => (month.taken, left) = (month.taken + 1, left + 1),
                What::Pruned(_) => (month.pruned, left) = (month.pruned + 1, left.saturating_sub(1)),
            }
            month.left = left;
        }
        months
    }

    fn text(&self) -> String {
        let Play { policy, from, until, first, played, gone } = self;
        let schedule = &policy.rule.schedule;
        let mut out = format!("{NAME}/{}: {schedule}\n", policy.name);
        out += &format!("Keeps:   {}\n", policy.rule.keep);
        out += &format!("Played:  from {} to {}\n", local(schedule, *from), local(schedule, *until));
        for (n, slot) in first.iter().enumerate() {
            out += &format!("{}{}\n", if n == 0 { "Runs:    " } else { "         " }, weekday(schedule, *slot));
        }
        let Some(last) = played.events.last() else {
            return out + "No run in that time.\n";
        };
        if first.last().is_some_and(|shown| *shown < last.at) {
            out += &format!("         … {}\n", weekday(schedule, last.at));
        }
        out += &format!("Taken:   {}\nPruned:  {}\nLeft:    {}\n", self.taken(), self.pruned(), played.left.len());
        let (most, at) = played.most;
        out += &format!(
            "Most:    {most} at once{}\n",
            at.map_or(String::new(), |at| format!(", first on {}", local(schedule, at)))
        );
        if let Some((age, name)) = &played.oldest {
            out += &format!("Oldest:  {name}, when it was {} old\n", span(*age));
        }
        let months = self.months().into_iter();
        let months =
            months.map(|(month, of)| vec![month, of.taken.to_string(), of.pruned.to_string(), of.left.to_string()]);
        out += "By month:\n";
        out += &indented(&table(&["MONTH", "TAKEN", "PRUNED", "LEFT"], months));
        let hidden = played.left.len().saturating_sub(LEFT_SHOWN);
        out += "What is left:\n";
        if hidden > 0 {
            out += &format!("  {hidden} older ones are not shown (-o json has them)\n");
        }
        let rows = played.left.iter().zip(gone).skip(hidden).map(|((item, verdict), gone)| {
            let until = gone.map_or_else(|| "further on".to_owned(), |at| local(schedule, at));
            vec![item.name.clone(), span(self.age(item)), verdict.reason.to_string(), until]
        });
        out + &indented(&table(&["SNAPSHOT", "AGE", "RULE", "UNTIL"], rows))
    }

    fn json(&self) -> Value {
        let Play { policy, from, until, first, played, gone } = self;
        let Played { left, events, most, oldest } = played;
        let left = left.iter().zip(gone).map(|((item, Verdict { reason, .. }), gone)| {
            json!({
                "name": item.name, "taken": utc(item.time), "ageSeconds": self.age(item), "rule": reason.to_string(),
                "until": gone.and_then(utc),
            })
        });
        let classes = !policy.rule.keep.classes.is_empty();
        let events = events.iter().map(|event| {
            let (what, why) = match &event.what {
                What::Taken(class) => ("taken", classes.then(|| class.to_string())),
                What::Pruned(reason) => ("pruned", Some(reason.to_string())),
            };
            json!({ "at": utc(event.at), "name": event.name, "event": what, "rule": why })
        });
        let months = self.months().into_iter().map(|(month, Month { taken, pruned, left })| {
            json!({ "month": month, "taken": taken, "pruned": pruned, "left": left })
        });
        json!({
            "policy": policy.name, "schedule": policy.rule.schedule.text(), "timeZone": policy.rule.schedule.zone_name(),
            "keep": policy.rule.keep.to_string(), "from": utc(*from), "until": utc(*until),
            "runs": first.iter().filter_map(|at| utc(*at)).collect::<Vec<_>>(),
            "taken": self.taken(), "pruned": self.pruned(),
            "most": { "count": most.0, "at": most.1.and_then(utc) },
            "oldest": oldest.as_ref().map(|(age, name)| json!({ "name": name, "ageSeconds": age })),
            "months": months.collect::<Vec<_>>(), "left": left.collect::<Vec<_>>(), "events": events.collect::<Vec<_>>(),
        })
    }
}

/// The begin of the play: what was asked for, else today.
fn begin(from: Option<Start>, schedule: &Schedule) -> Option<Zoned> {
    let zone = schedule.zone().clone();
    match from {
        Some(Start::At(at)) => Some(at.to_zoned(zone)),
        Some(Start::Day(day)) => day.to_zoned(zone).ok(),
        None => {
            let now = Timestamp::from_millisecond(i64::try_from(WallClock.now_ms()).ok()?).ok()?;
            now.to_zoned(zone).start_of_day().ok()
        }
    }
}

fn weekday(schedule: &Schedule, at: i64) -> String {
    let time = Timestamp::from_second(at).map(|time| time.to_zoned(schedule.zone().clone()));
    time.map(|time| time.strftime("%a %Y-%m-%d %H:%M %:z").to_string()).unwrap_or_default()
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_starts() {
        assert_eq!(length("1y"), Ok(Length::Years(1)));
        assert_eq!(length("6w"), Ok(Length::Days(42)));
        assert_eq!(length("90d"), Ok(Length::Days(90)));
        assert_eq!(length("36h"), Ok(Length::Seconds(36 * 3600)));
        let begin: Zoned = "2026-01-01T00:00[Europe/Berlin]".parse().expect("a time");
        assert_eq!(
            end(&begin, Length::Days(90)).map(|end| end.to_string()).as_deref(),
            Some("2026-04-01T00:00:00+02:00[Europe/Berlin]")
        );
        assert_eq!(end(&begin, Length::Years(9000)), None);
        assert_eq!(end(&begin, Length::Seconds(u64::MAX)), None);
        for wrong in ["", "0d", "0y", "y", "-1y", "1 y", "99999y", "70000w", "soon"] {
            assert!(length(wrong).is_err(), "{wrong}");
        }
        assert_eq!(start("2026-01-01"), Ok(Start::Day(Date::constant(2026, 1, 1))));
        assert!(matches!(start("2026-01-01T12:00:00Z"), Ok(Start::At(_))));
        assert!(start("tomorrow").is_err());
    }
}
