//! Who may come in. With a token: whoever shows it, as `Authorization: Bearer …` or as the password of any user, which
//! browsers ask for. Without one: whoever reaches loopback, but no web page, neither by a form of its own nor by a name that
//! it made lead here (DNS rebinding). Pure, but for the random keys at the start; nothing here prints what was shown.

use crate::base::secret::Secret;
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, Method};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use std::fmt;
use std::net::IpAddr;

/// Nobody shows a longer one.
const SHOWN_MAX: usize = 4096;

/// The lock.
pub struct Gate {
    key: hmac::Key,
    /// Of the token; absent where none is wanted.
    tag: Option<hmac::Tag>,
    /// Names by which we may be called when no token is wanted.
    hosts: Vec<String>,
    /// What forms of our own pages carry.
    form: String,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("token", &self.tag.is_some()).field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

/// Why somebody stays outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing was shown.
    Nothing,
    /// Something was shown, and it is not the token.
    Wrong,
    /// The name in `Host` is none of ours.
    Host,
    /// Another site sent it.
    Foreign,
}

impl Refusal {
    /// A sentence for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Refusal::Nothing => {
                "a token is needed: `Authorization: Bearer …`, or any user with the token as the password"
            }
            Refusal::Wrong => "this is not the token",
            Refusal::Host => {
                "this is not a name of the daemon: use localhost or 127.0.0.1, or add the name to `http.hosts`, or set `http.token`"
            }
            Refusal::Foreign => "this was sent by another site",
        }
    }
}

/// Who came in, as far as they said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The user that a browser was given beside the token. Anybody may write any name.
    pub user: Option<String>,
}

impl Gate {
    /// A gate with keys of its own.
    pub fn new(token: Option<&Secret>, hosts: Vec<String>) -> Result<Gate, String> {
        let random = SystemRandom::new();
        let none = |_| "the system gives no random numbers".to_owned();
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random).map_err(none)?;
        let mut form = [0u8; 32];
        random.fill(&mut form).map_err(none)?;
        if token.is_some_and(|token| token.expose().is_empty()) {
            return Err("the token is empty".to_owned());
        }
        let tag = token.map(|token| hmac::sign(&key, token.expose().as_bytes()));
        Ok(Gate { key, tag, hosts, form: hex::encode(form) })
    }

    /// What forms of our pages carry.
    pub fn form(&self) -> &str {
        &self.form
    }

    /// Whether a form is one of ours.
    pub fn is_form(&self, shown: &str) -> bool {
        // Signed, so that how long the comparison takes tells nothing.
        let tag = hmac::sign(&self.key, self.form.as_bytes());
        hmac::verify(&self.key, shown.as_bytes(), tag.as_ref()).is_ok()
    }

    /// Whether a token is wanted.
    pub fn wants_token(&self) -> bool {
        self.tag.is_some()
    }

    /// Whether a request may come in, and who it is.
    pub fn pass(&self, method: &Method, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let caller = match &self.tag {
            None => {
                let host = text(headers, HOST.as_str()).ok_or(Refusal::Host)?;
                if !self.is_ours(host) {
                    return Err(Refusal::Host);
                }
                Caller::default()
            }
            Some(tag) => {
                let shown = text(headers, AUTHORIZATION.as_str()).ok_or(Refusal::Nothing)?;
                let (user, token) = credentials(shown).ok_or(Refusal::Wrong)?;
                hmac::verify(&self.key, token.as_bytes(), tag.as_ref()).map_err(|_| Refusal::Wrong)?;
                Caller { user }
            }
        };
        if !matches!(*method, Method::GET | Method::HEAD) && !is_own(headers) {
            return Err(Refusal::Foreign);
        }
        Ok(caller)
    }

    fn is_ours(&self, host: &str) -> bool {
        let name = without_port(host);
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        address.map_or_else(
            |_| name.eq_ignore_ascii_case("localhost") || self.hosts.iter().any(|h| h.eq_ignore_ascii_case(name)),
            // An address is nobody's name: what is asked by it was not led here.
            |_| true,
        )
    }
}

/// Whether a browser says that our own page sent it; programs say nothing.
fn is_own(headers: &HeaderMap) -> bool {
    let site = text(headers, "sec-fetch-site");
    if headers.contains_key("sec-fetch-site") && !matches!(site, Some("same-origin" | "none")) {
        return false;
    }
    if !headers.contains_key(ORIGIN) {
        return true;
    }
    let origin = text(headers, ORIGIN.as_str()).and_then(|origin| origin.split_once("://"));
    origin.zip(text(headers, HOST.as_str())).is_some_and(|((_, origin), host)| origin.eq_ignore_ascii_case(host))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut all = headers.get_all(name).iter();
    let one = all.next()?;
    if all.next().is_some() {
        // Two of them: whoever is in front may have read the other one.
        return None;
    }
    one.to_str().ok()
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.chars().all(|c| c.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        Some(_) | None => host,
    }
}

/// The user, if one is said, and the token.
fn credentials(shown: &str) -> Option<(Option<String>, Secret)> {
    if shown.len() > SHOWN_MAX {
        return None;
    }
    let (scheme, rest) = shown.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some((None, Secret::new(rest)));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = Secret::new(String::from_utf8(base64(rest)?).ok()?);
    let (user, token) = pair.expose().split_once(':')?;
    Some((Some(user.to_owned()).filter(|user| !user.is_empty()), Secret::new(token)))
}

/// The bytes of a text in the standard alphabet of base64, with or without `=` at its end.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 3 / 4);
    let (mut held, mut bits) = (0u32, 0u32);
    for c in text.trim_end_matches('=').bytes() {
        let six = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        held = (held << 6) | u32::from(six);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from((held >> bits) & 0xff).ok()?);
            held &= (1 << bits) - 1;
        }
    }
    Some(bytes)
}

trait AsBytes {
    fn as_bytes(&self) -> &[u8];
}

impl AsBytes for Secret {
    fn as_bytes(&self) -> &[u8] {
        self.expose().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("a value"));
        }
        headers
    }

    fn gate(token: Option<&str>) -> Gate {
        Gate::new(token.map(Secret::new).as_ref(), vec!["pvectl.example.org".to_owned()]).expect("random numbers")
    }

    #[test]
    fn the_token_opens_in_both_forms_and_nothing_else_does() {
        let gate = gate(Some("s3cret:with colon"));
        let basic = "Basic YW5uOnMzY3JldDp3aXRoIGNvbG9u"; // ann:s3cret:with colon
        for (shown, wanted) in [
            (Some("Bearer s3cret:with colon"), Ok(None)),
            (Some("bearer   s3cret:with colon "), Ok(None)),
            (Some(basic), Ok(Some("ann"))),
            (Some("Basic OnMzY3JldDp3aXRoIGNvbG9u"), Ok(None)),
            (None, Err(Refusal::Nothing)),
            (Some("Bearer s3cret"), Err(Refusal::Wrong)),
            (Some("Bearer "), Err(Refusal::Wrong)),
            (Some("Bearer s3cret:with colon2"), Err(Refusal::Wrong)),
            (Some("s3cret:with colon"), Err(Refusal::Wrong)),
            (Some("Basic %%%"), Err(Refusal::Wrong)),
            (Some("Digest s3cret:with colon"), Err(Refusal::Wrong)),
        ] {
            let headers = shown.map_or_else(HeaderMap::new, |shown| headers(&[("authorization", shown)]));
            let found = gate.pass(&Method::GET, &headers).map(|caller| caller.user);
            assert_eq!(found, wanted.map(|user: Option<&str>| user.map(str::to_owned)), "{shown:?}");
        }
        let twice = headers(&[("authorization", "Bearer x"), ("authorization", basic)]);
        assert!(gate.pass(&Method::GET, &twice).is_err());
        assert!(!format!("{gate:?}").contains("s3cret") && !format!("{gate:?}").contains(gate.form()));
    }

    #[test]
    fn an_empty_token_locks_nothing_and_is_refused() {
        assert!(Gate::new(Some(&Secret::new("")), Vec::new()).is_err());
    }

    #[test]
    fn without_a_token_only_our_own_names_are_answered_to() {
        let gate = gate(None);
        for (host, ours) in [
            ("localhost", true),
            ("LOCALHOST:9180", true),
            ("127.0.0.1:9180", true),
            ("[::1]:9180", true),
            ("[::1]", true),
            ("pvectl.example.org", true),
            ("pvectl.example.org:443", true),
            ("evil.example.org:9180", false),
            ("localhost.evil.org", false),
            ("127.0.0.1.evil.org", false),
            ("", false),
        ] {
            assert_eq!(gate.pass(&Method::GET, &headers(&[("host", host)])).is_ok(), ours, "{host}");
        }
        assert_eq!(gate.pass(&Method::GET, &HeaderMap::new()), Err(Refusal::Host));
    }

    #[test]
    fn other_sites_change_nothing() {
        let gate = gate(None);
        let host = ("host", "localhost:9180");
        for (more, own) in [
            (vec![], true),
            (vec![("sec-fetch-site", "same-origin")], true),
            (vec![("sec-fetch-site", "same-origin"), ("origin", "http://localhost:9180")], true),
            (vec![("sec-fetch-site", "cross-site")], false),
            (vec![("sec-fetch-site", "same-site")], false),
            (vec![("origin", "http://localhost:8000")], false),
            (vec![("origin", "https://evil.example.org")], false),
            (vec![("origin", "null")], false),
        ] {
            let headers = headers(&[vec![host], more.clone()].concat());
            assert_eq!(gate.pass(&Method::POST, &headers).is_ok(), own, "{more:?}");
            assert!(gate.pass(&Method::GET, &headers).is_ok(), "to look is free: {more:?}");
        }
    }

    #[test]
    fn forms_are_known_by_their_token() {
        let (one, other) = (gate(None), gate(None));
        assert!(one.is_form(one.form()) && !one.is_form(other.form()) && !one.is_form(""));
        assert_eq!(one.form().len(), 64);
    }

    #[test]
    fn base64_is_read_or_refused() {
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmE", "fooba")] {
            assert_eq!(base64(text).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
        assert_eq!(base64("Zm 9v"), None);
    }
}
