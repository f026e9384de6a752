//! A time zone by its name.

use crate::base::diagnostic::nearest;
use jiff::tz::{TimeZone, db};

/// The zone of an IANA name; UTC where none is given.
pub(super) fn named(name: Option<&str>) -> Result<TimeZone, String> {
    let Some(name) = name.map(str::trim) else { return Ok(TimeZone::UTC) };
    if let Ok(zone) = TimeZone::get(name)
        && !zone.is_unknown()
    {
        return Ok(zone);
    }
    let known: Vec<String> = db().available().map(|known| known.as_str().to_owned()).collect();
    let near = nearest(name, known.iter().map(String::as_str));
    let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    Err(format!("`{name}` is no time zone: a name as `Europe/Berlin` or `UTC` is expected{near}"))
}
