//! Who we are: an API token, or a user with a password (and a second factor), for which PVE gives a ticket.

use crate::base::secret::Secret;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Tickets are valid for two hours; they are renewed at half of it, as PVE's own interface does.
pub const TICKET_AGE_MAX: Duration = Duration::from_secs(3600);

/// Credentials.
#[derive(Clone, Debug)]
pub enum Auth {
    /// An API token: no login, no expiry of its own.
    Token {
        /// `user@realm!name`.
        id: String,
        /// The token's secret.
        secret: Secret,
    },
    /// A login.
    Password {
        /// `user@realm`.
        user: String,
        /// The user's password.
        password: Secret,
        /// The TOTP key in base32 (or a whole `otpauth://` address), for users with a second factor.
        totp: Option<Secret>,
    },
}

/// A login in force.
pub(super) struct Session {
    pub(super) ticket: Secret,
    pub(super) csrf: Secret,
    pub(super) born: Instant,
}

impl Session {
    /// Whether it is time to renew it.
    pub(super) fn is_stale(&self) -> bool {
        self.born.elapsed() >= TICKET_AGE_MAX
    }
}

/// What a request shows to be let in.
#[derive(Clone)]
pub(super) enum Badge {
    Nobody,
    Token(Secret),
    Session(Arc<Session>),
}

impl Badge {
    /// The headers of a request; a write with a ticket needs the token against cross-site forgery too.
    pub(super) fn headers(&self, is_write: bool) -> Vec<(&'static str, Secret)> {
        match self {
            Badge::Nobody => Vec::new(),
            Badge::Token(token) => vec![("authorization", Secret::new(format!("PVEAPIToken={}", token.expose())))],
            Badge::Session(session) => {
                let cookie = Secret::new(format!("PVEAuthCookie={}", cookie_value(session.ticket.expose())));
                let mut headers = vec![("cookie", cookie)];
                if is_write {
                    headers.push(("csrfpreventiontoken", session.csrf.clone()));
                }
                headers
            }
        }
    }
}

/// PVE decodes percent signs in the cookie; everything else in a ticket may stand in a cookie as it is.
fn cookie_value(ticket: &str) -> String {
    const ESCAPE: &percent_encoding::AsciiSet =
        &percent_encoding::CONTROLS.add(b'%').add(b';').add(b',').add(b'"').add(b'\\').add(b' ');
    percent_encoding::utf8_percent_encode(ticket, ESCAPE).to_string()
}

/// The six digits of a TOTP key (RFC 6238: SHA-1, 30 s) at a time; `None` if the key is not base32.
pub(super) fn totp(key: &Secret, unix_seconds: u64) -> Option<Secret> {
    const STEP_SECONDS: u64 = 30;
    let key = Secret::new(totp_key(key.expose()));
    let bytes = base32(key.expose())?;
    let hmac_key = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &bytes);
    let tag = ring::hmac::sign(&hmac_key, &(unix_seconds / STEP_SECONDS).to_be_bytes());
    let tag = tag.as_ref();
    let at = usize::from(tag.last()? & 15);
    let word = u32::from_be_bytes(tag.get(at..at + 4)?.try_into().ok()?) & 0x7fff_ffff;
    Some(Secret::new(format!("{:06}", word % 1_000_000)))
}

/// The key itself, also out of an `otpauth://totp/…?secret=KEY&…` address.
fn totp_key(text: &str) -> String {
    let text = text.trim();
    if !text.starts_with("otpauth://") {
        return text.to_owned();
    }
    let secret = url::Url::parse(text)
        .ok()
        .and_then(|url| url.query_pairs().find(|(name, _)| name == "secret").map(|(_, value)| value.into_owned()));
    secret.unwrap_or_default()
}

fn base32(text: &str) -> Option<Vec<u8>> {
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for c in text.chars().filter(|c| !matches!(c, '=' | ' ' | '-')) {
        let value = match c.to_ascii_uppercase() {
            c @ 'A'..='Z' => u32::from(c) - u32::from('A'),
            c @ '2'..='7' => u32::from(c) - u32::from('2') + 26,
            _ => return None,
        };
        bits = (bits << 5) | value;
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from((bits >> count) & 0xff).ok()?);
        }
    }
    (!bytes.is_empty()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B, SHA-1, last six digits; the key is `12345678901234567890`.
    #[test]
    fn totp_agrees_with_the_standard() {
        let key = Secret::new("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        for (time, digits) in [(59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")] {
            assert_eq!(totp(&key, time).unwrap().expose(), digits);
        }
        let address = Secret::new("otpauth://totp/pve:root?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=pve");
        assert_eq!(totp(&address, 59).unwrap().expose(), "287082");
        assert!(totp(&Secret::new("not base32!"), 59).is_none());
    }

    #[test]
    fn a_ticket_travels_as_it_is_but_for_what_a_cookie_cannot_hold() {
        assert_eq!(cookie_value("PVE:root@pam:65A0::ab+/=="), "PVE:root@pam:65A0::ab+/==");
        assert_eq!(cookie_value("a%3A;b"), "a%253A%3Bb");
    }
}
