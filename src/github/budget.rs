//! What GitHub lets us ask, and when it lets us ask again. Pure: the time comes in, nothing is sent from here.
//!
//! GitHub's rules (its documentation, "Rate limits for the REST API"): an answer says how much is left of the budget that it was
//! counted on. When it says no with 403 or 429: after `retry-after`; else, with nothing left, at `x-ratelimit-reset`; else
//! after a minute, and longer each time. Who goes on asking may be banned.

use crate::github::fault::{Fault, json};
use crate::github::wire::Response;
use std::collections::BTreeMap;

/// What is left of a budget, as GitHub's last answer said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Where: the API's base, `https://api.github.com`.
    pub api: String,
    /// Whose: `token $NAME`, `app 12 installation 34`.
    pub account: String,
    /// Which of its budgets: `core`, `actions_runner_registration`.
    pub resource: String,
    /// Requests in the whole span.
    pub limit: u64,
    /// Those that are left.
    pub remaining: u64,
    /// When all of them are back, in seconds since 1970.
    pub reset: i64,
    /// Until when nothing is sent, in seconds since 1970, because GitHub said so.
    pub limited_until: Option<i64>,
}

/// How many requests were sent that were answered alike, since the beginning of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requests {
    /// Where: the API's base.
    pub api: String,
    /// As whom.
    pub account: String,
    /// What they are counted on: `core`, `actions_runner_registration`, `actions service`.
    pub resource: &'static str,
    /// HTTP's method.
    pub method: &'static str,
    /// HTTP's status; `None`: there was no answer.
    pub status: Option<u16>,
    /// So many.
    pub count: u64,
}

/// Who asks where. Budgets are an account's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Account {
    /// The API's base.
    pub(super) api: String,
    /// For people.
    pub(super) name: String,
}

/// What a request is counted on, as far as we know before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Registering runners.
    Registration,
    /// Everything else of the REST API.
    Core,
    /// GitHub's Actions service, which is counted apart.
    Actions,
}

/// The first pause when GitHub says no and not until when.
const PAUSE_MIN: i64 = 60;
/// The longest one.
const PAUSE_MAX: i64 = 3600;
/// No `retry-after` or reset is believed beyond this: a budget's span is an hour.
const WAIT_MAX: i64 = 2 * 3600;
/// Budgets that are remembered.
const BUDGETS_MAX: usize = 200;

/// What GitHub is asked again and again is asked no sooner than after so many seconds.
const REST_MIN: i64 = 10;
/// And no later.
const REST_MAX: i64 = HOUR;
/// The span of a budget, in seconds.
const HOUR: i64 = 3600;
/// As many requests a second on the average: GitHub takes fifteen, whether or not they count.
const SENT_A_SECOND: u64 = 5;

/// What some requests cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    /// All of them.
    pub(super) sent: u64,
    /// Those that are counted on the budget: "not modified" is not.
    pub(super) spent: u64,
}

impl std::ops::Sub for Cost {
    type Output = Cost;

    fn sub(self, earlier: Cost) -> Cost {
        Cost { sent: self.sent.saturating_sub(earlier.sent), spent: self.spent.saturating_sub(earlier.spent) }
    }
}

impl std::iter::Sum for Cost {
    fn sum<I: Iterator<Item = Cost>>(all: I) -> Cost {
        all.fold(Cost::default(), |sum, one| Cost { sent: sum.sent + one.sent, spent: sum.spent + one.spent })
    }
}

/// What was sent so far.
#[derive(Debug, Default)]
pub(super) struct Sent(BTreeMap<(Account, Class, &'static str, Option<u16>), u64>);

impl Sent {
    /// One more.
    pub(super) fn count(&mut self, account: &Account, class: Class, method: &'static str, status: Option<u16>) {
        *self.0.entry((account.clone(), class, method, status)).or_default() += 1;
    }

    /// What an account's have cost.
    pub(super) fn cost(&self, account: &Account, class: Class) -> Cost {
        let own = self.0.iter().filter(|((of, on, ..), _)| of == account && *on == class);
        own.map(|((_, _, _, status), count)| Cost {
            sent: *count,
            spent: if *status == Some(304) { 0 } else { *count },
        })
        .sum()
    }

    /// For metrics.
    pub(super) fn all(&self) -> Vec<Requests> {
        let of = |((account, class, method, status), count): (&(Account, Class, &'static str, Option<u16>), &u64)| {
            let Account { api, name } = account.clone();
            Requests { api, account: name, resource: class.name(), method, status: *status, count: *count }
        };
        self.0.iter().map(of).collect()
    }
}

/// What GitHub said of its limits so far.
#[derive(Debug, Default)]
pub(super) struct Limits {
    budgets: BTreeMap<(Account, Class), Budget>,
    /// Until when, how often in a row, and why.
    pauses: BTreeMap<(Account, Class), (i64, u32, String)>,
}

impl Limits {
    /// Whether a request may be sent now.
    pub(super) fn check(&self, account: &Account, class: Class, now: i64) -> Result<(), Fault> {
        let key = (account.clone(), class);
        if let Some((until, _, why)) = self.pauses.get(&key).filter(|(until, ..)| *until > now) {
            return Err(Fault::Limited { until: *until, why: why.clone() });
        }
        match self.budgets.get(&key) {
            Some(budget) if budget.remaining == 0 && budget.reset > now => {
                let Budget { account, resource, limit, reset, .. } = budget;
                let why = format!("the budget `{resource}` of {account} is spent ({limit} requests)");
                Err(Fault::Limited { until: *reset, why })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Learns from an answer. The fault: GitHub refuses because of a limit.
    pub(super) fn learn(&mut self, account: &Account, class: Class, response: &Response, now: i64) -> Option<Fault> {
        let key = (account.clone(), class);
        let number = |name: &str| response.header(name).and_then(|text| text.trim().parse::<i64>().ok());
        let left = number("x-ratelimit-remaining");
        let reset = number("x-ratelimit-reset").map(|at| at.min(now + WAIT_MAX));
        let resource = response.header("x-ratelimit-resource").unwrap_or("core");
        if let (Some(limit), Some(left), Some(reset)) = (number("x-ratelimit-limit"), left, reset) {
            let whole = |value: i64| u64::try_from(value).unwrap_or(0);
            let budget = Budget {
                api: account.api.clone(),
                account: account.name.clone(),
                resource: resource.chars().take(60).collect(),
                limit: whole(limit),
                remaining: whole(left),
                reset,
                limited_until: None,
            };
            if self.budgets.len() < BUDGETS_MAX || self.budgets.contains_key(&key) {
                self.budgets.insert(key.clone(), budget);
            }
        }
        let after = number("retry-after").map(|wait| now + wait.clamp(1, WAIT_MAX));
        let spent = (left == Some(0)).then_some(reset).flatten();
        let is_limit = match response.status {
            429 => true,
            403 => after.is_some() || spent.is_some() || is_secondary(&response.body),
            503 => after.is_some(),
            _ => false,
        };
        if !is_limit {
            if response.status < 400 {
                self.pauses.remove(&key);
            }
            return None;
        }
        let times = self.pauses.get(&key).map_or(0, |(_, times, _)| *times);
        let pause = PAUSE_MIN.saturating_mul(1 << times.min(8)).min(PAUSE_MAX);
        let until = after.or(spent).unwrap_or(now + pause).max(now + 1);
        let why = Fault::of("a request", response).text();
        self.pauses.insert(key, (until, times.saturating_add(1), why.clone()));
        Some(Fault::Limited { until, why })
    }

    /// For how long an answer is used that took so many requests, in seconds. So it takes a quarter of the budget at most; and
    /// when less than a quarter is left, half of what is.
    pub(super) fn rest(&self, account: &Account, class: Class, cost: Cost, now: i64) -> i64 {
        let signed = |many: u64| i64::try_from(many).unwrap_or(i64::MAX);
        let spread = |over: i64, many: u64| over.saturating_mul(signed(cost.spent)) / signed(many.max(1));
        // Requests that are counted on no budget are no reason to send them without end.
        let least = REST_MIN.max(signed(cost.sent / SENT_A_SECOND));
        let budget = self.budgets.get(&(account.clone(), class)).filter(|budget| budget.limit > 0);
        let Some(Budget { limit, remaining, reset, .. }) = budget else { return least.min(REST_MAX) };
        let scarce = if *remaining < limit / 4 && *reset > now {
            spread(reset - now, remaining / 2).min(reset - now)
        } else {
            0
        };
        spread(HOUR, limit / 4).max(scarce).max(least).min(REST_MAX)
    }

    /// What is left, for metrics and for people.
    pub(super) fn budgets(&self, now: i64) -> Vec<Budget> {
        let of = |(key, budget): (&(Account, Class), &Budget)| {
            let paused = self.pauses.get(key).map(|(until, ..)| *until).filter(|until| *until > now);
            let spent = (budget.remaining == 0 && budget.reset > now).then_some(budget.reset);
            Budget { limited_until: paused.max(spent), ..budget.clone() }
        };
        let mut all: Vec<Budget> = self.budgets.iter().map(of).collect();
        for ((account, class), (until, ..)) in self.pauses.iter().filter(|(_, (until, ..))| *until > now) {
            // A limit without a budget: GitHub's secondary ones have none.
            if !self.budgets.contains_key(&(account.clone(), *class)) {
                all.push(Budget {
                    api: account.api.clone(),
                    account: account.name.clone(),
                    resource: class.name().to_owned(),
                    limit: 0,
                    remaining: 0,
                    reset: *until,
                    limited_until: Some(*until),
                });
            }
        }
        all
    }
}

impl Class {
    /// As GitHub calls it, where it does.
    fn name(self) -> &'static str {
        match self {
            Class::Registration => "actions_runner_registration",
            Class::Core => "core",
            Class::Actions => "actions service",
        }
    }
}

/// GitHub has no other sign of a secondary limit than its words when it sends no `retry-after`.
fn is_secondary(body: &[u8]) -> bool {
    let said = json(body).and_then(|json| json["message"].as_str().map(str::to_ascii_lowercase)).unwrap_or_default();
    // "You have exceeded a secondary rate limit. …"; older servers: "You have triggered an abuse detection mechanism."
    said.contains("secondary rate limit")
        || said.contains("abuse detection")
        || said.contains("api rate limit exceeded")
}

/// How often something may be done: so many at once, and then so many a minute.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// What is left of the burst, in thousandths.
    left: u64,
    at_ms: u64,
}

/// Done at once.
const BURST: u64 = 10;
/// And then so many a minute: with the burst it stays below 150 in any minute, and GitHub takes 1500 registrations in five
/// minutes, and 180 writes a minute.
const A_MINUTE: u64 = 140;

impl Pace {
    pub(super) fn new(now_ms: u64) -> Pace {
        Pace { left: BURST * 1000, at_ms: now_ms }
    }

    /// Takes a turn; how long to wait for it, in milliseconds.
    pub(super) fn turn(&mut self, now_ms: u64) -> u64 {
        // What was taken on credit stands in the future.
        let passed = now_ms.saturating_sub(self.at_ms);
        let gained = passed.saturating_mul(A_MINUTE) / 60;
        self.left = self.left.saturating_add(gained).min(BURST * 1000);
        self.at_ms = self.at_ms.max(now_ms);
        if self.left >= 1000 {
            self.left -= 1000;
            return self.at_ms - now_ms;
        }
        let wait = ((1000 - self.left) * 60).div_ceil(A_MINUTE);
        self.left = 0;
        self.at_ms += wait;
        self.at_ms - now_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000;

    fn account() -> Account {
        Account { api: "https://api.github.com".into(), name: "token $T".into() }
    }

    fn answer(status: u16, headers: &[(&str, i64)], body: &str) -> Response {
        let headers = headers.iter().map(|(key, value)| ((*key).to_owned(), value.to_string())).collect();
        Response { status, headers, body: body.as_bytes().to_vec() }
    }

    fn until(fault: Option<Fault>) -> i64 {
        match fault {
            Some(Fault::Limited { until, .. }) => until - NOW,
            other => panic!("no limit: {other:?}"),
        }
    }

    #[test]
    fn a_limit_is_kept_and_ends() {
        let (who, mut limits) = (account(), Limits::default());
        let spent = answer(
            200,
            &[("x-ratelimit-limit", 5000), ("x-ratelimit-remaining", 0), ("x-ratelimit-reset", NOW + 100)],
            "{}",
        );
        assert_eq!(limits.learn(&who, Class::Core, &spent, NOW), None, "this one was answered");
        let held = limits.check(&who, Class::Core, NOW + 99).expect_err("nothing is left");
        assert!(held.text().contains("`core` of token $T is spent (5000 requests)"), "{}", held.text());
        assert_eq!(limits.check(&who, Class::Core, NOW + 100), Ok(()));
        assert_eq!(limits.check(&who, Class::Registration, NOW), Ok(()), "another budget");
        assert_eq!(limits.budgets(NOW)[0].limited_until, Some(NOW + 100));

        let after = answer(403, &[("retry-after", 30)], "{}");
        assert_eq!(until(limits.learn(&who, Class::Registration, &after, NOW)), 30);
        assert!(limits.check(&who, Class::Registration, NOW + 29).is_err());
        assert_eq!(limits.check(&who, Class::Registration, NOW + 30), Ok(()));
    }

    #[test]
    fn without_a_time_it_is_a_minute_and_longer_each_time() {
        let (who, mut limits) = (account(), Limits::default());
        let words = r#"{"message": "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."}"#;
        let secondary = answer(403, &[("x-ratelimit-remaining", 4000)], words);
        let waits: Vec<i64> = (0..8).map(|_| until(limits.learn(&who, Class::Core, &secondary, NOW))).collect();
        assert_eq!(waits, [60, 120, 240, 480, 960, 1920, 3600, 3600]);
        limits.learn(&who, Class::Core, &answer(200, &[], "{}"), NOW + 4000);
        assert_eq!(
            until(limits.learn(&who, Class::Core, &answer(429, &[], ""), NOW)),
            60,
            "a good answer ends the row"
        );
    }

    #[test]
    fn what_is_asked_again_and_again_leaves_most_of_the_budget() {
        let (who, mut limits) = (account(), Limits::default());
        let cost = |spent| Cost { sent: spent, spent };
        assert_eq!(limits.rest(&who, Class::Core, cost(3), NOW), 10, "a server without budgets");
        let mut left = |remaining: i64, cost: Cost| {
            let headers =
                [("x-ratelimit-limit", 5000), ("x-ratelimit-remaining", remaining), ("x-ratelimit-reset", NOW + 1800)];
            limits.learn(&who, Class::Core, &answer(200, &headers, "{}"), NOW);
            limits.rest(&who, Class::Core, cost, NOW)
        };
        for (remaining, spent, want) in [
            (4000, 0, 10),
            (4000, 3, 10),
            (4000, 100, 288),
            (4000, 100_000, 3600),
            (1250, 100, 288),
            (1000, 100, 360),
            (100, 100, 1800),
            (0, 1, 1800),
        ] {
            assert_eq!(left(remaining, cost(spent)), want, "{spent} requests, {remaining} left");
        }
        assert_eq!(left(4000, Cost { sent: 900, spent: 0 }), 180, "nothing changed, and it is asked all the same");
    }

    #[test]
    fn a_missing_right_is_no_limit() {
        let (who, mut limits) = (account(), Limits::default());
        let forbidden = answer(403, &[("x-ratelimit-remaining", 4000)], r#"{"message": "Must have admin rights"}"#);
        assert_eq!(limits.learn(&who, Class::Core, &forbidden, NOW), None);
        assert_eq!(limits.check(&who, Class::Core, NOW), Ok(()));
        // A reset in a far future, and times before the beginning of times, harm nobody.
        let odd = answer(
            429,
            &[("retry-after", i64::MAX), ("x-ratelimit-reset", i64::MIN), ("x-ratelimit-remaining", -1)],
            "",
        );
        assert_eq!(until(limits.learn(&who, Class::Core, &odd, NOW)), WAIT_MAX);
    }

    #[test]
    fn never_more_than_150_in_a_minute() {
        let mut pace = Pace::new(0);
        let turns: Vec<u64> = (0..400).map(|_| pace.turn(0)).collect();
        assert!(turns[..10].iter().all(|wait| *wait == 0), "{:?}", &turns[..10]);
        for from in 0..400 {
            let within = turns.iter().filter(|at| **at >= turns[from] && **at < turns[from] + 60_000).count();
            assert!(within <= 150, "{within} in the minute from {}", turns[from]);
        }
        assert!(turns[399] < 180_000, "it goes on: {}", turns[399]);
        // What is not used is not saved up.
        let mut rested = pace;
        let later: Vec<u64> = (0..12).map(|_| rested.turn(10_000_000)).collect();
        assert!(later[9] == 0 && later[10] > 0, "{later:?}");
    }
}
