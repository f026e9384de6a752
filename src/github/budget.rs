//! What GitHub lets us ask, and when it lets us ask again.

/// What is left of a budget, as GitHub's last answer said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The API's base: `https://api.github.com`.
    pub api: String,
    /// Whose: `token ENV`, `app 12 installation 34`.
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
