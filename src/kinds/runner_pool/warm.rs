//! Times at which more idle runners are kept ready.

use crate::kinds::runner_pool::spec::{RunnerPoolSpec, Warm};
use crate::kinds::when;
use crate::resource::step::Problem;
use crate::schedule::slots::Schedule;

/// No such time is longer, in seconds: it would be `minIdle`.
const DURATION_MAX: i64 = 7 * 86_400;

/// How many idle ones are wanted at a moment, and when that changes next (seconds since 1970).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    /// So many.
    pub wanted: u32,
    /// When another number may be right.
    pub until: Option<i64>,
}

/// The times of one entry.
///
/// # Errors
/// What is wrong, with its field; `at` is its place in the list.
fn schedule(warm: &Warm, at: usize) -> Result<Schedule, Problem> {
    let said = (warm.schedule.as_deref(), warm.cron.as_deref());
    let read = when::schedule(said, warm.time_zone.as_deref(), ("Mon..Fri 08:00", "0 8 * * 1-5"));
    read.map_err(|mut problem| {
        problem.path.splice(0..0, ["warm".to_owned(), at.to_string()]);
        problem
    })
}

/// What is wrong with the times of a pool.
pub fn check(spec: &RunnerPoolSpec) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (at, warm) in spec.warm.iter().enumerate() {
        problems.extend(schedule(warm, at).err());
        if !(60..=DURATION_MAX).contains(&warm.duration.signed()) {
            let message = "it lasts for a minute at least and for a week at most";
            problems.push(Problem::new(&format!("warm.{at}.duration"), message).help("say how long, such as 10h"));
        }
        if warm.min_idle > spec.size.max {
            let message = format!("there are never more than {} machines (`size.max`)", spec.size.max);
            problems.push(Problem::new(&format!("warm.{at}.minIdle"), message).help("say less here, or more there"));
        }
    }
    problems
}

/// How many idle ones are wanted now. Times that cannot be read are told by [`check`] and count for nothing.
pub fn idle(spec: &RunnerPoolSpec, now: i64) -> Idle {
    let mut idle = Idle { wanted: spec.size.min_idle, until: None };
    if let Some(scaled) = spec.scaled {
        return Idle { wanted: scaled.min(spec.size.max), until: None };
    }
    for (at, warm) in spec.warm.iter().enumerate() {
        let Ok(schedule) = schedule(warm, at) else { continue };
        let end = schedule.last(now).map(|slot| slot.saturating_add(warm.duration.signed())).filter(|end| now < *end);
        if end.is_some() {
            idle.wanted = idle.wanted.max(warm.min_idle);
        }
        idle.until = [idle.until, end, schedule.next(now)].into_iter().flatten().min();
    }
    idle.wanted = idle.wanted.min(spec.size.max);
    idle
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().expect("a moment").as_second()
    }

    #[test]
    fn the_largest_open_time_counts_until_something_changes() {
        let mut spec: RunnerPoolSpec = serde_json::from_value(json!({
            "github": {"scope": {"organization": "acme"}, "auth": {"token": {"env": "T"}}},
            "labels": ["x"], "template": "t", "size": {"minIdle": 1, "max": 6},
            "vmidRange": "500-599", "bootstrap": {},
            "warm": [
                {"schedule": "Mon..Fri 08:00", "duration": "10h", "timeZone": "Europe/Berlin", "minIdle": 4},
                {"cron": "0 10 * * *", "duration": "1h", "minIdle": 2},
            ],
        }))
        .expect("is a spec");
        // Friday, 20 November 2026: Berlin is an hour ahead.
        let idle_at = |spec: &RunnerPoolSpec, text: &str| {
            let Idle { wanted, until } = idle(spec, at(text));
            (wanted, until.map(|t| jiff::Timestamp::from_second(t).expect("a moment").to_string()))
        };
        assert_eq!(idle_at(&spec, "2026-11-20T06:59:59Z"), (1, Some("2026-11-20T07:00:00Z".into())));
        assert_eq!(idle_at(&spec, "2026-11-20T07:00:00Z"), (4, Some("2026-11-20T10:00:00Z".into())));
        assert_eq!(idle_at(&spec, "2026-11-20T10:30:00Z"), (4, Some("2026-11-20T11:00:00Z".into())));
        assert_eq!(idle_at(&spec, "2026-11-20T17:00:00Z"), (1, Some("2026-11-21T10:00:00Z".into())));
        assert_eq!(idle_at(&spec, "2026-11-21T10:30:00Z"), (2, Some("2026-11-21T11:00:00Z".into())));
        spec.scaled = Some(9);
        assert_eq!(idle_at(&spec, "2026-11-20T07:00:00Z"), (6, None), "never more than `max`");
    }
}
