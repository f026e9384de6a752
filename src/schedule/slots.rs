//! The slots of a schedule: the moments at which it is due, in a time zone, with the two days a year on which the clock on
//! the wall is changed.
//!
//! **A schedule for certain hours** (`02:30`, `8..17:0/15`) promises each wall-clock time once. A time that the clock skips
//! is due right after the gap, and all times of one gap are one slot (02:15, 02:30 and 02:45 in Berlin's spring: 03:00
//! once). A time that the clock shows twice is due the first time only.
//!
//! **A schedule for every hour** (`hourly`, `*:0/15`, `*/5 * * * *`: its hours are all 24) promises a rhythm, so it follows
//! the clock as it really runs, as cron does: what the clock shows twice is due twice, what it skips is left out. In Berlin
//! `hourly` is due every real hour of both days: 01:00, 03:00 in spring, 02:00 and 02:00 again in autumn.

use crate::schedule::fields::Fields;
use crate::schedule::{calendar, cron, zone};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use std::fmt;
use std::time::Duration;

/// Two offsets of one zone are never further apart, so times on the wall that differ by more are in the order of time.
const APART_MAX: SignedDuration = SignedDuration::from_hours(48);
const SECOND: SignedDuration = SignedDuration::from_secs(1);
/// Changes of the clock that one search looks at. Two within [`APART_MAX`] are rare, and all others are jumped over.
const ROUNDS_MAX: usize = 64;
/// Wall-clock times that one search may find to be in the same slot: every second of a gap or of the second showing of an
/// hour is passed in one go, so more than two are not expected.
const FOLDED_MAX: usize = 100_000;

/// An expression in a time zone. Two are equal where text and zone are.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    text: String,
    zone: TimeZone,
    fields: Fields,
}

impl Schedule {
    /// A calendar event of PVE in an IANA zone, UTC where none is named. An error is a message for people.
    pub fn calendar(text: &str, zone: Option<&str>) -> Result<Schedule, String> {
        let event = calendar::read(text)?;
        let zone = zone::named(zone.or(event.utc.then_some("UTC")))?;
        if event.utc && zone != TimeZone::UTC {
            let name = zone.iana_name().unwrap_or_default();
            return Err(format!("`{}` says UTC and the time zone is {name}: leave one of the two out", text.trim()));
        }
        Ok(Schedule { text: text.trim().to_owned(), zone, fields: event.fields })
    }

    /// cron's five fields or a nickname in an IANA zone, UTC where none is named. An error is a message for people.
    pub fn cron(text: &str, zone: Option<&str>) -> Result<Schedule, String> {
        let fields = cron::read(text)?;
        Ok(Schedule { text: text.trim().to_owned(), zone: zone::named(zone)?, fields })
    }

    /// The expression as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The zone in which it is read.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The zone's IANA name.
    pub fn zone_name(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// The newest slot that is `at` or earlier, both in seconds since 1970. `None` where there is none: an expression that
    /// names its years has a first slot, and time itself begins in the year -9999 here.
    pub fn last(&self, at: i64) -> Option<i64> {
        let at = clamped(at)?;
        if self.fields.every_hour() { self.last_running(at) } else { self.last_fixed(at) }
    }

    /// The first slot later than `after`, both in seconds since 1970. `None` where there is none: an expression that names
    /// its years has a last slot, and time itself ends with the year 9999 here.
    pub fn next(&self, after: i64) -> Option<i64> {
        let from = Timestamp::from_second(after.checked_add(1)?.max(Timestamp::MIN.as_second() + 1)).ok()?;
        if self.fields.every_hour() { self.next_running(from) } else { self.next_fixed(from) }
    }

    /// The slots later than `after`, up to and with `until`, in order.
    pub fn slots(&self, after: i64, until: i64) -> impl Iterator<Item = i64> + '_ {
        std::iter::successors(self.next(after), |slot| self.next(*slot)).take_while(move |slot| *slot <= until)
    }

    // ---- certain hours -----------------------------------------------------------------------------------------------

    /// The first slot at `from` or later.
    fn next_fixed(&self, from: Timestamp) -> Option<i64> {
        let after = from.checked_sub(SECOND).ok()?;
        let mut passed = self.passed(after);
        for _ in 0..FOLDED_MAX {
            let time = self.fields.at_or_after(passed.checked_add(SECOND).ok()?)?;
            let slot = self.slot_of(time)?;
            if slot > after {
                return Some(slot.as_second());
            }
            passed = time;
        }
        None
    }

    fn last_fixed(&self, at: Timestamp) -> Option<i64> {
        let mut until = self.passed(at);
        for _ in 0..FOLDED_MAX {
            let time = self.fields.at_or_before(until)?;
            let slot = self.slot_of(time)?;
            if slot <= at {
                return Some(slot.as_second());
            }
            until = time.checked_sub(SECOND).ok()?;
        }
        None
    }

    /// The last wall-clock time whose slot is `at` or earlier. While an hour is shown for the second time, all of it is
    /// past: its slots were due at its first showing.
    fn passed(&self, at: Timestamp) -> DateTime {
        let shown = self.zone.to_datetime(at);
        if let AmbiguousOffset::Fold { before, after } = self.zone.to_ambiguous_timestamp(shown).offset()
            && self.zone.to_offset(at) == after
            && let Some(change) = self.change_until(at)
        {
            return before.to_datetime(change).saturating_sub(SECOND);
        }
        shown
    }

    /// The one moment at which a wall-clock time is due.
    fn slot_of(&self, time: DateTime) -> Option<Timestamp> {
        match self.zone.to_ambiguous_timestamp(time).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(time).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(time).ok(),
            AmbiguousOffset::Gap { before, .. } => self.change_until(before.to_timestamp(time).ok()?),
        }
    }

    // ---- every hour --------------------------------------------------------------------------------------------------

    /// The first slot at `from` or later. Between two changes of the clock time and wall clock run alike; each turn looks at
    /// one such stretch.
    fn next_running(&self, mut from: Timestamp) -> Option<i64> {
        for _ in 0..ROUNDS_MAX {
            let offset = self.zone.to_offset(from);
            let slot = self.fields.at_or_after(offset.to_datetime(from)).and_then(|time| moment(offset, time));
            let change = self.change_after(from);
            from = match (slot, change) {
                (Some(slot), None) => return Some(slot.as_second()),
                (Some(slot), Some(change)) if slot < change => return Some(slot.as_second()),
                // Soon after a change backwards the wall may show again what was behind us.
                (_, Some(change)) if change.duration_since(from) < APART_MAX => change,
                (Some(slot), Some(change)) => change.max(slot.checked_sub(APART_MAX).ok()?),
                (None, _) => return None,
            };
        }
        None
    }

    fn last_running(&self, mut at: Timestamp) -> Option<i64> {
        for _ in 0..ROUNDS_MAX {
            let offset = self.zone.to_offset(at);
            let slot = self.fields.at_or_before(offset.to_datetime(at)).and_then(|time| moment(offset, time));
            let change = self.change_until(at);
            at = match (slot, change) {
                (Some(slot), None) => return Some(slot.as_second()),
                (Some(slot), Some(change)) if slot >= change => return Some(slot.as_second()),
                (_, Some(change)) if at.duration_since(change) < APART_MAX => change.checked_sub(SECOND).ok()?,
                (Some(slot), Some(change)) => change.checked_sub(SECOND).ok()?.min(slot.checked_add(APART_MAX).ok()?),
                (None, _) => return None,
            };
        }
        None
    }

    // ---- the zone's changes of the clock -----------------------------------------------------------------------------

    fn change_after(&self, at: Timestamp) -> Option<Timestamp> {
        self.zone.following(at).next().map(|change| change.timestamp())
    }

    fn change_until(&self, at: Timestamp) -> Option<Timestamp> {
        let end = at.checked_add(SECOND).ok()?;
        self.zone.preceding(end).next().map(|change| change.timestamp())
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.zone_name())
    }
}

/// How long after its slot a run begins: from 0 to less than `jitter`, in whole seconds. The same for the same `key` and
/// slot in every version and on every machine, so whoever asks twice waits for the same moment.
pub fn offset(key: &str, slot: i64, jitter: Duration) -> i64 {
    let Some(range) = i64::try_from(jitter.as_secs()).ok().filter(|range| *range > 0) else { return 0 };
    let mut hash = Sha256::new();
    hash.update(key.as_bytes());
    hash.update([0]);
    hash.update(slot.to_be_bytes());
    let first = hash.finalize().iter().take(8).fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    i64::try_from(first >> 1).unwrap_or(0) % range
}

fn moment(offset: Offset, time: DateTime) -> Option<Timestamp> {
    offset.to_timestamp(time).ok()
}

/// A moment as jiff holds it; `None` before its beginning, its end for all that is later.
fn clamped(at: i64) -> Option<Timestamp> {
    let at = at.min(Timestamp::MAX.as_second());
    Timestamp::from_second(at).ok()
}
