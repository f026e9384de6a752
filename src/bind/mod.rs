//! From documents to what they want: sets and profiles are expanded, every document is held against its kind, references
//! and annotations are checked. Pure: it neither reads a file nor prints; what is wrong becomes a diagnostic with a place.

pub mod documents;

pub mod sets;

pub mod profiles;

pub mod masters;

pub mod annotations;

pub mod twice;
