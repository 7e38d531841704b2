//! An input read as decisions: every sequence of bytes means something, and a small change of it means something near.

use bytes::Bytes;

/// What is left of an input. At its end everything reads as zero.
#[derive(Clone, Debug)]
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// All of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether nothing is left.
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

    /// A number below `end`, of one byte; `end` must not be 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    /// Yes or no.
    pub fn bool(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Two bytes.
    pub fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// Any number of 64 bits: mostly a small one of one byte, sometimes an extreme, sometimes eight bytes.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..=0xef => small.into(),
            0xf0 => u64::MAX,
            0xf1 => u64::MAX - u64::from(self.byte()),
            0xf2 => (1 << 63) - 1,
            0xf3 => 1 << 63,
            0xf4 => u32::MAX.into(),
            0xf5 => 1 << 32,
            0xf6..=0xfa => self.short().into(),
            _ => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
        }
    }

    /// A number near `base`, or any.
    pub fn near(&mut self, base: u64) -> u64 {
        match self.byte() {
            0xff => self.number(),
            0xfe => base.wrapping_sub(self.number()),
            few => base.wrapping_add_signed(i64::from(few as i8)),
        }
    }

    /// At most `most` bytes, after their count.
    pub fn some(&mut self, most: usize) -> &'a [u8] {
        let count = usize::from(self.byte()).min(most);
        self.take(count)
    }

    /// Up to so many bytes as they are.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// A payload: often short, sometimes about as large as where the encoding changes.
    pub fn payload(&mut self) -> Bytes {
        let length = match self.byte() {
            short @ 0..=0xbf => usize::from(short) / 8,
            0xc0..=0xdf => 120 + self.below(16),
            0xe0..=0xf3 => usize::from(self.short()) % 2_000,
            0xf4..=0xfb => 16_380 + self.below(10),
            _ => 40_000 + self.below(256),
        };
        // Its content tells messages apart; what it is makes no difference.
        vec![self.byte(); length].into()
    }

    /// A short text.
    pub fn text(&mut self, most: usize) -> String {
        String::from_utf8_lossy(self.some(most)).into_owned()
    }
}
