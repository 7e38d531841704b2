//! Deterministic subsets: which of many pushers a puller connects to.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::Random;

/// How many links above an even share a pusher may get while the share is below 20.
const SMALL_SHARE_EXCESS: u128 = 4;

/// The subsets of a list of pushers, one for each puller: the first is for puller 0, the next for puller 1, and so on.
///
/// If every puller connects to all pushers, each process has as many links as there are processes on the other side.
/// With subsets each puller has only `size` links. The pullers do not communicate: each needs the list of pushers,
/// which must be the same everywhere, and its own index. The indexes are 0, 1, 2, …, without large gaps; how many
/// pullers there are need not be known. A subset depends on nothing else, and is the same on all platforms.
///
/// The iterator is infinite. With `n` pushers and `m` pullers, and `share = m * size / n`:
///
/// * Every pusher is in a subset, if `m * size >= n`.
/// * No pusher is in more than 1.2 × `share` subsets, rounded up, or in more than 4 above `share` while that is more.
/// * If a puller starts or stops, the subsets of the others remain as they are.
/// * If a pusher is added or removed, about 1.4 times its links change. In simulations with a size of 5 or more, no
///   change exceeded twice the size, or twice the share if that is larger.
///
/// The first two need pullers with the indexes 0 to `m - 1`: a missing puller is missing in the subsets it would have.
///
/// The subset of puller `i` requires those of the pullers before it, so [`nth`](Iterator::nth) takes time in
/// proportion to `i` and to the number of pushers: about 10 ms for 1,000 of both.
///
/// # Examples
///
/// ```
/// use tidegate_proto::Subsets;
///
/// let pushers: Vec<String> = (0..100).map(|number| format!("tcp://pusher-{number}:8433")).collect();
/// let chosen = Subsets::new(&pushers, 20).nth(7).unwrap(); // for puller 7
/// assert_eq!(chosen.len(), 20);
/// for position in chosen {
///     println!("connect to {}", pushers[position]);
/// }
/// ```
// Each pusher ranks the pullers by points on a circle: puller i has the point `phase + i * step`, and the pushers with
// the lowest points take it. A step whose continued fraction has only the terms 1 and 2 spreads the points evenly, so
// each pusher gets about the same number of low points. The steps differ, so that pushers do not compete for the same
// pullers each time. A hash in place of the points would give loads from 8 to 36 where 20 are even.
//
// What is left of the differences is reduced by the links that a pusher has already. Only a gentle reduction keeps the
// changes few: with an exact one, each subset would depend on all before it.
#[derive(Clone, Debug)]
pub struct Subsets {
    pushers: Vec<Candidate>,
    size: usize,
    next: u64,
}

#[derive(Clone, Debug)]
struct Candidate {
    position: usize,
    phase: u64,
    step: u64,
    links: u64,
}

impl Candidate {
    fn new(position: usize, name: &str) -> Self {
        let mut hasher = SipHasher24::new_with_keys(0, 0);
        hasher.write(name.as_bytes());
        let mut random = Random::new(hasher.finish());
        let (phase, terms) = (random.next_u64(), random.next_u64());
        Self { position, phase, step: step(terms), links: 0 }
    }

    /// The lower, the sooner this pusher takes the puller with this index.
    fn score(&self, index: u64) -> u128 {
        let point = u128::from(self.phase.wrapping_add(index.wrapping_mul(self.step)) >> 32);
        // The cube root of the number of links: a pusher with twice the links needs a point of 0.8 times the height.
        point.pow(3).saturating_mul(u128::from(self.links) + 1)
    }
}

/// The fraction whose continued fraction has a 1 or a 2 for each bit of `terms`, in units of 2⁻⁶⁴.
fn step(terms: u64) -> u64 {
    let mut fraction = 0;
    for bit in 0..u64::BITS {
        let term = 1 + u128::from(terms >> bit & 1);
        // The quotient is below 2⁶⁴, because the divisor is at least 2⁶⁴.
        fraction = u64::try_from(u128::MAX / ((term << 64) + u128::from(fraction))).unwrap_or(u64::MAX);
    }
    fraction
}

impl Subsets {
    /// The subsets of `size` pushers each.
    ///
    /// A name that occurs several times counts once. The order of the names does not matter. If there are at most
    /// `size` names, each subset has all of them.
    #[must_use]
    pub fn new<S: AsRef<str>>(pushers: &[S], size: usize) -> Self {
        let mut names: Vec<(&str, usize)> =
            pushers.iter().enumerate().map(|(position, name)| (name.as_ref(), position)).collect();
        names.sort_unstable();
        names.dedup_by_key(|(name, _)| *name);
        let pushers = names.into_iter().map(|(name, position)| Candidate::new(position, name)).collect();
        Self { pushers, size, next: 0 }
    }

    /// The largest number of links that a pusher may have after the next subset.
    fn max_links(&self) -> u128 {
        let count = self.pushers.len() as u128;
        let links = (u128::from(self.next) + 1).saturating_mul(self.size as u128);
        let fifth_more = links.saturating_mul(6).div_ceil(5 * count);
        fifth_more.max(links.div_ceil(count) + SMALL_SHARE_EXCESS)
    }
}

impl Iterator for Subsets {
    /// The positions of the pushers in the list, in ascending order.
    type Item = Vec<usize>;

    fn next(&mut self) -> Option<Vec<usize>> {
        let mut chosen: Vec<usize>;
        if self.size >= self.pushers.len() {
            chosen = self.pushers.iter().map(|pusher| pusher.position).collect();
        } else if self.size == 0 {
            chosen = Vec::new();
        } else {
            let max_links = self.max_links();
            let mut order: Vec<_> = self
                .pushers
                .iter()
                .enumerate()
                .map(|(at, pusher)| {
                    let full = u128::from(pusher.links) >= max_links;
                    (full, pusher.links > 0, pusher.score(self.next), at)
                })
                .collect();
            order.select_nth_unstable(self.size - 1);
            chosen = Vec::with_capacity(self.size);
            for &(.., at) in order.iter().take(self.size) {
                if let Some(pusher) = self.pushers.get_mut(at) {
                    pusher.links += 1;
                    chosen.push(pusher.position);
                }
            }
        }
        self.next += 1;
        chosen.sort_unstable();
        Some(chosen)
    }
}
