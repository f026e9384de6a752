//! Parameters: ACME accounts and challenge plugins.

use crate::sim::params;
use crate::sim::verify::{Kind, Param, between, format, opt, req};

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

/// A challenge plugin's id.
pub const PLUGIN_ID: &[Param] = &[req("id", format(params::config_id))];
/// A challenge plugin. Of the many DNS services any name is taken.
pub const PLUGIN: &[Param] = &[
    req("id", format(params::config_id)),
    opt("api", format(params::config_id)),
    opt("data", Kind::Str),
    opt("disable", Kind::Bool),
    opt("nodes", Kind::List(params::node)),
    opt("validation-delay", between(0, 172_800)),
];
const PLUGIN_TYPES: Kind = Kind::Enum(&["dns", "standalone"]);
/// A new challenge plugin.
pub const PLUGIN_NEW: &[Param] = &[req("type", PLUGIN_TYPES)];
/// The list of challenge plugins.
pub const PLUGINS: &[Param] = &[opt("type", PLUGIN_TYPES)];
/// A changed challenge plugin.
pub const PLUGIN_CHANGE: &[Param] = &[opt("delete", Kind::List(params::config_id)), opt("digest", Kind::Len(0, 64))];

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
