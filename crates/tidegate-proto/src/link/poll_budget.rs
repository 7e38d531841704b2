//! The work of one poll of a link (LM-3, HS-14).

/// About one full read of ordinary data.
const MAX_COST: usize = 256;

/// The work that a link may still do before others get their turn, whatever its peer sends. Without this limit, a flood
/// of tiny frames would occupy the thread and the lock of the machine (LM-3, HS-14).
///
/// ```
/// use tidegate_proto::PollBudget;
///
/// let mut budget = PollBudget::new();
/// while !budget.is_used_up() {
///     budget.charge(b"a small frame");
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollBudget {
    left: usize,
}

impl Default for PollBudget {
    fn default() -> Self {
        Self::new()
    }
}

impl PollBudget {
    /// The budget of one poll.
    #[must_use]
    pub fn new() -> Self {
        Self { left: MAX_COST }
    }

    /// A budget without a limit, for a driver that has one link, or that takes no more bytes at a time than it wants to
    /// handle.
    #[must_use]
    pub fn unlimited() -> Self {
        Self { left: usize::MAX }
    }

    /// Whether nothing of it is left.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        self.left == 0
    }

    /// Charges a frame, without its length prefix. A budget that is not used up admits a frame of any cost.
    pub fn charge(&mut self, frame: &[u8]) {
        self.left = self.left.saturating_sub(cost(frame));
    }
}

/// The cost of a frame. Messages are mostly passed on in place; in an Ack, each outcome of a few bytes is a lookup.
fn cost(frame: &[u8]) -> usize {
    // The first byte is the tag of the field in `Frame`.
    let unit = match frame.first() {
        Some(0x12) => 2_048, // Deliver
        Some(0x1a) => 32,    // Ack
        _ => 256,
    };
    1 + frame.len() / unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lm_3_a_poll_ends_after_one_large_read_or_256_tiny_frames() {
        // LM-3
        let frames = |frame: &[u8]| {
            let mut budget = PollBudget::new();
            let mut count = 0;
            while !budget.is_used_up() {
                budget.charge(frame);
                count += 1;
            }
            count
        };
        assert_eq!(frames(&[0x22, 0]), 256);
        assert_eq!(frames(&[&[0x12][..], &[0; 65_535]].concat()), 8, "Deliver frames of 64 KiB");
        assert_eq!(frames(&[&[0x1a][..], &[0; 65_535]].concat()), 1, "an Ack with thousands of outcomes");
    }
}
