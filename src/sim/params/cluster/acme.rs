//! Parameters: ACME accounts.

use crate::sim::params;
use crate::sim::verify::{Kind, Param, format, opt, req};

/// A new account.
pub const NEW: &[Param] = &[
    req("contact", Kind::List(email)),
    opt("directory", Kind::Pattern(url, usize::MAX)),
    opt("eab-hmac-key", Kind::Str),
    opt("eab-kid", Kind::Str),
    opt("name", format(params::config_id)),
    opt("tos_url", Kind::Str),
];
/// An account's name in a path.
pub const NAME: &[Param] = &[opt("name", format(params::config_id))];
/// A changed account.
pub const CHANGE: &[Param] = &[opt("contact", Kind::List(email))];

fn url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// `email`.
fn email(text: &str) -> Result<(), String> {
    match text.split_once('@') {
        Some((name, host)) if !name.is_empty() && !host.is_empty() => Ok(()),
        _ => Err("value does not look like a valid email address\n".to_owned()),
    }
}
