//! A hasher that hashes points in time as distances from now, so that the same situation an hour later is the same
//! state.

use std::hash::Hasher;

use tidegate_proto::Time;

/// The start of all clocks. It is far from every other number that machines hold (ids, bytes, `u64::MAX`), so that a
/// number between [`ORIGIN`] and `ORIGIN + RANGE` is a point in time.
pub const ORIGIN: Time = Time(1 << 50);
const RANGE: u64 = 1 << 40;

/// Hashes a process. Times up to now hash as 0, and all times later than `horizon` hash as one value.
///
/// It folds a 128-bit product for each number, because a check spends most of its time here.
pub struct Relative {
    state: u64,
    now: Time,
    horizon: u64,
}

impl Relative {
    pub fn new(now: Time, horizon: u64) -> Self {
        Self { state: 0x243f_6a88_85a3_08d3, now, horizon }
    }

    fn mix(&mut self, number: u64) {
        let product = u128::from(self.state ^ number) * 0x9e37_79b9_7f4a_7c15_u128;
        self.state = (product as u64 ^ (product >> 64) as u64).wrapping_add(0xd1b5_4a32_d192_ed03);
    }
}

impl Hasher for Relative {
    fn finish(&self) -> u64 {
        self.state
    }

    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut number = [0; 8];
            number[..part.len()].copy_from_slice(part);
            self.mix(u64::from_le_bytes(number));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.mix(number.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.mix(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        if (ORIGIN.0..ORIGIN.0 + RANGE).contains(&number) {
            self.mix(number.saturating_sub(self.now.0).min(self.horizon));
        } else {
            self.mix(number);
        }
    }

    fn write_usize(&mut self, number: usize) {
        self.mix(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.mix(number as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::hash::Hash;

    use super::*;

    fn hash(value: impl Hash, now: u64) -> u64 {
        let mut hasher = Relative::new(Time(ORIGIN.0 + now), 1_000);
        value.hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn times_are_hashed_relative_to_now_and_other_numbers_unchanged() {
        let at = |micros| Time(ORIGIN.0 + micros);
        assert_eq!(hash(at(70), 20), hash(at(80), 30));
        assert_ne!(hash(at(70), 20), hash(at(70), 30));
        assert_eq!(hash(at(10), 20), hash(at(20), 20), "all times in the past are equal");
        assert_eq!(hash(at(5_000), 20), hash(at(9_000), 20), "all times after the horizon are equal");
        assert_ne!(hash(70_u64, 20), hash(80_u64, 30));
        assert_ne!(hash(u64::MAX, 0), hash(u64::MAX - 1, 0));
    }
}
