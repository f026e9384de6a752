//! When a policy is due, as specs say it: a calendar event or cron's fields, and a time zone.

use crate::resource::step::Problem;
use crate::schedule::slots::Schedule;

/// Reads `schedule` or `cron` with `timeZone`. `example`: what to say, as a calendar event and as cron has it.
///
/// # Errors
/// What is wrong, with its field.
pub fn schedule(
    (schedule, cron): (Option<&str>, Option<&str>),
    zone: Option<&str>,
    example: (&str, &str),
) -> Result<Schedule, Problem> {
    // Its zone is a field of its own.
    let about = |field: &str, why: String| {
        let of_zone = zone.is_some_and(|zone| Schedule::calendar("02:00", Some(zone)).is_err());
        Problem::new(if of_zone { "timeZone" } else { field }, why)
    };
    match (schedule, cron) {
        (Some(text), None) => Schedule::calendar(text, zone).map_err(|why| about("schedule", why)),
        (None, Some(text)) => Schedule::cron(text, zone).map_err(|why| about("cron", why)),
        (Some(_), Some(_)) => {
            Err(Problem::new("cron", "both `schedule` and `cron` are said").help("leave one of them out"))
        }
        (None, None) => Err(Problem::new("", "it says no time").help(format!(
            "say `schedule: \"{}\"` (a calendar event, as PVE has them), or `cron: \"{}\"`",
            example.0, example.1
        ))),
    }
}
