//! Parameters: notification endpoints and matchers.

use crate::sim::params::{self};
use crate::sim::verify::{Kind, Param, format, opt, req};

const WORDS: Kind = Kind::Each(&Kind::Str);

/// A name, in a path or out of it.
pub const NAME: &[Param] = &[req("name", format(params::config_id))];

/// What every endpoint and matcher has.
pub const COMMON: &[Param] =
    &[req("name", format(params::config_id)), opt("comment", Kind::Str), opt("disable", Kind::Bool)];

/// A changed object.
pub const CHANGE: &[Param] =
    &[opt("delete", Kind::Each(&Kind::Format(params::config_id, usize::MAX))), opt("digest", Kind::Len(0, 64))];

/// The people whom mails go to.
const RECIPIENT: &Kind = &Kind::Format(params::anything, usize::MAX);

/// A local mailer.
pub const SENDMAIL: &[Param] = &[
    opt("author", Kind::Str),
    opt("from-address", Kind::Str),
    opt("mailto", Kind::Each(RECIPIENT)),
    opt("mailto-user", Kind::Each(&Kind::Format(user_id, usize::MAX))),
];

/// A mail server.
pub const SMTP: &[Param] = &[
    opt("author", Kind::Str),
    opt("mailto", Kind::Each(RECIPIENT)),
    opt("mailto-user", Kind::Each(&Kind::Format(user_id, usize::MAX))),
    opt("mode", Kind::Enum(&["insecure", "starttls", "tls"])),
    opt("password", Kind::Str),
    opt("port", Kind::Int(None, None)),
    opt("username", Kind::Str),
];
/// A new mail server.
pub const SMTP_NEW: &[Param] = &[req("server", Kind::Str), req("from-address", Kind::Str)];
/// A changed mail server.
pub const SMTP_CHANGE: &[Param] = &[opt("server", Kind::Str), opt("from-address", Kind::Str)];

/// A new Gotify server.
pub const GOTIFY_NEW: &[Param] = &[req("server", Kind::Str), req("token", Kind::Str)];
/// A changed Gotify server.
pub const GOTIFY_CHANGE: &[Param] = &[opt("server", Kind::Str), opt("token", Kind::Str)];

const METHODS: Kind = Kind::Enum(&["post", "put", "get"]);
/// A web hook.
pub const WEBHOOK: &[Param] = &[opt("body", Kind::Str), opt("header", WORDS), opt("secret", WORDS)];
/// A new web hook.
pub const WEBHOOK_NEW: &[Param] = &[req("method", METHODS), req("url", Kind::Str)];
/// A changed web hook.
pub const WEBHOOK_CHANGE: &[Param] = &[opt("method", METHODS), opt("url", Kind::Str)];

/// A matcher.
pub const MATCHER: &[Param] = &[
    opt("invert-match", Kind::Bool),
    opt("match-calendar", WORDS),
    opt("match-field", WORDS),
    opt("match-severity", WORDS),
    opt("mode", Kind::Enum(&["all", "any"])),
    opt("target", Kind::Each(&Kind::Format(params::config_id, usize::MAX))),
];

/// `pve-userid`.
fn user_id(text: &str) -> Result<(), String> {
    match text.rsplit_once('@') {
        Some((name, realm)) if !name.is_empty() && realm.len() > 1 => Ok(()),
        _ => Err(format!("value '{text}' does not look like a valid user name\n")),
    }
}
