//! The budget of a puller against a naive model, which adds up the whole history of each link after every step (CR-9).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)] // a test may stop at once

use proptest::{prelude::*, test_runner::Config};
use tidegate_proto::{
    Amount, Code,
    credit::{Budget, Granting},
    v1::Skip,
};

const LINKS: usize = 3;

#[derive(Clone, Debug)]
enum Op {
    /// Grants a window, as far as the budget allows.
    Grant { link: usize, window: Amount },
    /// Grants one message more than has arrived, whatever the budget (CR-6).
    GrantMinimum { link: usize },
    /// Sends messages of these sizes, as far as credit allows, or one more than that.
    Deliver { link: usize, sizes: Vec<u64>, beyond: bool },
    /// Settles the delivery at this index among those that are un-acked.
    Settle { link: usize, which: usize },
    /// Gives up a part of the unused credit, in sixteenths, or more than all of it (RC-1).
    Skip { link: usize, part: u64 },
    /// Ends the stream, which gives up all unused credit (ST-7).
    EndStream { link: usize },
    /// Loses the link, and opens another one.
    Lose { link: usize },
}

fn op() -> impl Strategy<Value = Op> {
    let window = (0..60u64, 0..3_000u64).prop_map(|(messages, bytes)| Amount::new(messages, bytes));
    let sizes = prop::collection::vec(prop_oneof![Just(0), 1..100u64, 1_000..5_000u64], 1..8);
    prop_oneof![
        4 => (0..LINKS, window).prop_map(|(link, window)| Op::Grant { link, window }),
        1 => (0..LINKS).prop_map(|link| Op::GrantMinimum { link }),
        4 => (0..LINKS, sizes, prop::bool::weighted(0.1))
            .prop_map(|(link, sizes, beyond)| Op::Deliver { link, sizes, beyond }),
        6 => (0..LINKS, any::<usize>()).prop_map(|(link, which)| Op::Settle { link, which }),
        1 => (0..LINKS, 0..18u64).prop_map(|(link, part)| Op::Skip { link, part }),
        1 => (0..LINKS).prop_map(|link| Op::EndStream { link }),
        1 => (0..LINKS).prop_map(|link| Op::Lose { link }),
    ]
}

/// All that has happened on a link.
#[derive(Default)]
struct History {
    /// The highest limit that was granted, in messages and in bytes.
    granted: Amount,
    /// The size of each delivery, and whether it is settled.
    deliveries: Vec<(u64, bool)>,
    given_up: Vec<Amount>,
}

impl History {
    fn unused(&self) -> Amount {
        let delivered = self.deliveries.iter().map(|(size, _)| Amount::new(1, *size)).sum::<Amount>();
        self.granted.saturating_sub(delivered + self.given_up.iter().copied().sum())
    }

    fn un_acked(&self) -> Amount {
        self.deliveries.iter().filter(|(_, settled)| !settled).map(|(size, _)| Amount::new(1, *size)).sum()
    }

    fn next_id(&self) -> u64 {
        self.deliveries.len() as u64 + self.given_up.iter().map(|part| part.messages).sum::<u64>()
    }
}

struct World {
    budget: Budget,
    links: Vec<(Granting, History)>,
}

/// Whether no part of `amount` is larger than in `bound`.
fn is_within(amount: Amount, bound: Amount) -> bool {
    amount.max(bound) == bound
}

impl World {
    fn new(limit: Amount) -> Self {
        let links = std::iter::repeat_with(<(Granting, History)>::default).take(LINKS).collect();
        Self { budget: Budget::new(limit), links }
    }

    /// Makes a step, and returns by how much it may raise what is committed beyond the limit.
    fn step(&mut self, op: Op) -> Amount {
        let Self { budget, links } = self;
        match op {
            Op::Grant { link, window } => {
                let (granting, history) = &mut links[link];
                let missing = granting.wanted(window).saturating_sub(granting.limits());
                let limits = granting.limits() + missing.min(budget.left_for(granting, LINKS));
                let changed = granting.raise(budget, limits);
                assert_eq!(changed, history.granted.max(limits) != history.granted);
                history.granted = history.granted.max(limits);
                Amount::ZERO
            }
            Op::GrantMinimum { link } => {
                let (granting, history) = &mut links[link];
                granting.raise(budget, granting.minimum_grant());
                history.granted = history.granted.max(granting.minimum_grant());
                assert!(granting.is_usable());
                Amount::new(1, 1)
            }
            Op::Deliver { link, sizes, beyond } => {
                let (granting, history) = &mut links[link];
                let (first_id, before) = (history.next_id(), history.deliveries.len());
                for size in sizes {
                    if !history.unused().admits_message() {
                        break;
                    }
                    history.deliveries.push((size, false));
                }
                let exceeds = beyond && !history.unused().admits_message();
                history.deliveries.extend(exceeds.then_some((1, false)));
                let new = &history.deliveries[before..];
                let Some(last_size) = new.last().map(|(size, _)| *size) else { return Amount::ZERO };
                let batch = new.iter().map(|(size, _)| Amount::new(1, *size)).sum();
                let accepted = granting.accept(budget, first_id, batch, last_size);
                assert_eq!(accepted.is_err(), exceeds, "CR-3: {accepted:?}");
                if exceeds {
                    history.deliveries.truncate(before);
                    return Amount::ZERO;
                }
                Amount::new(0, last_size.saturating_sub(1))
            }
            Op::Settle { link, which } => {
                let (granting, history) = &mut links[link];
                let mut un_acked: Vec<_> =
                    history.deliveries.iter_mut().filter(|(_, settled)| !settled).collect();
                if !un_acked.is_empty() {
                    let which = which % un_acked.len();
                    let (size, settled) = &mut un_acked[which];
                    *settled = true;
                    granting.settle(budget, Amount::new(1, *size));
                }
                Amount::ZERO
            }
            Op::Skip { link, part } => {
                let (granting, history) = &mut links[link];
                let unused = history.unused();
                let given_up = Amount::new(unused.messages * part / 16, unused.bytes * part / 16);
                let skip = Skip { next_id: history.next_id() + given_up.messages, bytes: given_up.bytes };
                match granting.skip(budget, skip) {
                    Ok(()) => {
                        assert!(is_within(given_up, unused));
                        history.given_up.push(given_up);
                    }
                    Err(violation) => {
                        assert!(violation.code == Code::Credit && !is_within(given_up, unused));
                    }
                }
                Amount::ZERO
            }
            Op::EndStream { link } => {
                let (granting, history) = &mut links[link];
                granting.skip_all(budget);
                history.given_up.push(history.unused());
                Amount::ZERO
            }
            Op::Lose { link } => {
                let (granting, _) = std::mem::take(&mut links[link]);
                granting.end(budget);
                Amount::ZERO
            }
        }
    }

    fn check(&self) {
        for (granting, history) in &self.links {
            assert_eq!(granting.unused(), history.unused());
            assert_eq!(granting.unsettled(), history.un_acked().messages);
            assert_eq!(granting.outstanding(), history.unused() + history.un_acked());
        }
        let committed = self.links.iter().map(|(_, history)| history.unused() + history.un_acked()).sum();
        assert_eq!(self.budget.committed(), committed);
        assert_eq!(self.budget.left(), self.budget.limit().saturating_sub(committed));
    }
}

proptest! {
    // The seed of a failing case is printed, and saved next to this file.
    #![proptest_config(Config { cases: 256, max_shrink_iters: 2_000, ..Config::default() })]

    #[test]
    fn cr_9_what_is_committed_is_the_unused_credit_and_the_un_acked_deliveries_of_all_links(
        limit in (1..100u64, 1..5_000u64),
        ops in prop::collection::vec(op(), 1..200),
    ) {
        let limit = Amount::new(limit.0, limit.1);
        let mut world = World::new(limit);
        for op in ops {
            let before = world.budget.committed();
            let excess = world.step(op);
            world.check();
            let bound = limit.max(before + excess);
            assert!(is_within(world.budget.committed(), bound), "{:?} exceeds {bound:?}", world.budget);
        }
        for link in 0..LINKS {
            world.step(Op::Lose { link });
        }
        assert_eq!(world.budget, Budget::new(limit), "links that are lost leave nothing behind");
    }
}
