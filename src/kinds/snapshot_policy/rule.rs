//! A policy's spec as the rules understand it: when, and what is kept.

use crate::kinds::snapshot_policy::spec::{Retention, SnapshotPolicySpec};
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
    let classes = &retention.classes;
    let ages = [
        (Class::Daily, classes.daily),
        (Class::Weekly, classes.weekly),
        (Class::Monthly, classes.monthly),
        (Class::Yearly, classes.yearly),
    ];
    Keep {
        last: retention.keep_last,
        hourly: retention.keep_hourly,
        daily: retention.keep_daily,
        weekly: retention.keep_weekly,
        monthly: retention.keep_monthly,
        yearly: retention.keep_yearly,
        within: retention.keep_within.as_ref().map(seconds),
        min_keep: retention.min_keep.unwrap_or(0),
        classes: ages.into_iter().filter_map(|(class, age)| Some((class, seconds(&age?)))).collect(),
    }
}
