//! When a window is open: its times as the schedule has them, its end, its cutoff, and the days on which it stays shut.

use crate::kinds::guest::spec::Seconds;
use crate::kinds::patch_window::spec::PatchWindowSpec;
use crate::kinds::when;
use crate::resource::step::Problem;
use crate::schedule::slots::Schedule;
use jiff::civil::Date;
use jiff::{Timestamp, tz::TimeZone};

/// The cutoff of a window that says none, in seconds.
const CUTOFF: i64 = 15 * 60;
/// No window is longer, in seconds: it would be a state, not a window.
const DURATION_MAX: i64 = 7 * 86_400;
/// So many openings are looked at for one that no freeze takes.
const OPENINGS_LOOKED_AT: usize = 1000;

/// A window's times.
#[derive(Clone, Debug)]
pub struct Window {
    schedule: Schedule,
    duration: i64,
    cutoff: i64,
    freeze: Vec<(Date, Date)>,
    opened: Option<i64>,
}

/// One opening of a window; all in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The time for which it opened: the name of everything that is done in it.
    pub slot: i64,
    /// From then on nothing new is started.
    pub cutoff: i64,
    /// Its end.
    pub end: i64,
}

impl Opening {
    /// Whether something may be started.
    pub fn starts(&self, now: i64) -> bool {
        (self.slot..self.cutoff).contains(&now)
    }

    /// Whether it is open.
    pub fn is_open(&self, now: i64) -> bool {
        (self.slot..self.end).contains(&now)
    }
}

/// Why a change that takes so many seconds is not begun in an opening any more; `None`: there is time for it.
pub fn late(opening: Opening, now: i64, halted: Option<&str>, takes: i64) -> Option<String> {
    if let Some(why) = halted {
        return Some(why.to_owned());
    }
    if !opening.starts(now) {
        return Some("the window closes".to_owned());
    }
    let left = opening.end.saturating_sub(now);
    (takes > left).then(|| format!("it takes about {} minutes and the window ends in {}", (takes + 59) / 60, left / 60))
}

impl Window {
    /// Understands a spec.
    ///
    /// # Errors
    /// What is wrong, with its field.
    pub fn read(spec: &PatchWindowSpec) -> Result<Window, Vec<Problem>> {
        let mut problems = Vec::new();
        let said = (spec.schedule.as_deref(), spec.cron.as_deref());
        let schedule = when::schedule(said, spec.time_zone.as_deref(), ("Sun 02:00", "0 2 * * 0"));
        let duration = spec.duration.signed();
        if !(60..=DURATION_MAX).contains(&duration) {
            problems.push(
                Problem::new("duration", "a window is open for a minute at least and for a week at most")
                    .help("say how long the work may take, such as 3h"),
            );
        }
        let cutoff = spec.cutoff.map_or(CUTOFF.min(duration / 4), Seconds::signed);
        if cutoff >= duration {
            problems.push(
                Problem::new("cutoff", "nothing could ever start: it is as long as the window, or longer")
                    .help("say less than `duration`"),
            );
        }
        let mut freeze = Vec::new();
        for (at, text) in spec.freeze.iter().enumerate() {
            match days(text) {
                Some(days) => freeze.push(days),
                None => problems.push(
                    Problem::new(&format!("freeze.{at}"), format!("`{text}` is no day, and no span of days"))
                        .help("write it like 2026-12-24, or 2026-12-20..2027-01-06"),
                ),
            }
        }
        match schedule {
            Ok(schedule) if problems.is_empty() => {
                Ok(Window { schedule, duration, cutoff, freeze, opened: spec.opened })
            }
            Ok(_) => Err(problems),
            Err(problem) => {
                problems.insert(0, problem);
                Err(problems)
            }
        }
    }

    /// The zone of its days.
    pub fn zone(&self) -> &TimeZone {
        self.schedule.zone()
    }

    /// The opening of a slot.
    pub fn opening(&self, slot: i64) -> Opening {
        let end = slot.saturating_add(self.duration);
        Opening { slot, cutoff: end.saturating_sub(self.cutoff), end }
    }

    /// The day on which a moment is, if nothing starts on it.
    pub fn frozen(&self, at: i64) -> Option<Date> {
        let day = Timestamp::from_second(at).ok()?.to_zoned(self.zone().clone()).date();
        self.freeze.iter().any(|(from, to)| (*from..=*to).contains(&day)).then_some(day)
    }

    /// The newest opening that has come, whether it is over or not. One on a frozen day does not come.
    pub fn last(&self, now: i64) -> Option<Opening> {
        if let Some(slot) = self.opened {
            return Some(self.opening(slot));
        }
        self.before(now)
    }

    /// The newest opening of the schedule at a moment or before it.
    pub fn before(&self, at: i64) -> Option<Opening> {
        let slots = std::iter::successors(self.schedule.last(at), |slot| self.schedule.last(*slot - 1));
        slots.take(OPENINGS_LOOKED_AT).find(|slot| self.frozen(*slot).is_none()).map(|slot| self.opening(slot))
    }

    /// The next opening.
    pub fn next(&self, now: i64) -> Option<Opening> {
        let slots = std::iter::successors(self.schedule.next(now), |slot| self.schedule.next(*slot));
        slots.take(OPENINGS_LOOKED_AT).find(|slot| self.frozen(*slot).is_none()).map(|slot| self.opening(slot))
    }

    /// Openings that come, the nearest first.
    pub fn openings(&self, now: i64) -> impl Iterator<Item = Opening> + '_ {
        std::iter::successors(self.next(now), |opening| self.next(opening.slot))
    }
}

/// `2026-12-24`, or `2026-12-20..2027-01-06`.
fn days(text: &str) -> Option<(Date, Date)> {
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    let (from, to): (Date, Date) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
    (from <= to).then_some((from, to))
}
