//! Parameters: firewall.
