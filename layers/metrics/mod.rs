//! placeholder
/// x
pub const DEFAULT_PREFIX: &str = "portcullis";
