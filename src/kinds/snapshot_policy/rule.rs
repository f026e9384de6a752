//! A policy's spec as the rules understand it: when, and what is kept.

use crate::kinds::snapshot_policy::member::span;
use crate::kinds::snapshot_policy::spec::{ClassName, Retention, SnapshotPolicySpec};
use crate::resource::step::Problem;
use crate::retention::class::Class;
use crate::retention::judge::Keep;
use crate::schedule::slots::Schedule;

/// What a policy says, understood.
#[derive(Clone, Debug)]
pub struct Rule {
    /// When.
    pub schedule: Schedule,
    /// What is kept.
    pub keep: Keep,
}

/// Understands a spec.
///
/// # Errors
/// What is wrong, with its field.
pub fn understand(spec: &SnapshotPolicySpec) -> Result<Rule, Problem> {
    let zone = spec.time_zone.as_deref();
    let schedule = match (&spec.schedule, &spec.cron) {
        (Some(text), None) => Schedule::calendar(text, zone).map_err(|why| about("schedule", zone, why)),
        (None, Some(text)) => Schedule::cron(text, zone).map_err(|why| about("cron", zone, why)),
        (Some(_), Some(_)) => {
            Err(Problem::new("cron", "both `schedule` and `cron` are said").help("leave one of them out"))
        }
        (None, None) => Err(Problem::new("", "it says no time")
            .help("say `schedule: \"02:00\"` (a calendar event, as PVE has them), or `cron: \"0 2 * * *\"`")),
    }?;
    Ok(Rule { schedule, keep: keep(&spec.retention) })
}

/// A schedule that is not understood: its zone is a field of its own.
fn about(field: &str, zone: Option<&str>, why: String) -> Problem {
    let of_zone = zone.is_some_and(|zone| Schedule::calendar("02:00", Some(zone)).is_err());
    Problem::new(if of_zone { "timeZone" } else { field }, why)
}

/// What is kept, as the rules have it.
pub fn keep(retention: &Retention) -> Keep {
    let seconds = |s: &crate::kinds::guest::spec::Seconds| i64::try_from(s.0).unwrap_or(i64::MAX);
    let class = |name: &ClassName| match name {
        ClassName::Daily => Class::Daily,
        ClassName::Weekly => Class::Weekly,
        ClassName::Monthly => Class::Monthly,
        ClassName::Yearly => Class::Yearly,
    };
    Keep {
        last: retention.keep_last,
        hourly: retention.keep_hourly,
        daily: retention.keep_daily,
        weekly: retention.keep_weekly,
        monthly: retention.keep_monthly,
        yearly: retention.keep_yearly,
        within: retention.keep_within.as_ref().map(seconds),
        min_keep: retention.min_keep.unwrap_or(0),
        classes: retention.classes.iter().map(|(name, age)| (class(name), seconds(age))).collect(),
    }
}

/// What is kept, in words: `last 3, daily 7, whatever is younger than 2d`.
pub fn words(keep: &Keep) -> String {
    if keep.keeps_everything() {
        return "everything".to_owned();
    }
    let counts = [
        ("last", keep.last),
        ("hourly", keep.hourly),
        ("daily", keep.daily),
        ("weekly", keep.weekly),
        ("monthly", keep.monthly),
        ("yearly", keep.yearly),
    ];
    let mut words: Vec<String> =
        counts.iter().filter_map(|(rule, count)| Some(format!("{rule} {}", (*count).filter(|n| *n > 0)?))).collect();
    words.extend(keep.classes.iter().map(|(class, age)| format!("{class} ones for {}", span(*age))));
    words.extend(keep.within.map(|age| format!("whatever is younger than {}", span(age))));
    words.extend((keep.min_keep > 0).then(|| format!("at least {}", keep.min_keep)));
    words.join(", ")
}
