//! Parameters: metric servers.

use crate::sim::params;
use crate::sim::verify::{Kind, Param, at_least, between, format, opt, req};

/// A server's id.
pub const ID: &[Param] = &[req("id", format(params::config_id))];

/// A server's options.
pub const SERVER: &[Param] = &[
    req("id", format(params::config_id)),
    opt("api-path-prefix", Kind::Str),
    opt("bucket", Kind::Str),
    opt("disable", Kind::Bool),
    opt("influxdbproto", Kind::Enum(&["udp", "http", "https"])),
    opt("max-body-size", at_least(1)),
    opt("mtu", between(512, 65536)),
    opt("organization", Kind::Str),
    opt("otel-compression", Kind::Enum(&["none", "gzip"])),
    opt("otel-headers", Kind::Len(0, 1024)),
    opt("otel-max-body-size", at_least(1024)),
    opt("otel-path", Kind::Str),
    opt("otel-protocol", Kind::Enum(&["http", "https"])),
    opt("otel-resource-attributes", Kind::Len(0, 1024)),
    opt("otel-timeout", between(1, 10)),
    opt("otel-verify-ssl", Kind::Bool),
    opt("path", Kind::Str),
    req("port", between(1, 65536)),
    opt("proto", Kind::Enum(&["udp", "tcp"])),
    req("server", Kind::Str),
    opt("timeout", at_least(0)),
    opt("token", Kind::Str),
    opt("verify-certificate", Kind::Bool),
];

/// A new server.
pub const NEW: &[Param] = &[req("type", Kind::Enum(&["graphite", "influxdb", "opentelemetry"]))];

/// A changed server.
pub const CHANGE: &[Param] = &[opt("delete", Kind::List(params::config_id)), opt("digest", Kind::Len(0, 64))];

/// `GET /cluster/metrics/export`.
pub const EXPORT: &[Param] = &[
    opt("history", Kind::Bool),
    opt("local-only", Kind::Bool),
    opt("node-list", Kind::Str),
    opt("start-time", Kind::Int(None, None)),
];
