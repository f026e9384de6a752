//! The verdict on each snapshot: kept or removed, by which rule, in few words.
//!
//! Proxmox's prune rule, exactly (`prune_mark_backup_group` in `PVE/Storage.pm`; `pbs-datastore/src/prune.rs`): from the
//! newest to the oldest; the rules choose in the order last, hourly, daily, weekly, monthly, yearly. A period in which
//! something is kept already is passed over and does not count. Of each other period the newest is kept, until the rule has
//! its number; what is older in a chosen period is removed, and no later rule can save it. No number at all keeps everything.
//!
//! On top of it, each able to keep more and never to remove: `within`, `classes`, `min_keep`, and the newest, always.

use crate::retention::class::{Ages, Class};
use crate::retention::period::{Dates, Period, Rule};
use jiff::tz::TimeZone;
use std::cmp::Reverse;
use std::fmt;

/// What is to be kept. A number that is 0 or left out is a rule that is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// This many, the newest.
    pub last: Option<u32>,
    /// The newest of this many hours.
    pub hourly: Option<u32>,
    /// The newest of this many days.
    pub daily: Option<u32>,
    /// The newest of this many ISO weeks.
    pub weekly: Option<u32>,
    /// The newest of this many months.
    pub monthly: Option<u32>,
    /// The newest of this many years.
    pub yearly: Option<u32>,
    /// Seconds: what is younger is kept.
    pub within: Option<i64>,
    /// Never fewer than this.
    pub min_keep: u32,
    /// Ages by class of the name. Without any number above, they alone decide.
    pub classes: Ages,
}

impl Keep {
    /// The number of a rule; `None` where there is no such rule.
    pub fn count(&self, rule: Rule) -> Option<u32> {
        let count = match rule {
            Rule::Last => self.last,
            Rule::Hourly => self.hourly,
            Rule::Daily => self.daily,
            Rule::Weekly => self.weekly,
            Rule::Monthly => self.monthly,
            Rule::Yearly => self.yearly,
        };
        count.filter(|count| *count > 0)
    }

    /// True where no rule removes anything.
    pub fn keeps_everything(&self) -> bool {
        self.counts_nothing() && self.classes.is_empty()
    }

    fn counts_nothing(&self) -> bool {
        Rule::ALL.iter().all(|rule| self.count(*rule).is_none())
    }
}

/// As `last 3, daily 7, weekly 4; younger than 2d; daily ones 7d, weekly ones 28d; at least 2`.
impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.keeps_everything() {
            return f.write_str("everything");
        }
        let counts = Rule::ALL.iter().filter_map(|rule| Some(format!("{rule} {}", self.count(*rule)?)));
        let ages = self.classes.iter().map(|(class, age)| format!("{class} ones {}", Age(*age)));
        let parts = [
            counts.collect::<Vec<_>>().join(", "),
            self.within.map_or_else(String::new, |within| format!("younger than {}", Age(within))),
            ages.collect::<Vec<_>>().join(", "),
            if self.min_keep > 0 { format!("at least {}", self.min_keep) } else { String::new() },
        ];
        f.write_str(&parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; "))
    }
}

/// A snapshot or a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its name, from which its class follows.
    pub name: String,
    /// When it was taken, in seconds since 1970. Of two with one time, the one with the greater name is the newer.
    pub time: i64,
    /// Why it is never pruned. Such a one counts for no rule and occupies no period.
    pub held: Option<String>,
}

/// What becomes of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// False where it is to be removed.
    pub keep: bool,
    /// Why.
    pub reason: Reason,
}

/// Why an item is kept or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Kept: the `n`-th (from 1, the newest first) of the `of` that a rule keeps.
    Counted {
        /// The rule.
        rule: Rule,
        /// Which one of the rule's.
        n: u32,
        /// How many the rule keeps.
        of: u32,
        /// The period of which it is the newest.
        period: Period,
    },
    /// Kept: younger than `keepWithin`, in seconds.
    Within(i64),
    /// Kept: younger than the age of its class, in seconds.
    Class(Class, i64),
    /// Kept: without it there would be fewer than `minKeep`.
    MinKeep(u32),
    /// Kept: the newest always is.
    Newest,
    /// Kept: the caller says why.
    Held(String),
    /// Kept: no rule removes anything.
    Everything,
    /// Removed: something newer of the same period is kept.
    Covered(Period),
    /// Removed: older than the age of its class, in seconds; and no rule keeps it.
    Expired(Class, i64),
    /// Removed: older than all that the rules keep.
    Beyond,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Counted { rule: Rule::Last, n, of, .. } => write!(f, "last {n} of {of}"),
            Reason::Counted { rule, n, of, period } => write!(f, "{rule} {n} of {of} ({period})"),
            Reason::Within(seconds) => write!(f, "younger than {}", Age(*seconds)),
            Reason::Class(class, seconds) => write!(f, "{class}, younger than {}", Age(*seconds)),
            Reason::MinKeep(count) => write!(f, "at least {count} are kept"),
            Reason::Newest => f.write_str("the newest"),
            Reason::Held(why) => f.write_str(why),
            Reason::Everything => f.write_str("no rule removes anything"),
            Reason::Covered(period) => match period.rule() {
                Rule::Last => write!(f, "another of the same time is kept ({period})"),
                Rule::Hourly => write!(f, "a newer one of its hour is kept ({period})"),
                Rule::Daily => write!(f, "a newer one of its day is kept ({period})"),
                Rule::Weekly => write!(f, "a newer one of its week is kept ({period})"),
                Rule::Monthly => write!(f, "a newer one of its month is kept ({period})"),
                Rule::Yearly => write!(f, "a newer one of its year is kept ({period})"),
            },
            Reason::Expired(class, seconds) => write!(f, "{class}, older than {}", Age(*seconds)),
            Reason::Beyond => f.write_str("older than all that is kept"),
        }
    }
}

/// Seconds as a manifest would write them.
struct Age(i64);

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(86_400, 'd'), (3600, 'h'), (60, 'm')];
        match units.into_iter().find(|(unit, _)| self.0 != 0 && self.0 % unit == 0) {
            Some((unit, letter)) => write!(f, "{}{letter}", self.0 / unit),
            None => write!(f, "{}s", self.0),
        }
    }
}

/// The verdict on each item, in the order of `items`. `zone` is where days begin, `now` is in seconds since 1970.
pub fn judge(items: &[Item], keep: &Keep, zone: &TimeZone, now: i64) -> Vec<Verdict> {
    let dates: Vec<Dates> = items.iter().map(|item| Dates::of(item.time, zone)).collect();
    judge_dated(items, &dates, keep, now)
}

/// [`judge`] where the dates of the items are known already.
pub(crate) fn judge_dated(items: &[Item], dates: &[Dates], keep: &Keep, now: i64) -> Vec<Verdict> {
    let mut newest_first: Vec<usize> = (0..items.len()).filter(|at| items[*at].held.is_none()).collect();
    newest_first.sort_by_key(|at| Reverse((items[*at].time, &items[*at].name)));
    let by_rule = by_rule(&newest_first, dates, keep);
    let mut verdicts: Vec<Verdict> = items
        .iter()
        .zip(by_rule)
        .map(|(item, chosen)| match (&item.held, chosen) {
            (Some(why), _) => Verdict { keep: true, reason: Reason::Held(why.clone()) },
            (None, _) if keep.keeps_everything() => Verdict { keep: true, reason: Reason::Everything },
            (None, chosen) => above(item, chosen, keep, now),
        })
        .collect();
    let mut kept = newest_first.iter().filter(|at| verdicts[**at].keep).count();
    let wanted = usize::try_from(keep.min_keep).unwrap_or(usize::MAX);
    for at in &newest_first {
        if kept < wanted && !verdicts[*at].keep {
            verdicts[*at] = Verdict { keep: true, reason: Reason::MinKeep(keep.min_keep) };
            kept += 1;
        }
    }
    if let Some(newest) = newest_first.first()
        && !verdicts[*newest].keep
    {
        verdicts[*newest] = Verdict { keep: true, reason: Reason::Newest };
    }
    verdicts
}

/// What the rules say of an item.
#[derive(Clone, Copy)]
enum Mark {
    /// No rule has come to it, or each has passed it over: the period in which it was passed over first.
    Open(Option<Period>),
    Keep {
        n: u32,
        of: u32,
        period: Period,
    },
    Remove(Period),
}

/// Proxmox's rule: the mark of each item. `newest_first` are the items that count.
fn by_rule(newest_first: &[usize], dates: &[Dates], keep: &Keep) -> Vec<Mark> {
    let mut marks = vec![Mark::Open(None); dates.len()];
    for rule in Rule::ALL {
        let Some(of) = keep.count(rule) else { continue };
        let kept = newest_first.iter().filter(|at| matches!(marks[**at], Mark::Keep { .. }));
        // Few, and asked for from the newest on: a list is faster than a tree, and a play asks a million times.
        let before: Vec<i64> = kept.map(|at| dates[*at].key(rule)).collect();
        let mut chosen: Vec<i64> = Vec::new();
        for at in newest_first {
            let Mark::Open(passed) = marks[*at] else { continue };
            let period = dates[*at].period(rule);
            let key = dates[*at].key(rule);
            let n = u32::try_from(chosen.len()).unwrap_or(u32::MAX);
            if before.contains(&key) {
                marks[*at] = Mark::Open(passed.or(Some(period)));
            } else if chosen.contains(&key) {
                marks[*at] = Mark::Remove(period);
            } else if n < of {
                chosen.push(key);
                marks[*at] = Mark::Keep { n: n + 1, of, period };
            } else {
                break;
            }
        }
    }
    marks
}

/// The verdict on an item by its mark and the floors that look at it alone.
fn above(item: &Item, mark: Mark, keep: &Keep, now: i64) -> Verdict {
    let kept = |reason| Verdict { keep: true, reason };
    let removed = |reason| Verdict { keep: false, reason };
    if let Mark::Keep { n, of, period } = mark {
        return kept(Reason::Counted { rule: period.rule(), n, of, period });
    }
    let age = now.saturating_sub(item.time);
    let class = Class::of_name(&item.name).age(&keep.classes);
    let within = keep.within.filter(|within| age < *within);
    // Of two floors the one that holds it longer is told.
    if let Some(within) = within.filter(|within| class.is_none_or(|(_, limit)| limit < *within)) {
        return kept(Reason::Within(within));
    }
    match (class, mark) {
        (Some((class, limit)), _) if age < limit => kept(Reason::Class(class, limit)),
        (_, Mark::Remove(period) | Mark::Open(Some(period))) => removed(Reason::Covered(period)),
        (Some((class, limit)), _) if keep.counts_nothing() => removed(Reason::Expired(class, limit)),
        (Some(_) | None, _) => removed(Reason::Beyond),
    }
}
