//! Violations of the protocol, and settings outside their range.

use std::fmt;

use crate::rule::Rule;
pub use crate::v1::Code;

/// A rule that a peer broke, or by which it is refused. Its `Display` text is the reason in `Close` (ER-1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{rule}: {detail}")]
pub struct Violation {
    /// The code of the `Close`.
    pub code: Code,
    /// The rule of SPEC.md or docs/IMPLEMENTATION.md.
    pub rule: Rule,
    /// What happened, the value, and the limit.
    pub detail: String,
}

impl Violation {
    pub(crate) fn new(code: Code, rule: Rule, detail: impl Into<String>) -> Self {
        Self { code, rule, detail: detail.into() }
    }

    /// A handshake that exceeded its deadline (HS-11). The driver checks that deadline, because it has the clock.
    #[must_use]
    pub fn new_timeout(detail: impl Into<String>) -> Self {
        Self::new(Code::TooSlow, Rule::Hs11, detail)
    }

    /// FR-4: bytes that are not a valid `Frame`.
    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(Code::Malformed, Rule::Fr4, detail)
    }

    /// FR-5: a frame that its sender may not send, or may not send now.
    pub(crate) fn unexpected(detail: impl Into<String>) -> Self {
        Self::new(Code::Unexpected, Rule::Fr5, detail)
    }
}

impl Code {
    /// Whether a connector that is refused with this code should stop connecting (RD-7).
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::NotTidegate
                | Self::MessageSize
                | Self::Version
                | Self::Unauthorized
                | Self::NoPipeline
                | Self::Role
                | Self::Feature
        )
    }

    /// Reads a code from the wire; an unknown one is `Internal` (ER-2).
    #[must_use]
    pub fn from_wire(code: i32) -> Self {
        match Self::try_from(code) {
            Ok(Self::Unspecified) | Err(_) => Self::Internal,
            Ok(code) => code,
        }
    }

    /// The name used in SPEC.md, such as `NOT_TIDEGATE`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.as_str_name().trim_start_matches("CODE_")
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A setting outside its range (LM-1).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting} is {value}; it must be {valid}")]
pub struct SettingError {
    /// The name of the setting, as in the settings' struct.
    pub setting: &'static str,
    /// The value that was set.
    pub value: String,
    /// The valid values.
    pub valid: &'static str,
}

impl SettingError {
    /// Checks a setting.
    ///
    /// # Errors
    /// If `ok` is false, an error that names the setting, its value and the valid values.
    pub fn unless(
        ok: bool,
        setting: &'static str,
        value: &dyn fmt::Debug,
        valid: &'static str,
    ) -> Result<(), Self> {
        if ok { Ok(()) } else { Err(Self { setting, value: format!("{value:?}"), valid }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn er_2_an_unknown_code_is_read_as_internal() {
        // ER-2
        assert_eq!(Code::from_wire(0), Code::Internal);
        assert_eq!(Code::from_wire(9_999), Code::Internal);
        assert_eq!(Code::from_wire(14), Code::Credit);
    }

    #[test]
    fn rd_7_only_refusals_that_a_retry_cannot_change_are_final() {
        // RD-7
        let last: Vec<_> = (0..40).map(Code::from_wire).filter(|c| c.is_final()).collect();
        assert_eq!(
            last,
            [
                Code::NotTidegate,
                Code::MessageSize,
                Code::Version,
                Code::Unauthorized,
                Code::NoPipeline,
                Code::Role,
                Code::Feature
            ]
        );
    }
}
