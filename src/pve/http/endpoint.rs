//! The address of a node's API as people write it: with or without the scheme, the port and `/api2/json`.

use std::fmt;
use url::{Host, Url};

/// The port of pveproxy.
pub const PORT_DEFAULT: u16 = 8006;

/// Where one node's API is: host and port; the scheme is always https.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: Host<String>,
    port: u16,
}

/// Why a text is not an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an endpoint: {cause}; write it like https://pve1.example.com:8006")]
pub struct EndpointError {
    /// What was written.
    pub text: String,
    /// What is wrong with it.
    pub cause: String,
}

impl Endpoint {
    /// Reads an endpoint. `pve1`, `pve1:8006`, `https://pve1/`, `https://pve1:8006/api2/json` are the same place.
    pub fn parse(text: &str) -> Result<Endpoint, EndpointError> {
        let fault = |cause: &str| EndpointError { text: text.to_owned(), cause: cause.to_owned() };
        let trimmed = text.trim();
        let with_scheme =
            if trimmed.contains("://") { trimmed.to_owned() } else { format!("https://{}", bracketed(trimmed)) };
        let url = Url::parse(&with_scheme).map_err(|error| fault(&error.to_string()))?;
        if url.scheme() != "https" {
            return Err(fault("Proxmox VE speaks https only"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            // The text is not repeated: it may hold a password.
            return Err(EndpointError {
                text: format!("https://…@{}", url.host_str().unwrap_or("")),
                cause: "credentials do not belong in the address".to_owned(),
            });
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(fault("it has a query or a fragment"));
        }
        if !matches!(url.path().trim_end_matches('/'), "" | "/api2/json" | "/api2") {
            return Err(fault("the only path it may have is /api2/json"));
        }
        let host = url.host().ok_or_else(|| fault("it names no host"))?.to_owned();
        Ok(Endpoint { host, port: explicit_port(&with_scheme).or(url.port()).unwrap_or(PORT_DEFAULT) })
    }

    /// The host, as certificates and resolvers see it (an IPv6 address without brackets).
    pub fn host(&self) -> String {
        match &self.host {
            Host::Domain(name) => name.clone(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is on this machine.
    pub fn is_loopback(&self) -> bool {
        match &self.host {
            Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
        }
    }
}

/// The address without a trailing slash: `https://pve1:8006`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}:{}", self.host, self.port)
    }
}

/// A bare IPv6 address gets the brackets that a URL needs.
fn bracketed(text: &str) -> String {
    match text.parse::<std::net::Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => text.to_owned(),
    }
}

/// `Url` hides a port that is the scheme's default: `https://pve1:443` means 443, not 8006.
fn explicit_port(url: &str) -> Option<u16> {
    let authority = url.split("://").nth(1)?.split(['/', '?', '#']).next()?;
    let (_, port) = authority.rsplit_once(':')?;
    port.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_may_be_written_in_many_ways() {
        for text in
            ["pve1", "pve1:8006", " https://pve1/ ", "https://PVE1:8006/api2/json", "https://pve1:8006/api2/json/"]
        {
            assert_eq!(Endpoint::parse(text).unwrap().to_string(), "https://pve1:8006", "{text}");
        }
        assert_eq!(Endpoint::parse("https://pve1:443").unwrap().port(), 443);
        assert_eq!(Endpoint::parse("fd00::1").unwrap().to_string(), "https://[fd00::1]:8006");
        assert_eq!(Endpoint::parse("https://[fd00::1]:9000/").unwrap().to_string(), "https://[fd00::1]:9000");
        assert!(Endpoint::parse("127.0.0.1:1").unwrap().is_loopback());
        assert!(!Endpoint::parse("10.0.0.1").unwrap().is_loopback());
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_a_reason() {
        for (text, word) in [
            ("http://pve1:8006", "https only"),
            ("https://pve1/pve", "only path"),
            ("https://root:pw@pve1", "credentials"),
            ("https://pve1:99999", "port"),
            ("", "host"),
            ("https://pve1/?a=b", "query"),
        ] {
            let error = Endpoint::parse(text).unwrap_err().to_string();
            assert!(error.contains(word) && !error.contains("pw@"), "{text}: {error}");
        }
    }
}
