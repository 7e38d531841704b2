//! Both sides of the credit of one link.

use super::{granting::RESERVE, *};
use crate::{Rule, amount::Amount, v1::Skip, violation::Code, wire::MAX_COUNTER};

fn amount(messages: u64, bytes: u64) -> Amount {
    Amount::new(messages, bytes)
}

/// A link that has got a grant, and a budget without a limit.
fn granted(messages: u64, bytes: u64) -> (Granting, Budget) {
    let (mut granting, mut budget) = (Granting::default(), Budget::new(Amount::MAX));
    granting.raise(&mut budget, amount(messages, bytes));
    (granting, budget)
}

#[test]
fn cr_1_limits_never_decrease_and_repeats_are_harmless() {
    // CR-1
    let mut spending = Spending::default();
    for (messages, bytes) in [(5, 100), (3, 200), (5, 100), (4, 50)] {
        spending.raise(amount(messages, bytes));
    }
    assert_eq!(spending.left(), amount(5, 200));
}

#[test]
fn cr_2_any_positive_byte_credit_admits_one_whole_message() {
    // CR-2
    let mut spending = Spending::default();
    spending.raise(amount(10, 1));
    assert!(spending.may_send());
    spending.spend(1_000_000);
    assert!(!spending.may_send());
    spending.raise(amount(10, 1_000_000));
    assert!(!spending.may_send(), "the bytes sent are equal to the limit");
    spending.raise(amount(10, 1_000_001));
    assert!(spending.may_send());
}

#[test]
fn cr_3_a_batch_beyond_a_limit_is_refused_and_not_counted() {
    // CR-3
    let (mut granting, mut budget) = granted(2, 10);
    let clean = (granting.clone(), budget.clone());
    let mut accept = |first_id, messages, bytes, last| {
        granting.accept(&mut budget, first_id, amount(messages, bytes), last)
    };
    assert_eq!(accept(0, 3, 3, 1).unwrap_err().code, Code::Credit);
    assert_eq!(accept(0, 2, 11, 1).unwrap_err().code, Code::Credit, "10 before the last one");
    assert_eq!(accept(1, 1, 1, 1).unwrap_err().rule, Rule::Dl1);
    assert_eq!((granting.clone(), budget.clone()), clean);
    assert_eq!(granting.accept(&mut budget, 0, amount(2, 1_009), 1_000), Ok(()));
    assert_eq!((budget.committed(), granting.overshoot()), (amount(2, 1_009), 999));
    granting.raise(&mut budget, amount(9, 9_999));
    assert_eq!(granting.accept(&mut budget, 1, amount(1, 1), 1).unwrap_err().rule, Rule::Dl1, "a used id");
}

#[test]
fn rc_3_a_skip_cannot_give_up_more_than_was_granted() {
    // RC-3
    let (mut granting, mut budget) = granted(4, 100);
    granting.accept(&mut budget, 0, amount(1, 30), 30).unwrap();
    let clean = (granting.clone(), budget.clone());
    for (next_id, bytes) in [(0, 0), (5, 0), (4, 71)] {
        assert_eq!(granting.skip(&mut budget, Skip { next_id, bytes }).unwrap_err().code, Code::Credit);
    }
    assert_eq!((granting.clone(), budget.clone()), clean);
    granting.skip(&mut budget, Skip { next_id: 4, bytes: 70 }).unwrap();
    assert_eq!((granting.unused(), granting.unsettled()), (Amount::ZERO, 1));
    assert_eq!((granting.outstanding(), budget.committed()), (amount(1, 30), amount(1, 30)));
}

#[test]
fn cr_8_the_largest_grant_costs_nothing_and_can_be_given_up() {
    // CR-8, FR-7
    let mut spending = Spending::default();
    spending.raise(amount(MAX_COUNTER, MAX_COUNTER));
    assert_eq!(spending.spend(5), 0);
    assert_eq!(spending.skip(), Skip { next_id: MAX_COUNTER, bytes: MAX_COUNTER - 5 });
    assert!(!spending.may_send());
}

#[test]
fn fr_7_no_window_grants_more_than_a_counter_can_be() {
    // FR-7
    let (mut granting, mut budget) = (Granting::default(), Budget::new(Amount::MAX));
    let largest = amount(MAX_COUNTER, MAX_COUNTER);
    assert_eq!(granting.wanted(amount(u64::MAX, 1 << 60)), largest);
    assert!(granting.raise(&mut budget, amount(u64::MAX, 1 << 60)));
    assert_eq!(granting.limits(), largest);
    granting.accept(&mut budget, 0, amount(1, 10), 10).unwrap();
    granting.settle(&mut budget, amount(1, 10));
    assert!(!granting.is_nearly_used_up());
    granting.skip(&mut budget, Skip { next_id: MAX_COUNTER - RESERVE, bytes: 0 }).unwrap();
    assert!(!granting.is_nearly_used_up());
    granting.skip(&mut budget, Skip { next_id: MAX_COUNTER, bytes: MAX_COUNTER - 10 }).unwrap();
    assert!(granting.is_nearly_used_up());
    assert_eq!((granting.minimum_grant(), granting.wanted(amount(4, 4))), (largest, largest));
}
