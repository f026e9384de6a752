//! TLS for servers that are no cluster: those that manifests are fetched from, those that are told of events.

use crate::pve::http::tls::system_roots;
use rustls::ClientConfig;
use std::sync::Arc;

/// TLS that believes the roots of the machine. The provider is passed explicitly; nothing global is installed.
pub fn client() -> Result<ClientConfig, rustls::Error> {
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(system_roots())
        .with_no_client_auth();
    Ok(config)
}
