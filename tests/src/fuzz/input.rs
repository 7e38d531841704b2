//! Reads an input as a sequence of decisions: every byte sequence is valid, and a small change of the bytes is a small
//! change of the decisions.

use bytes::Bytes;

/// The rest of an input. After its end, everything reads as zero.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// Starts at the beginning of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether the input is used up.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *first
    }

    /// A number below `end`, from one byte; `end` must not be 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    /// True or false.
    pub fn bool(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Two bytes.
    pub fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// A 64-bit number: usually a small one from one byte, sometimes an extreme, sometimes any from eight bytes.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..=0xef => small.into(),
            0xf0 => u64::MAX,
            0xf1 => u64::MAX - u64::from(self.byte()),
            0xf2 => (1 << 53) - 1,
            0xf3 => 1 << 53,
            0xf4 => u32::MAX.into(),
            0xf5 => 1 << 32,
            0xf6..=0xfa => self.short().into(),
            _ => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
        }
    }

    /// A number near `base`, or any number.
    pub fn near(&mut self, base: u64) -> u64 {
        match self.byte() {
            0xff => self.number(),
            0xfe => base.wrapping_sub(self.number()),
            few => base.wrapping_add_signed(i64::from(few as i8)),
        }
    }

    /// A count, then that number of bytes, at most `most`.
    pub fn some(&mut self, most: usize) -> &'a [u8] {
        let count = usize::from(self.byte()).min(most);
        self.take(count)
    }

    /// Up to `count` bytes.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// The rest of the input.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// A payload: often short, sometimes near the size at which the encoding changes.
    pub fn payload(&mut self) -> Bytes {
        let length = match self.byte() {
            short @ 0..=0xbf => usize::from(short) / 8,
            0xc0..=0xdf => 120 + self.below(16),
            0xe0..=0xf3 => usize::from(self.short()) % 2_000,
            0xf4..=0xfb => 16_380 + self.below(10),
            _ => 40_000 + self.below(256),
        };
        // The content only distinguishes messages.
        vec![self.byte(); length].into()
    }

    /// A short text.
    pub fn text(&mut self, most: usize) -> String {
        String::from_utf8_lossy(self.some(most)).into_owned()
    }
}
