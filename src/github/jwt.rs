//! The signed word with which a GitHub App says who it is, and the end that such a word names.

use crate::base::secret::Secret;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

/// Clocks differ; GitHub takes nothing from the future.
const BEFORE_SECONDS: i64 = 60;
/// GitHub takes ten minutes at most.
const AFTER_SECONDS: i64 = 9 * 60;

/// The word of the App `issuer` at a time, signed with its key (PEM, PKCS#1 or PKCS#8). The error says nothing of the key.
pub(super) fn word(issuer: &str, key: &Secret, now: i64) -> Result<Secret, String> {
    let der = PrivateKeyDer::from_pem_slice(key.expose().as_bytes())
        .map_err(|_| "the App's private key is no PEM file with a private key in it".to_owned())?;
    let pair = match &der {
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
        PrivateKeyDer::Sec1(_) | _ => return Err("the App's private key is no RSA key".to_owned()),
    };
    let pair = pair.map_err(|why| format!("the App's private key cannot be used: {why}"))?;
    let claims = serde_json::json!({"iat": now - BEFORE_SECONDS, "exp": now + AFTER_SECONDS, "iss": issuer});
    let signed = format!("{}.{}", encode(br#"{"alg":"RS256","typ":"JWT"}"#), encode(claims.to_string().as_bytes()));
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
        .map_err(|_| "this machine has no randomness to sign with".to_owned())?;
    Ok(Secret::new(format!("{signed}.{}", encode(&signature))))
}

/// When a word ends, in seconds since 1970, as it says itself.
pub(super) fn end(word: &Secret) -> Option<i64> {
    let claims = decode(word.expose().split('.').nth(1)?)?;
    serde_json::from_slice::<serde_json::Value>(&claims).ok()?["exp"].as_i64()
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Base64 as URLs take it, without padding.
fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let at = |i: usize| u32::from(three.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..=three.len() {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * place) & 63) as usize]));
        }
    }
    text
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut count) = (Vec::with_capacity(text.len()), 0_u32, 0);
    for digit in text.trim_end_matches('=').bytes() {
        let value = match digit {
            b'+' => 62,
            b'/' => 63,
            _ => DIGITS.iter().position(|d| *d == digit)?,
        };
        bits = bits << 6 | u32::try_from(value).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 255).ok()?);
        }
    }
    Some(bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    /// Keys of nobody, made for these tests with `openssl genrsa`.
    pub(crate) const PKCS8: &str = include_str!("jwt/pkcs8.pem");
    const PKCS1: &str = include_str!("jwt/pkcs1.pem");

    #[test]
    fn a_word_says_who_and_until_when_and_is_signed() {
        for key in [PKCS1, PKCS8] {
            let word = word("Iv1.abc", &Secret::new(key), 1_790_000_000).expect("a good key");
            let parts: Vec<&str> = word.expose().split('.').collect();
            let [head, claims, signature] = parts[..] else { panic!("three parts: {parts:?}") };
            assert_eq!(decode(head).as_deref(), Some(&br#"{"alg":"RS256","typ":"JWT"}"#[..]));
            let said: serde_json::Value = serde_json::from_slice(&decode(claims).expect("base64")).expect("JSON");
            let want = serde_json::json!({"iat": 1_789_999_940_i64, "exp": 1_790_000_540_i64, "iss": "Iv1.abc"});
            assert_eq!(said, want);
            assert_eq!(end(&word), Some(1_790_000_540));
            let der = PrivateKeyDer::from_pem_slice(PKCS8.as_bytes()).expect("PEM");
            let pair = RsaKeyPair::from_pkcs8(der.secret_der()).expect("RSA");
            let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public().as_ref());
            let signed = format!("{head}.{claims}");
            assert!(public.verify(signed.as_bytes(), &decode(signature).expect("base64")).is_ok());
        }
    }

    #[test]
    fn a_wrong_key_is_told_without_it() {
        let cut = PKCS8.replace("MII", "AAA");
        for bad in ["", "s3cret", "-----BEGIN PRIVATE KEY-----\ns3cret\n-----END PRIVATE KEY-----", &cut] {
            let why = word("1", &Secret::new(bad), 0).expect_err("no key");
            assert!(why.contains("private key") && !why.contains("s3cret"), "{why}");
        }
    }

    #[test]
    fn ends_that_are_none() {
        for bad in ["", "a", "a.b", "a.e30.c", "..", "a.!.c"] {
            assert_eq!(end(&Secret::new(bad)), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_can_be_decoded(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(decode(&encode(&bytes)), Some(bytes));
        }
    }
}
