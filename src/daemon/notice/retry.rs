//! When a message is sent again. Pure.

use std::time::Duration;

/// How often a message is sent at most.
pub const TRIES_MAX: u32 = 5;
/// The first pause; four times as long after each try.
const PAUSE: Duration = Duration::from_secs(1);
/// What a server may ask us to wait.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP's status.
    pub status: u16,
    /// `Retry-After`.
    pub retry_after: Option<Duration>,
    /// The beginning of its words.
    pub said: String,
}

/// What is next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// It was taken.
    Done,
    /// Once more after this time.
    Again(Duration),
    /// It is lost, and why.
    GiveUp(String),
}

/// What is next after so many tries, the last of which ended so. `dice` is between 0 and 1: pauses differ, so that a server that
/// comes back is not asked by everybody at once.
pub fn next(tries: u32, ended: &Result<Answer, String>, dice: f64) -> Next {
    let (why, wait) = match ended {
        Err(why) => (why.clone(), None),
        Ok(Answer { status: 200..=299, .. }) => return Next::Done,
        Ok(Answer { status: status @ 300..=399, .. }) => {
            let hint = "it moved, and is not followed: write its new address";
            return Next::GiveUp(format!("the answer is {status}: {hint}"));
        }
        Ok(Answer { status, retry_after, said }) => {
            let said = if said.is_empty() { String::new() } else { format!(": {said}") };
            let why = format!("the answer is {status}{said}");
            // Timeout, too early, too many; the rest of 4xx is our fault and stays it.
            if !matches!(status, 408 | 425 | 429 | 500..) {
                return Next::GiveUp(why);
            }
            (why, *retry_after)
        }
    };
    match wait {
        Some(wait) if wait > WAIT_MAX => Next::GiveUp(format!("{why}; it asks to wait {} s", wait.as_secs())),
        _ if tries >= TRIES_MAX => Next::GiveUp(format!("{why}, after {tries} tries")),
        Some(wait) => Next::Again(wait.max(PAUSE)),
        None => {
            let pause = PAUSE * 4_u32.pow(tries.saturating_sub(1).min(4));
            Next::Again(pause.mul_f64(0.5 + dice.clamp(0.0, 1.0)))
        }
    }
}

/// `Retry-After` in seconds, or as a date.
pub fn retry_after(text: &str, now_ms: u64) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    let at = u64::try_from(date.timestamp().as_millisecond()).ok()?;
    Some(Duration::from_millis(at.saturating_sub(now_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, wait: Option<u64>) -> Result<Answer, String> {
        Ok(Answer { status, retry_after: wait.map(Duration::from_secs), said: "no_team".into() })
    }

    #[test]
    fn faults_of_the_server_are_tried_again_and_ours_are_not() {
        let lost = || Err("connection refused".to_owned());
        for again in [lost(), answer(500, None), answer(503, None), answer(408, None), answer(429, None)] {
            assert!(matches!(next(1, &again, 0.5), Next::Again(_)), "{again:?}");
        }
        for (given, says) in [(400, "no_team"), (401, "401"), (404, "404"), (410, "410"), (302, "new address")] {
            assert!(matches!(next(1, &answer(given, None), 0.5), Next::GiveUp(why) if why.contains(says)), "{given}");
        }
        assert_eq!(next(5, &answer(204, None), 0.5), Next::Done);
        assert!(matches!(next(5, &lost(), 0.5), Next::GiveUp(why) if why == "connection refused, after 5 tries"));
    }

    #[test]
    fn pauses_grow_with_jitter_and_a_server_may_name_its_own() {
        let pause = |tries, dice| match next(tries, &answer(500, None), dice) {
            Next::Again(pause) => pause.as_secs_f64(),
            other @ (Next::Done | Next::GiveUp(_)) => panic!("{other:?}"),
        };
        assert_eq!([pause(1, 0.0), pause(1, 1.0), pause(2, 0.5), pause(4, 0.5)], [0.5, 1.5, 4.0, 64.0]);
        assert_eq!(next(1, &answer(429, Some(30)), 0.0), Next::Again(Duration::from_secs(30)));
        assert_eq!(next(1, &answer(429, Some(0)), 0.0), Next::Again(Duration::from_secs(1)));
        assert!(matches!(next(1, &answer(429, Some(3_600)), 0.0), Next::GiveUp(why) if why.contains("3600 s")));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(retry_after(" 7 ", 0), Some(Duration::from_secs(7)));
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(retry_after(date, 784_111_770_000), Some(Duration::from_secs(7)));
        assert_eq!(retry_after(date, 784_111_790_000), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", 0), None);
    }
}
