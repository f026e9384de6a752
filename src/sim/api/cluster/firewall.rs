//! Endpoints: firewall.
