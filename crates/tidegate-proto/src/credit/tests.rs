//! Both sides of the credit of one link.

use super::{granting::RESERVE, *};
use crate::{Rule, violation::Code, wire::MAX_COUNTER};

#[test]
fn cr_1_limits_never_decrease_and_repeats_are_harmless() {
    // CR-1
    let mut spending = Spending::default();
    spending.raise(5, 100);
    spending.raise(3, 200);
    spending.raise(5, 100);
    spending.raise(4, 50);
    assert_eq!(spending.left(), (5, 200));
}

#[test]
fn cr_2_any_positive_byte_credit_admits_one_whole_message() {
    // CR-2
    let mut spending = Spending::default();
    spending.raise(10, 1);
    assert!(spending.may_send());
    spending.spend(1_000_000);
    assert!(!spending.may_send());
    spending.raise(10, 1_000_000);
    assert!(!spending.may_send(), "the bytes sent are equal to the limit");
    spending.raise(10, 1_000_001);
    assert!(spending.may_send());
}

#[test]
fn cr_3_a_batch_beyond_a_limit_is_refused_and_not_counted() {
    // CR-3
    let mut granting = Granting::default();
    granting.raise(2, 10);
    let clean = granting.clone();
    assert_eq!(granting.accept(0, 3, 3, 1).unwrap_err().code, Code::Credit);
    assert_eq!(granting.accept(0, 2, 11, 1).unwrap_err().code, Code::Credit, "10 before the last one");
    assert_eq!(granting.accept(1, 1, 1, 1).unwrap_err().rule, Rule::Dl1);
    assert_eq!(granting, clean);
    assert_eq!(granting.accept(0, 2, 1_009, 1_000), Ok(()));
    granting.raise(9, 9_999);
    assert_eq!(granting.accept(1, 1, 1, 1).unwrap_err().rule, Rule::Dl1, "a used id");
}

#[test]
fn rc_3_a_skip_cannot_give_up_more_than_was_granted() {
    // RC-3
    let mut granting = Granting::default();
    granting.raise(4, 100);
    granting.accept(0, 1, 30, 30).unwrap();
    for (id, bytes) in [(0, 0), (5, 0), (4, 71)] {
        assert_eq!(granting.skip(id, bytes).unwrap_err().code, Code::Credit);
    }
    granting.skip(4, 70).unwrap();
    assert_eq!((granting.unused(), granting.outstanding(), granting.unsettled()), ((0, 0), (1, 30), 1));
}

#[test]
fn cr_8_the_largest_grant_costs_nothing_and_can_be_given_up() {
    // CR-8, FR-7
    let mut spending = Spending::default();
    spending.raise(MAX_COUNTER, MAX_COUNTER);
    assert_eq!(spending.spend(5), 0);
    assert_eq!(spending.skip(), (MAX_COUNTER, MAX_COUNTER - 5));
    assert!(!spending.may_send());
}

#[test]
fn fr_7_no_window_grants_more_than_a_counter_can_be() {
    // FR-7
    let mut granting = Granting::default();
    assert_eq!(granting.wanted(u64::MAX, 1 << 60), (MAX_COUNTER, MAX_COUNTER));
    assert!(granting.raise(u64::MAX, 1 << 60));
    assert_eq!(granting.limits(), (MAX_COUNTER, MAX_COUNTER));
    granting.accept(0, 1, 10, 10).unwrap();
    granting.settle(1, 10);
    assert!(!granting.is_nearly_used_up());
    granting.skip(MAX_COUNTER - RESERVE, 0).unwrap();
    assert!(!granting.is_nearly_used_up());
    granting.skip(MAX_COUNTER, MAX_COUNTER - 10).unwrap();
    assert!(granting.is_nearly_used_up());
    assert_eq!((granting.minimum_grant(), granting.wanted(4, 4)), (granting.limits(), granting.limits()));
}
