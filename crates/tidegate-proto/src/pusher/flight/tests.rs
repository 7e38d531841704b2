use super::*;
use crate::{message::Message, wire::OpenBatch};

const TIMEOUT: Duration = Duration::from_secs(10);
const START: Time = Time(1_000_000);

/// Adds a frame of so many messages, and gives it to the driver.
fn sent(flight: &mut Flight, now: Time, first_id: u64, messages: u64, payload: &'static [u8]) {
    let mut batch = OpenBatch::default();
    for id in first_id..first_id + messages {
        let at = batch.push(id, 1_000 + id, 1, false, &Message::new(Bytes::from_static(payload)));
        flight.push(id, 1_000 + id, at, payload.len() as u64, Extra::default(), id == first_id);
    }
    let sealed = batch.seal();
    flight.seal(&sealed);
    flight.handed_over(now, first_id, 1 + first_id);
}

/// The numbers of the messages that are overdue.
fn overdue(flight: &mut Flight, now: Time) -> Vec<u64> {
    let mut taken = Taken::default();
    flight.take_overdue(now, TIMEOUT, &mut taken);
    assert!(flight.next_overdue(TIMEOUT).is_none_or(|due| due > now), "a driver would not come to rest");
    taken.pending.iter().map(|pending| pending.number - 1_000).collect()
}

#[test]
fn what_is_due_first_is_known_without_a_search_and_never_stays_in_the_past() {
    // OC-12, OC-13
    let at = |seconds| START + Duration::from_secs(seconds);
    let mut flight = Flight::default();
    for frame in 0..5 {
        sent(&mut flight, at(frame), 10 * frame, 10, b"a");
    }
    assert_eq!(flight.next_overdue(TIMEOUT), Some(at(10)));
    // All but message 7 are being worked on, some of them twice; 13 is settled in between.
    for id in (0..50).filter(|id| *id != 7) {
        flight.worked_on(at(8), id);
        flight.worked_on(at(if id < 5 { 12 } else { 9 }), id);
    }
    flight.settle(13, 1, false, &mut Taken::default());
    assert_eq!((flight.working.len(), flight.extras.len()), (48, 48));
    assert_eq!(overdue(&mut flight, at(10)), [7]);
    assert_eq!(flight.next_overdue(TIMEOUT), Some(at(11)), "the second frame, of which nobody has looked");
    assert_eq!(overdue(&mut flight, at(18)), []);
    assert_eq!(flight.next_overdue(TIMEOUT), Some(at(19)));
    assert_eq!(overdue(&mut flight, at(19)), (5..50).filter(|id| ![7, 13].contains(id)).collect::<Vec<_>>());
    sent(&mut flight, at(20), 50, 1, b"a");
    assert_eq!(flight.next_overdue(TIMEOUT), Some(at(22)));
    assert_eq!(overdue(&mut flight, at(22)), [0, 1, 2, 3, 4]);
    assert_eq!(overdue(&mut flight, at(30)), [50]);
    assert_eq!((flight.next_overdue(TIMEOUT), flight.working.len()), (None, 0));
}

fn settle(flight: &mut Flight, first: u64, count: u64) -> u64 {
    let mut taken = Taken::default();
    flight.settle(first, count, false, &mut taken);
    taken.messages
}

#[test]
fn one_message_of_a_large_frame_keeps_neither_its_octets_nor_its_entries() {
    // LM-5 for a pusher: all but the first, all but one in the middle, all but the last, one by one.
    for left in [0, 4_321, 9_999] {
        let mut flight = Flight::default();
        sent(&mut flight, START, 0, 10_000, b"ten octets");
        for id in (0..10_000).filter(|id| *id != left) {
            assert_eq!(settle(&mut flight, id, 1), 1);
            assert_eq!(settle(&mut flight, id, 1), 0, "OC-3");
        }
        let frame = &flight.frames[0];
        assert!(frame.entries.capacity() <= FEW && frame.places.capacity() <= FEW, "{frame:?}");
        assert!(frame.room.len() <= SMALL);
        flight.worked_on(START, left + 1);
        assert!(flight.working.is_empty());
        flight.worked_on(START, left);
        assert_eq!(flight.working.len(), 1);
        let all = flight.take_all(u64::MAX);
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].0.number, 1_000 + left);
        assert_eq!(&all[0].0.message.payload()[..], b"ten octets");
    }
}

#[test]
fn outcomes_that_come_again_do_not_walk_over_what_is_settled() {
    // OC-3: a fifth is left, so that the entries stay.
    let mut flight = Flight::default();
    sent(&mut flight, START, 0, 10_000, b"ten octets");
    for id in 2_000..10_000 {
        settle(&mut flight, id, 1);
    }
    assert_eq!(settle(&mut flight, 2_000, 8_000), 0);
    let entries = &flight.frames[0].entries;
    assert_eq!(entries.len(), 10_000);
    for (index, entry) in entries.iter().enumerate().skip(2_000) {
        assert_eq!(entry.at as usize, 10_000 - index, "one step leads to the end");
    }
}

#[test]
fn small_payloads_are_not_measured_again_after_every_outcome() {
    // Of messages without octets every frame seems to be worth copying.
    let mut flight = Flight::default();
    sent(&mut flight, START, 0, 10_000, b"");
    let mut looks = BTreeSet::new();
    for id in (0..10_000).filter(|id| id % 2 == 0).chain((0..9_999).filter(|id| id % 2 == 1)) {
        settle(&mut flight, id, 1);
        looks.insert(flight.frames[0].looked);
    }
    assert!(looks.len() <= 15, "{looks:?}");
    assert!(flight.frames[0].room.len() <= SMALL);
}

#[test]
fn whatever_is_settled_in_whatever_order_the_rest_is_there() {
    // OC-1, OC-3
    let mut random = 88_172_645_463_325_252_u64;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    for round in 0..200 {
        let mut flight = Flight::default();
        let mut left: BTreeSet<u64> = (0..600).collect();
        (0..3).for_each(|frame| sent(&mut flight, START, 200 * frame, 200, b"some octets, more than a few"));
        for _ in 0..round {
            let most = if next(8) == 0 { 300 } else { 4 };
            let first = next(600);
            let count = (1 + next(most)).min(600 - first);
            let expected = left.range(first..first + count).count() as u64;
            assert_eq!(settle(&mut flight, first, count), expected);
            left.retain(|id| !(first..first + count).contains(id));
            assert_eq!((flight.messages(), flight.bytes()), (left.len(), 28 * left.len() as u64));
        }
        let all = flight.take_all(u64::MAX).into_iter().map(|(pending, _)| {
            assert_eq!(&pending.message.payload()[..], b"some octets, more than a few");
            pending.number - 1_000
        });
        assert_eq!(all.collect::<Vec<_>>(), left.into_iter().collect::<Vec<_>>());
    }
}
