//! Whom we trust: the machine's roots, a CA file, pinned fingerprints, or anybody. Every refusal of a certificate carries the
//! server's real fingerprint, so that the message can say what to pin.

use rustls::DigitallySignedStruct;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, OtherError, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;

/// SHA-256 of a certificate in DER form, shown as PVE shows it: `AB:CD:…`, 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate.
    pub fn of(der: &[u8]) -> Fingerprint {
        Fingerprint(Sha256::digest(der).into())
    }

    /// Reads a fingerprint with or without colons, in either case, as PVE, `openssl` and browsers show it.
    pub fn parse(text: &str) -> Result<Fingerprint, TlsError> {
        let trimmed = text.trim();
        let plain = trimmed.strip_prefix("sha256 Fingerprint=").unwrap_or(trimmed);
        let digits: String = plain.chars().filter(|c| *c != ':' && !c.is_whitespace()).collect();
        let fault = |cause: &str| TlsError::Fingerprint { text: trimmed.to_owned(), cause: cause.to_owned() };
        let bytes = hex::decode(&digits).map_err(|_| fault("it is not hexadecimal"))?;
        let count = bytes.len();
        let bytes = <[u8; 32]>::try_from(bytes).map_err(|_| match count {
            20 => fault("it has 20 bytes, so it is a SHA-1 fingerprint; SHA-256 has 32"),
            _ => fault(&format!("it has {count} bytes; SHA-256 has 32")),
        })?;
        Ok(Fingerprint(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(i, b)| write!(f, "{}{b:02X}", if i == 0 { "" } else { ":" }))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which servers are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// A certificate that chains to one of the machine's roots.
    System,
    /// A certificate that chains to one of these CAs and to no other.
    Ca {
        /// One or more PEM certificates; on a node, /etc/pve/pve-root-ca.pem.
        pem: Vec<u8>,
    },
    /// Exactly these certificates, whatever their name, issuer and dates; one a node, since each node has its own.
    Pinned(Vec<Fingerprint>),
    /// Anybody. Warned about each time.
    Insecure,
}

/// Why a trust cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// A text that is no fingerprint.
    #[error("`{text}` is not a certificate fingerprint: {cause}")]
    Fingerprint {
        /// What was written.
        text: String,
        /// What is wrong with it.
        cause: String,
    },
    /// A CA file without a usable certificate.
    #[error("the CA file cannot be used: {0}")]
    Ca(String),
    /// The TLS library or the HTTP client refused to start.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

/// Why a certificate was not believed; found again in the error chain by its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Distrust {
    pub(super) found: Fingerprint,
    pub(super) why: Why,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Issuer,
    Name { expected: String, presented: Vec<String> },
    Expired { not_after: Option<u64> },
    NotYet { not_before: Option<u64> },
    Pin { pinned: Vec<Fingerprint> },
    Other(String),
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "certificate {} is not trusted", self.found)
    }
}

impl std::error::Error for Distrust {}

/// The configuration of TLS for a trust. The provider is passed explicitly; nothing global is installed.
pub(super) fn client_config(trust: &Trust) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let rule = match trust {
        Trust::System => Rule::Roots(roots_verifier(system_roots(), &provider)?),
        Trust::Ca { pem } => Rule::Roots(roots_verifier(ca_roots(pem)?, &provider)?),
        Trust::Pinned(pins) => Rule::Pinned(pins.clone()),
        Trust::Insecure => Rule::Anybody,
    };
    let verifier = Verifier { rule, provider: Arc::clone(&provider) };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Setup(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The roots of the machine; what cannot be read of them is left out.
pub fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "some of the machine's CA certificates could not be read");
    }
    roots.add_parsable_certificates(found.certs);
    roots
}

fn ca_roots(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| TlsError::Ca(format!("it is not PEM: {error}")))?;
        roots.add(certificate).map_err(|error| TlsError::Ca(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(TlsError::Ca("it holds no certificate (-----BEGIN CERTIFICATE-----)".to_owned()));
    }
    Ok(roots)
}

/// `None` for no roots at all (a container without CA files): then every issuer is unknown.
fn roots_verifier(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<WebPkiServerVerifier>>, TlsError> {
    if roots.is_empty() {
        return Ok(None);
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map(Some)
        .map_err(|error| TlsError::Setup(error.to_string()))
}

/// The one verifier: decides by its rule, and always checks that the server holds the certificate's key.
#[derive(Debug)]
struct Verifier {
    rule: Rule,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
enum Rule {
    Roots(Option<Arc<WebPkiServerVerifier>>),
    Pinned(Vec<Fingerprint>),
    Anybody,
}

impl Verifier {
    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<(), Why> {
        match &self.rule {
            Rule::Anybody => Ok(()),
            Rule::Pinned(pins) if pins.contains(&Fingerprint::of(leaf)) => Ok(()),
            Rule::Pinned(pins) => Err(Why::Pin { pinned: pins.clone() }),
            Rule::Roots(None) => Err(Why::Issuer),
            Rule::Roots(Some(inner)) => match inner.verify_server_cert(leaf, chain, name, ocsp, now) {
                Ok(_) => Ok(()),
                Err(error) => Err(why(&error, name)),
            },
        }
    }
}

fn why(error: &rustls::Error, name: &ServerName<'_>) -> Why {
    let rustls::Error::InvalidCertificate(error) = error else { return Why::Other(error.to_string()) };
    // rustls' enum may grow; what has no words of ours keeps rustls'.
    // A bad signature: signed by another CA of the same name.
    if let CertificateError::UnknownIssuer | CertificateError::BadSignature = error {
        return Why::Issuer;
    }
    if let CertificateError::NotValidForNameContext { presented, .. } = error {
        return Why::Name {
            expected: name.to_str().into_owned(),
            presented: presented.iter().map(|p| plain(p)).collect(),
        };
    }
    if let CertificateError::NotValidForName = error {
        return Why::Name { expected: name.to_str().into_owned(), presented: Vec::new() };
    }
    if let CertificateError::ExpiredContext { not_after, .. } = error {
        return Why::Expired { not_after: Some(not_after.as_secs()) };
    }
    if let CertificateError::Expired = error {
        return Why::Expired { not_after: None };
    }
    if let CertificateError::NotValidYetContext { not_before, .. } = error {
        return Why::NotYet { not_before: Some(not_before.as_secs()) };
    }
    if let CertificateError::NotValidYet = error {
        return Why::NotYet { not_before: None };
    }
    Why::Other(error.to_string())
}

/// webpki shows names as `DnsName("pve1")`.
fn plain(presented: &str) -> String {
    match presented.split_once("(\"").and_then(|(_, rest)| rest.strip_suffix("\")")) {
        Some(name) => name.to_owned(),
        None => presented.to_owned(),
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.judge(leaf, chain, name, ocsp, now).map(|()| ServerCertVerified::assertion()).map_err(|why| {
            let distrust = Distrust { found: Fingerprint::of(leaf), why };
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(distrust))))
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_people_paste_it_and_shown_as_pve_shows_it() {
        let shown = Fingerprint::of(b"x").to_string();
        assert_eq!(shown.len(), 95);
        let plain = shown.replace(':', "").to_lowercase();
        for text in [shown.clone(), plain, format!("sha256 Fingerprint={shown}")] {
            assert_eq!(Fingerprint::parse(&text).unwrap().to_string(), shown);
        }
        let sha1 = vec!["AB"; 20].join(":");
        assert!(Fingerprint::parse(&sha1).unwrap_err().to_string().contains("SHA-1"));
        assert!(Fingerprint::parse("hello").unwrap_err().to_string().contains("hexadecimal"));
    }

    #[test]
    fn a_ca_file_without_certificates_is_refused() {
        let error = client_config(&Trust::Ca { pem: b"nothing".to_vec() }).unwrap_err();
        assert!(error.to_string().contains("no certificate"), "{error}");
    }
}
