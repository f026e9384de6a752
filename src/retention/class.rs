//! Classes of snapshots by their name: `…-weekly`, `…-monthly`, `…-yearly`, the rest daily.

use crate::retention::period::{Dates, Rule};
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::fmt;

/// How long a snapshot lives where a policy gives ages by class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Every snapshot whose name says nothing else.
    Daily,
    /// `…-weekly`
    Weekly,
    /// `…-monthly`
    Monthly,
    /// `…-yearly`
    Yearly,
}

/// How a name tells the time of its slot, in UTC.
const STAMP: &str = "%Y%m%dT%H%M%SZ";

/// Seconds that the snapshots of a class live, for each class that a policy names.
pub type Ages = BTreeMap<Class, i64>;

impl Class {
    /// From the shortest to the longest life.
    pub const ALL: [Class; 4] = [Class::Daily, Class::Weekly, Class::Monthly, Class::Yearly];

    /// The class of a snapshot by its name.
    pub fn of_name(name: &str) -> Class {
        let longer = [Class::Weekly, Class::Monthly, Class::Yearly];
        longer.into_iter().find(|class| name.ends_with(class.suffix())).unwrap_or(Class::Daily)
    }

    /// What stands at the end of a name.
    pub fn suffix(self) -> &'static str {
        match self {
            Class::Daily => "",
            Class::Weekly => "-weekly",
            Class::Monthly => "-monthly",
            Class::Yearly => "-yearly",
        }
    }

    /// The age that a policy gives to this class. A class that it does not name lives as long as the next shorter one that
    /// it does name: to a policy without `weekly`, `x-weekly` is a daily one.
    pub fn age(self, ages: &Ages) -> Option<(Class, i64)> {
        ages.range(..=self).next_back().map(|(class, age)| (*class, *age))
    }

    /// The periods of which each gets one snapshot of this class.
    fn rule(self) -> Rule {
        match self {
            Class::Daily => Rule::Daily,
            Class::Weekly => Rule::Weekly,
            Class::Monthly => Rule::Monthly,
            Class::Yearly => Rule::Yearly,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Class::Daily => "daily",
            Class::Weekly => "weekly",
            Class::Monthly => "monthly",
            Class::Yearly => "yearly",
        })
    }
}

/// The class of the snapshot that a slot takes: the longest-lived class of the policy that has none yet in the slot's year,
/// month or ISO week (in `zone`), else daily. `existing` are the snapshots of the guest by class and slot.
pub fn class_of(slot: i64, existing: impl IntoIterator<Item = (Class, i64)>, ages: &Ages, zone: &TimeZone) -> Class {
    let mut open: Vec<Class> = ages.keys().copied().filter(|class| *class != Class::Daily).collect();
    let here = Dates::of(slot, zone);
    for (class, at) in existing {
        if let Some(n) = open.iter().position(|wanted| *wanted == class)
            && Dates::of(at, zone).key(class.rule()) == here.key(class.rule())
        {
            open.remove(n);
        }
    }
    open.pop().unwrap_or(Class::Daily)
}

/// The name of a snapshot: prefix, the slot's time in UTC, class. The same slot has the same name however often it is
/// tried, so a restart never takes it twice.
pub fn name_of(prefix: &str, slot: i64, class: Class) -> String {
    let stamp = jiff::Timestamp::from_second(slot).unwrap_or_default().strftime(STAMP);
    format!("{prefix}-{stamp}{}", class.suffix())
}

/// The slot in a name, whatever stands before it; `None` where the name does not say.
pub fn slot(name: &str) -> Option<i64> {
    let plain = name.strip_suffix(Class::of_name(name).suffix())?;
    let (_, time) = plain.rsplit_once('-')?;
    let time = jiff::civil::DateTime::strptime(STAMP, time).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

/// The slot in a name that [`name_of`] made with this prefix; `None` for any other name.
pub fn slot_of(prefix: &str, name: &str) -> Option<i64> {
    slot(name).filter(|slot| name_of(prefix, *slot, Class::of_name(name)) == name)
}
