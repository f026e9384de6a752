//! Parameters: access.

use crate::sim::params;
use crate::sim::rights;
use crate::sim::verify::{Kind, Param, at_least, opt, req};

/// A user's id. PVE finds fault with it while it checks rights, so the endpoints look at it ([`user_id`]).
const USERID: Param = req("userid", Kind::Len(0, 64));

/// `GET /access/permissions`.
pub const PERMISSIONS: &[Param] = &[opt("path", Kind::Str), opt("userid", Kind::Pattern(user_or_token, 1024))];

/// `POST /access/ticket`.
pub const TICKET: &[Param] = &[
    req("username", Kind::Len(0, 64)),
    req("password", Kind::Str),
    opt("realm", Kind::Format(realm, 32)),
    opt("new-format", Kind::Bool),
    opt("otp", Kind::Str),
    opt("path", Kind::Len(0, 64)),
    opt("privs", Kind::List(privilege)),
    opt("tfa-challenge", Kind::Str),
];

/// `GET /access/users`.
pub const USERS: &[Param] = &[opt("enabled", Kind::Bool), opt("full", Kind::Bool)];

/// What a user's creation and change share.
pub const USER: &[Param] = &[
    USERID,
    opt("comment", Kind::Len(0, 2048)),
    opt("email", Kind::Format(email, 254)),
    opt("enable", Kind::Bool),
    opt("expire", at_least(0)),
    opt("firstname", Kind::Len(0, 1024)),
    opt("groups", Kind::List(group_id)),
    opt("keys", Kind::Pattern(keys, usize::MAX)),
    opt("lastname", Kind::Len(0, 1024)),
];

/// `POST /access/users`, beyond [`USER`].
pub const USER_CREATE: &[Param] = &[opt("password", Kind::Len(8, 64))];

/// `PUT /access/users/{userid}`, beyond [`USER`].
pub const USER_UPDATE: &[Param] = &[opt("append", Kind::Bool)];

/// `GET /access/users/{userid}/tfa`.
pub const USER_TFA: &[Param] = &[opt("multiple", Kind::Bool)];

/// The token of the path.
pub const TOKEN: &[Param] = &[req("tokenid", Kind::Pattern(token_name, usize::MAX))];

/// What a token's creation and change share.
pub const TOKEN_OPTIONS: &[Param] =
    &[opt("comment", Kind::Str), opt("expire", at_least(0)), opt("privsep", Kind::Bool)];

/// `PUT` of a token, beyond [`TOKEN_OPTIONS`].
pub const TOKEN_UPDATE: &[Param] = &[opt("delete", Kind::List(params::config_id))];

/// Creation and change of a group.
pub const GROUP: &[Param] = &[req("groupid", Kind::Format(group_id, usize::MAX)), opt("comment", Kind::Str)];

/// Creation of a role.
pub const ROLE: &[Param] = &[req("roleid", Kind::Format(role_id, usize::MAX)), opt("privs", Kind::List(privilege))];

/// Change of a role, beyond [`ROLE`].
pub const ROLE_UPDATE: &[Param] = &[opt("append", Kind::Bool)];

/// `PUT /access/acl`.
pub const ACL: &[Param] = &[
    req("path", Kind::Str),
    req("roles", Kind::List(role_id)),
    opt("delete", Kind::Bool),
    opt("groups", Kind::List(group_id)),
    opt("propagate", Kind::Bool),
    opt("tokens", Kind::List(token_id)),
    opt("users", Kind::List(user_id)),
];

/// The realm of the path.
pub const REALM: &[Param] = &[req("realm", Kind::Format(realm, 32))];

/// `PUT /access/password`.
pub const PASSWORD: &[Param] =
    &[USERID, req("password", Kind::Len(8, 64)), opt("confirmation-password", Kind::Len(5, 64))];

fn word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// A token's name: a letter and at least one more character.
pub fn token_name(text: &str) -> bool {
    text.len() >= 2 && word(text) && text.starts_with(|c: char| c.is_ascii_alphabetic())
}

fn user_or_token(text: &str) -> bool {
    match text.split_once('!') {
        Some((user, token)) => user_id(user).is_ok() && token_name(token),
        None => user_id(text).is_ok(),
    }
}

fn keys(text: &str) -> bool {
    text.len() <= 4096 && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '!' || c == '=')
}

/// `pve-realm`.
pub fn realm(text: &str) -> Result<(), String> {
    match token_name(text) {
        true => Ok(()),
        false => Err("value does not look like a valid realm\n".to_owned()),
    }
}

/// `pve-userid`.
pub fn user_id(text: &str) -> Result<(), String> {
    if text.len() < 3 {
        return Err(format!("user name '{text}' is too short\n"));
    }
    if text.len() > 64 {
        return Err(format!("user name '{text}' is too long ({} > 64)\n", text.len()));
    }
    match text.rsplit_once('@') {
        Some((name, of)) if plain_name(name) && realm(of).is_ok() => Ok(()),
        _ => Err(format!("value '{text}' does not look like a valid user name\n")),
    }
}

fn plain_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == ':' || c == '/')
}

fn token_id(text: &str) -> Result<(), String> {
    match text.split_once('!') {
        Some((user, token)) if user_id(user).is_ok() && token_name(token) => Ok(()),
        _ => Err(format!("value '{text}' does not look like a valid token ID\n")),
    }
}

fn group_id(text: &str) -> Result<(), String> {
    match word(text) {
        true => Ok(()),
        false => Err(format!("group name '{text}' contains invalid characters\n")),
    }
}

fn role_id(text: &str) -> Result<(), String> {
    match word(text) {
        true => Ok(()),
        false => Err(format!("role name '{text}' contains invalid characters\n")),
    }
}

fn privilege(text: &str) -> Result<(), String> {
    match rights::PRIVILEGES.contains(&text) {
        true => Ok(()),
        false => Err(format!("invalid privilege '{text}'\n")),
    }
}

fn email(text: &str) -> Result<(), String> {
    let fine = |(name, host): (&str, &str)| {
        !name.is_empty() && !name.contains(char::is_whitespace) && params::dns_name(host).is_ok()
    };
    match text.is_empty() || text.split_once('@').is_some_and(fine) {
        true => Ok(()),
        false => Err("value does not look like a valid email address\n".to_owned()),
    }
}
