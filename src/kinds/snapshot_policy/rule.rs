//! A policy's spec as the rules understand it: when, and what is kept.

use crate::kinds::guest::spec::Seconds;
use crate::kinds::selector::SelectedType;
use crate::kinds::snapshot_policy::member::span;
use crate::kinds::snapshot_policy::name::PREFIX_MAX;
use crate::kinds::snapshot_policy::spec::{Retention, SnapshotPolicySpec};
use crate::kinds::when;
use crate::resource::step::Problem;
use crate::retention::class::Class;
use crate::retention::judge::Keep;
use crate::schedule::slots::Schedule;

/// Times that come which are looked at for the shortest gap between them.
const GAPS_LOOKED_AT: usize = 16;

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
    let said = (spec.schedule.as_deref(), spec.cron.as_deref());
    let schedule = when::schedule(said, zone, ("02:00", "0 2 * * *"))?;
    Ok(Rule { schedule, keep: keep(&spec.retention) })
}

/// What is kept, as the rules have it.
pub fn keep(retention: &Retention) -> Keep {
    let seconds = |s: &crate::kinds::guest::spec::Seconds| s.signed();
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

/// What a retention says that may be meant in two ways: it is refused, for the difference is snapshots.
pub fn unclear(retention: &Retention) -> Option<Problem> {
    let keep = keep(retention);
    let floor = if keep.within.is_some() { "keepWithin" } else { "minKeep" };
    if keep.keeps_everything() && (keep.within.is_some() || retention.min_keep.is_some()) {
        let what = format!("`{floor}` by itself keeps everything: it is a floor under the rules, and there is no rule");
        return Some(
            Problem::new(&format!("retention.{floor}"), what).help("say a rule beside it, such as keepLast: 1"),
        );
    }
    if !keep.classes.is_empty() && !keep.classes.contains_key(&Class::Daily) {
        let what = "the classes do not say how long all others are kept";
        return Some(Problem::new("retention.classes", what).help("say `daily` too, such as daily: 7d"));
    }
    None
}

/// What is wrong with a spec besides its times and its retention.
pub fn wrong(spec: &SnapshotPolicySpec) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(prefix) = &spec.name_prefix {
        let fits = prefix.starts_with(|c: char| c.is_ascii_alphabetic())
            && prefix.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if !fits || prefix.len() > PREFIX_MAX {
            let what = format!("`{prefix}` is no beginning of a snapshot's name");
            let form = format!("a letter, then letters, digits, - and _; at most {PREFIX_MAX}, so that the time fits");
            problems.push(Problem::new("namePrefix", what).help(form));
        }
    }
    if spec.include_memory && spec.selector.types == [SelectedType::Container] {
        problems.push(
            Problem::new("includeMemory", "PVE saves no memory of containers")
                .help("leave it out, or mean VirtualMachine"),
        );
    }
    problems
}

/// What of a policy's times can never be: no time comes any more, or turns are later than the next time.
pub fn never(spec: &SnapshotPolicySpec, rule: &Rule, now: i64) -> Option<Problem> {
    let next: Vec<i64> =
        std::iter::successors(rule.schedule.next(now), |at| rule.schedule.next(*at)).take(GAPS_LOOKED_AT).collect();
    if next.is_empty() {
        let field = if spec.cron.is_some() { "cron" } else { "schedule" };
        return Some(Problem::new(field, "no such time comes any more").help("name a day that is to come, or none"));
    }
    let shortest = next.windows(2).map(|w| w[1] - w[0]).min()?;
    let longer = |seconds: Option<Seconds>| seconds.is_some_and(|s| s.signed() >= shortest);
    let gap = span(shortest);
    if longer(spec.jitter) {
        let what = format!("turns would come later than the next time, which is {gap} after the one before");
        return Some(Problem::new("jitter", what).help(format!("say less than {gap}")));
    }
    if spec.freshness.is_some() && !longer(spec.freshness) {
        let what = format!("snapshots are {gap} old before the next is taken, and would always be too old");
        return Some(Problem::new("freshness", what).help(format!("say more than {gap}")));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::snapshot_policy::spec::Classes;

    #[test]
    fn what_may_be_meant_in_two_ways_is_refused() {
        let day = Some(Seconds(86_400));
        let said = |retention: &Retention| unclear(retention).map(|p| p.path.join("."));
        let within = Retention { keep_within: day, ..Retention::default() };
        assert_eq!(said(&within).as_deref(), Some("retention.keepWithin"));
        assert_eq!(said(&Retention { keep_last: Some(1), ..within }), None);
        let floor = Retention { min_keep: Some(2), ..Retention::default() };
        assert_eq!(said(&floor).as_deref(), Some("retention.minKeep"));
        let classes = Retention { classes: Classes { weekly: day, ..Classes::default() }, ..Retention::default() };
        assert_eq!(said(&classes).as_deref(), Some("retention.classes"));
        let whole =
            Retention { classes: Classes { weekly: day, daily: day, ..Classes::default() }, ..Retention::default() };
        assert_eq!(said(&whole), None);
        assert_eq!(said(&Retention::default()), None);
    }
}
