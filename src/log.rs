//! Log lines that cannot end what they report on.

/// Logs as `tracing`'s macros do, and survives a subscriber that panics.
///
/// `tracing_subscriber::fmt` panics where standard error is gone, for one. The task that decides
/// when a generation accepts must not end by that.
macro_rules! log {
    ($level:ident, $($arguments:tt)*) => {
        crate::log::quietly(|| tracing::$level!($($arguments)*))
    };
}

/// Runs a log statement; what it panics with is dropped.
pub(crate) fn quietly(statement: impl FnOnce()) {
    _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(statement));
}
