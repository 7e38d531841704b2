//! Mutates kept inputs. `cargo test` tries these beside the kept inputs, because it runs without a coverage-guided
//! fuzzer.

use fastrand::Rng;

/// The longest input.
const MAX_INPUT: usize = 4_096;

/// A new input: a kept input that is cut, joined with another and changed, or random bytes.
pub fn mutate(random: &mut Rng, kept: &[Vec<u8>]) -> Vec<u8> {
    let some = |random: &mut Rng| random.choice(kept).cloned().unwrap_or_default();
    let mut bytes = if random.u8(..) < 40 { noise(random, 600) } else { some(random) };
    for _ in 0..=random.usize(..6) {
        let at = random.usize(..=bytes.len());
        match random.u8(..8) {
            0 => bytes.truncate(at),
            1 => bytes.extend(noise(random, 200)),
            2 => {
                let other = some(random);
                bytes.truncate(at);
                bytes.extend(other.get(random.usize(..=other.len())..).unwrap_or_default());
            }
            3 => {
                let end = (at + random.usize(..40)).min(bytes.len());
                bytes.drain(at..end);
            }
            4 => {
                let end = (at + random.usize(..80)).min(bytes.len());
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part.repeat(1 + random.usize(..4)));
            }
            5 => {
                bytes.splice(at..at, noise(random, 8));
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = if random.bool() { random.u8(..) } else { *byte ^ (1 << random.u8(..8)) };
                }
            }
        }
    }
    bytes.truncate(MAX_INPUT);
    bytes
}

fn noise(random: &mut Rng, most: usize) -> Vec<u8> {
    let length = random.usize(..=most);
    std::iter::repeat_with(|| random.u8(..)).take(length).collect()
}
