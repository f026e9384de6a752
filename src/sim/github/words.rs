//! How GitHub writes things: times, base64, the tokens of an App.

use serde_json::Value;

/// The letters of base64; in a token's parts the last two are others.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The longest that the token of an App may be good, in seconds.
const APP_TOKEN_SECONDS: i64 = 600;

/// How far the clock of an App may be ahead, in seconds.
const APP_CLOCK_SECONDS: i64 = 60;

/// A moment as GitHub writes it: `2026-11-22T02:00:00Z`.
pub(super) fn time(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX).to_string()
}

/// Base64 with `=` at its end.
pub(super) fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let all = chunk.iter().fold(0u32, |all, byte| all << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let letter = LETTERS[(all >> (18 - 6 * place) & 63) as usize];
            text.push(if place > chunk.len() { '=' } else { char::from(letter) });
        }
    }
    text
}

/// Reads the base64 of tokens: `-` and `_`, nothing at the end.
fn unbase64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut all, mut bits) = (0u32, 0);
    for letter in text.bytes() {
        let letter = match letter {
            b'-' => b'+',
            b'_' => b'/',
            other => other,
        };
        let value = LETTERS.iter().position(|l| *l == letter).and_then(|n| u32::try_from(n).ok())?;
        all = (all << 6 | value) & 0xFF_FFFF;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((all >> bits & 0xFF) as u8);
        }
    }
    Some(bytes)
}

/// What is wrong with the token of an App, in GitHub's words.
pub(super) fn app_token(token: &str, now: u64) -> Result<(), &'static str> {
    let undecoded = "A JSON web token could not be decoded";
    let parts: Vec<&str> = token.split('.').collect();
    let [head, claims, signature] = parts.as_slice() else { return Err(undecoded) };
    let read = |part: &str| serde_json::from_slice::<Value>(&unbase64(part)?).ok();
    let (Some(head), Some(claims)) = (read(head), read(claims)) else { return Err(undecoded) };
    if head["alg"] != "RS256" || unbase64(signature).is_none_or(|bytes| bytes.len() < 128) {
        return Err(undecoded);
    }
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let issued = claims["iat"].as_i64().ok_or("'Issued at' claim ('iat') must be an Integer")?;
    let until = claims["exp"].as_i64().ok_or("'Expiration time' claim ('exp') must be a numeric value")?;
    if issued > now + APP_CLOCK_SECONDS {
        return Err("'Issued at' claim ('iat') is too far in the future");
    }
    if until <= now {
        return Err("'Expiration time' claim ('exp') must be in the future");
    }
    if until > now + APP_TOKEN_SECONDS {
        return Err("'Expiration time' claim ('exp') is too far in the future");
    }
    let issuer = &claims["iss"];
    match issuer.as_str().is_some_and(|iss| !iss.is_empty()) || issuer.is_u64() {
        true => Ok(()),
        false => Err("'Issuer' claim ('iss') must be an Integer"),
    }
}

/// A token like those of GitHub's services: only its claims can be read.
pub(super) fn service_token(serial: u64, expires_ms: u64) -> String {
    let plain =
        |value: &Value| base64(value.to_string().as_bytes()).trim_end_matches('=').replace('+', "-").replace('/', "_");
    let head = serde_json::json!({ "typ": "JWT", "alg": "RS256" });
    let claims = serde_json::json!({ "jti": serial.to_string(), "exp": expires_ms / 1000 });
    format!("{}.{}.c2ltdWxhdGVk", plain(&head), plain(&claims))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (plain, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), text);
            assert_eq!(unbase64(text.trim_end_matches('=')).as_deref(), Some(plain.as_bytes()));
        }
        assert_eq!(unbase64("!"), None);
        assert_eq!(unbase64("-_-_"), Some(vec![0xfb, 0xff, 0xbf]));
    }

    #[test]
    fn an_apps_token_is_looked_at() {
        let made = |head: Value, claims: Value| {
            let part = |bytes: &[u8]| base64(bytes).trim_end_matches('=').replace('+', "-").replace('/', "_");
            format!("{}.{}.{}", part(head.to_string().as_bytes()), part(claims.to_string().as_bytes()), part(&[7; 256]))
        };
        let rs256 = json!({ "alg": "RS256", "typ": "JWT" });
        let good = json!({ "iat": 940, "exp": 1540, "iss": "Iv1.x" });
        assert_eq!(app_token(&made(rs256.clone(), good.clone()), 1000), Ok(()));
        assert!(app_token(&made(json!({ "alg": "HS256" }), good), 1000).is_err());
        for (iat, exp, iss) in [(1100, 1540, "a"), (940, 1000, "a"), (940, 1601, "a"), (940, 1540, "")] {
            let claims = json!({ "iat": iat, "exp": exp, "iss": iss });
            assert!(app_token(&made(rs256.clone(), claims.clone()), 1000).is_err(), "{claims}");
        }
        assert!(app_token("ghp_x", 1000).is_err());
        assert_eq!(time(1_795_312_800_999), "2026-11-22T02:00:00Z");
    }
}
