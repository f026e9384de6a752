//! How pages write times, durations and parts of addresses.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// A moment as people and machines read it: `2026-11-21T17:00:00Z`.
pub fn utc(ms: u64) -> String {
    let at = i64::try_from(ms / 1000).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    at.map_or_else(|| "unknown".to_owned(), |at| at.to_string())
}

/// A duration in its two largest units: `45s`, `3m 5s`, `2h 10m`, `4d 3h`.
pub fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let Some(first) = units.iter().position(|(_, size)| seconds >= *size) else { return "0s".to_owned() };
    let mut left = seconds;
    let mut words = Vec::new();
    for (unit, size) in units.iter().skip(first).take(2) {
        let count = left / size;
        left %= size;
        if count > 0 {
            words.push(format!("{count}{unit}"));
        }
    }
    words.join(" ")
}

/// How long ago, or how soon: `3m 5s ago`, `in 2h`, `now`; `never` for the beginning of time.
pub fn ago(ms: u64, now_ms: u64) -> String {
    match (ms, now_ms.abs_diff(ms)) {
        (0, _) => "never".to_owned(),
        (_, 0..1000) => "now".to_owned(),
        (_, apart) if ms < now_ms => format!("{} ago", span(apart)),
        (_, apart) => format!("in {}", span(apart)),
    }
}

/// A part of a path or a query, such that nothing in it means anything there.
pub fn part(text: &str) -> String {
    // Dots alone would lead up the path, even written as %2E.
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// A commit or a digest, short enough for a table.
pub fn short(revision: &str) -> String {
    let bare = revision.strip_prefix("sha256:").unwrap_or(revision);
    bare.chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_for_people() {
        assert_eq!(utc(1_795_280_400_500), "2026-11-21T17:00:00Z");
        assert_eq!(utc(u64::MAX), "unknown");
        for (ms, text) in [
            (0, "0s"),
            (999, "0s"),
            (45_000, "45s"),
            (185_000, "3m 5s"),
            (180_000, "3m"),
            (7_800_000, "2h 10m"),
            (356_400_000, "4d 3h"),
            (86_430_000, "1d"),
        ] {
            assert_eq!(span(ms), text, "{ms}");
        }
        assert_eq!(ago(1_000, 5_000), "4s ago");
        assert_eq!(ago(9_000, 5_000), "in 4s");
        assert_eq!(ago(5_000, 5_000), "now");
        assert_eq!(ago(0, 5_000), "never");
    }

    #[test]
    fn parts_mean_nothing_in_an_address() {
        assert_eq!(part("a/b?c=d&e#<\"'>"), "a%2Fb%3Fc%3Dd%26e%23%3C%22%27%3E");
        assert_eq!(short("sha256:0123456789abcdef"), "0123456789ab");
    }
}
