//! The result of one job.

use tidegate::Delivery;

/// The result for a message.
pub(crate) enum JobResult {
    Acked,
    /// The message has another outcome.
    Settled,
    /// The command could not be started. Until a command has succeeded, that is a mistake in the command line
    /// and not in the message.
    CannotStart(Delivery, anyhow::Error),
    /// The message has another outcome. Until a command has succeeded, the daemon stops with this error.
    Failing(anyhow::Error),
    /// The daemon stops with this error. The message has been returned.
    Fatal(anyhow::Error),
}
