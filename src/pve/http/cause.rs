//! Why a request never reached PVE, or why its answer never came: the library's chain of errors put into one sentence, and
//! what to do about it.

use super::endpoint::Endpoint;
use super::tls::{Distrust, Why};
use std::error::Error;
use std::io;

/// An explained connection failure.
pub(super) struct Cause {
    pub(super) text: String,
    pub(super) hint: Option<String>,
    /// Whether trying again soon cannot help (a certificate does not change by itself; a timeout has waited enough).
    pub(super) lasting: bool,
}

/// Explains why no connection to `endpoint` came about.
pub(super) fn unreached(endpoint: &Endpoint, error: &reqwest::Error) -> Cause {
    let links = links(error);
    if let Some(distrust) = links.iter().find_map(|link| distrust(*link)) {
        return distrusted(endpoint, distrust);
    }
    let chain = chain(&links);
    let host = endpoint.host();
    if chain.contains("dns error") || chain.contains("failed to lookup address") {
        let detail = io_of(&links).map_or_else(|| chain.clone(), io_text);
        return Cause {
            text: format!("the name {host} could not be resolved ({detail})"),
            hint: Some(format!("check the endpoint's spelling and this machine's DNS: getent hosts {host}")),
            lasting: false,
        };
    }
    if error.is_timeout() || io_of(&links).is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) {
        return Cause {
            text: format!("{endpoint} did not answer in time"),
            hint: Some(format!(
                "the node is down, or a firewall drops packets to port {}; with several nodes, list all of them as endpoints",
                endpoint.port()
            )),
            lasting: true,
        };
    }
    if links.iter().any(|link| tls_error(*link).is_some_and(|e| matches!(e, rustls::Error::InvalidMessage(_)))) {
        return Cause {
            text: format!("{endpoint} does not speak TLS ({chain})"),
            hint: Some("is the port right? Proxmox VE's API is https on port 8006".to_owned()),
            lasting: true,
        };
    }
    match io_of(&links).map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => Cause {
            text: format!("{host} refused the connection on port {}", endpoint.port()),
            hint: Some(
                "is the port right (8006 by default), and does pveproxy run there? systemctl status pveproxy"
                    .to_owned(),
            ),
            lasting: false,
        },
        Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => Cause {
            text: format!("there is no route to {endpoint} ({chain})"),
            hint: Some("is the node up, and is this machine in its network (or its VPN)?".to_owned()),
            lasting: false,
        },
        _ => Cause { text: format!("no connection to {endpoint}: {chain}"), hint: None, lasting: false },
    }
}

/// How a connection ended after the request was sent: the whole chain, once.
pub(super) fn broken(error: &reqwest::Error) -> String {
    let links = links(error);
    if error.is_timeout() {
        return "the answer did not come in time".to_owned();
    }
    let is_incomplete =
        links.iter().any(|link| link.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message));
    // rustls calls a close without its goodbye an unexpected end of file.
    if is_incomplete || io_of(&links).is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof) {
        return "the server closed the connection before it answered".to_owned();
    }
    chain(&links)
}

fn distrusted(endpoint: &Endpoint, distrust: &Distrust) -> Cause {
    let Distrust { found, why } = distrust;
    let pin = format!(
        "compare with `pvenode cert info` on the node (or its Certificates page); if they are the same, pin it: fingerprint: \"{found}\""
    );
    let (text, hint) = match why {
        Why::Issuer => (
            format!("the certificate of {endpoint} is from an unknown issuer; its SHA-256 fingerprint is {found}"),
            format!("{pin}; or trust the cluster's CA with caFile (a copy of /etc/pve/pve-root-ca.pem)"),
        ),
        Why::Name { expected, presented } => (
            format!("the certificate of {endpoint} is not valid for {expected}, only for: {}", presented.join(", ")),
            format!("use one of these names as the endpoint, or {pin}"),
        ),
        Why::Expired { not_after } => (
            format!("the certificate of {endpoint} expired{}", on(*not_after)),
            format!(
                "renew it on the node (pvecm updatecerts --force; pveproxy must be restarted), check the clock, or {pin}"
            ),
        ),
        Why::NotYet { not_before } => (
            format!("the certificate of {endpoint} is not valid yet{}", on(*not_before)),
            "check the clocks of this machine and of the node".to_owned(),
        ),
        Why::Pin { pinned } => {
            let pinned: Vec<String> = pinned.iter().map(ToString::to_string).collect();
            (
                format!(
                    "the certificate of {endpoint} is not the pinned one\n  pinned: {}\n  server: {found}",
                    pinned.join("\n          ")
                ),
                "if the certificate was renewed, compare with `pvenode cert info` on the node and pin the new one; if not, somebody is in between".to_owned(),
            )
        }
        Why::Other(text) => {
            (format!("the certificate of {endpoint} cannot be used: {text}; its SHA-256 fingerprint is {found}"), pin)
        }
    };
    Cause { text, hint: Some(hint), lasting: true }
}

/// ` on DATE`, when known.
fn on(seconds: Option<u64>) -> String {
    seconds
        .and_then(|s| i64::try_from(s).ok())
        .and_then(|s| jiff::Timestamp::from_second(s).ok())
        .map_or_else(String::new, |time| format!(" on {}", time.strftime("%Y-%m-%d %H:%M UTC")))
}

type Link<'a> = &'a (dyn Error + 'static);

/// The chain below the client's own error, with what `io::Error` wraps: its `source` skips the error inside.
fn links(error: &reqwest::Error) -> Vec<Link<'_>> {
    let mut links: Vec<Link<'_>> = Vec::new();
    let mut next = error.source();
    while let Some(link) = next {
        links.push(link);
        next = match link.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as Link<'_>),
            None => link.source(),
        };
    }
    links
}

/// The messages of a chain, each once: a link that repeats the next one's words is left out.
fn chain(links: &[Link<'_>]) -> String {
    // "client error (Connect)" says nothing that our own sentence does not.
    let texts: Vec<String> =
        links.iter().map(ToString::to_string).filter(|text| !text.starts_with("client error (")).collect();
    let mut told: Vec<&str> = Vec::new();
    for (i, text) in texts.iter().enumerate() {
        let repeats = texts[i + 1..].iter().any(|later| text.contains(later.as_str()));
        if !repeats && !told.contains(&text.as_str()) {
            told.push(text);
        }
    }
    if told.is_empty() { "unknown reason".to_owned() } else { told.join(": ") }
}

/// The deepest I/O error: the operating system's own.
fn io_of<'a>(links: &[Link<'a>]) -> Option<&'a io::Error> {
    links.iter().rev().find_map(|link| link.downcast_ref::<io::Error>())
}

/// An I/O error without the wrapping words of the resolver.
fn io_text(error: &io::Error) -> String {
    let text = error.to_string();
    text.rsplit(": ").next().unwrap_or(&text).to_owned()
}

fn tls_error<'a>(link: Link<'a>) -> Option<&'a rustls::Error> {
    link.downcast_ref::<rustls::Error>()
}

fn distrust<'a>(link: Link<'a>) -> Option<&'a Distrust> {
    let rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other)) = tls_error(link)? else {
        return None;
    };
    other.0.downcast_ref::<Distrust>()
}
