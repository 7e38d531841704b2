use std::collections::BTreeSet;

use super::{
    frame::{MIN_COMPACTED_ENTRIES, MIN_COPIED_FRAME},
    *,
};
use crate::{message::Message, wire::OpenBatch};

const TIMEOUT: Duration = Duration::from_secs(10);
const START: Time = Time(1_000_000);

fn range(first: u64, count: u64) -> DeliveryRange {
    DeliveryRange::new(DeliveryId::new(first), count)
}

/// Adds a frame of `messages` messages, and gives it to the driver.
fn sent(flight: &mut Flight, now: Time, first_id: u64, messages: u64, payload: &'static [u8]) {
    let mut batch = OpenBatch::default();
    for id in first_id..first_id + messages {
        let at = batch.push(id, 1_000 + id, 1, false, &Message::new(Bytes::from_static(payload)));
        flight.push(
            DeliveryId::new(id),
            MessageNumber::new(1_000 + id),
            at,
            payload.len() as u64,
            Extra::default(),
            id == first_id,
        );
    }
    let sealed = batch.seal();
    flight.seal(&sealed);
    flight.handed_over(now, DeliveryId::new(first_id), 1 + first_id);
}

/// The numbers of the messages that are overdue.
fn overdue(flight: &mut Flight, now: Time) -> Vec<u64> {
    let mut taken = Taken::default();
    flight.take_overdue(now, TIMEOUT, &mut taken);
    assert!(flight.next_overdue(TIMEOUT).is_none_or(|due| due > now), "a driver would poll without a pause");
    taken.pending.iter().map(|pending| pending.number.get() - 1_000).collect()
}

#[test]
fn oc_12_the_next_time_out_is_never_in_the_past_after_a_check() {
    // OC-12, OC-13
    let at = |seconds| START + Duration::from_secs(seconds);
    let mut flight = Flight::default();
    for frame in 0..5 {
        sent(&mut flight, at(frame), 10 * frame, 10, b"a");
    }
    assert_eq!(flight.next_overdue(TIMEOUT), Some(at(10)));
    // All but message 7 are being worked on, some of them twice; 13 is settled in between.
    for id in (0..50).filter(|id| *id != 7) {
        flight.worked_on(at(8), DeliveryId::new(id), None);
        flight.worked_on(at(if id < 5 { 12 } else { 9 }), DeliveryId::new(id), None);
    }
    flight.settle(range(13, 1), false, &mut Taken::default());
    assert_eq!((flight.working.len(), flight.extras.len()), (48, 0));
    assert_eq!(overdue(&mut flight, at(10)), [7]);
    assert_eq!(flight.next_overdue(TIMEOUT), Some(at(11)), "the second frame, which was not checked yet");
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
    flight.settle(range(first, count), false, &mut taken);
    taken.amount.messages
}

#[test]
fn a_payload_whose_drop_panics_is_settled_and_counted() {
    struct Owner(Vec<u8>);
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    impl Drop for Owner {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                panic!("a bug in a payload");
            }
        }
    }
    let mut flight = Flight::default();
    for id in 0..2 {
        let mut batch = OpenBatch::default();
        let message = Message::new(Bytes::from_owner(Owner(vec![1; 100_000])));
        let at = batch.push(id, id, 1, false, &message);
        flight.push(DeliveryId::new(id), MessageNumber::new(id), at, 100_000, Extra::default(), true);
        flight.seal(&batch.seal());
        flight.handed_over(START, DeliveryId::new(id), 1 + id);
    }
    let settle = |flight: &mut Flight, taken: &mut Taken, id| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| flight.settle(range(id, 1), false, taken)))
    };
    let mut taken = Taken::default();
    settle(&mut flight, &mut taken, 0).unwrap();
    assert_eq!((taken.amount.messages, flight.amount().messages), (1, 1));
    settle(&mut flight, &mut taken, 1).unwrap_err();
    assert_eq!((taken.amount, flight.amount()), (Amount::new(2, 200_000), Amount::ZERO));
    std::mem::forget(taken);
    assert!(flight.take_all(u64::MAX).is_empty(), "nothing that was settled is sent again");
}

#[test]
fn lm_5_one_message_of_a_large_frame_keeps_neither_its_bytes_nor_its_entries() {
    // LM-5 for a pusher: all but the first, all but one in the middle, all but the last, one by one.
    for left in [0, 4_321, 9_999] {
        let mut flight = Flight::default();
        sent(&mut flight, START, 0, 10_000, b"ten bytes");
        for id in (0..10_000).filter(|id| *id != left) {
            assert_eq!(settle(&mut flight, id, 1), 1);
            assert_eq!(settle(&mut flight, id, 1), 0, "{}", Rule::Oc3);
        }
        let frame = &flight.frames[0];
        assert!(
            frame.entries.capacity() <= MIN_COMPACTED_ENTRIES
                && frame.id_offsets.capacity() <= MIN_COMPACTED_ENTRIES,
            "{frame:?}"
        );
        assert!(frame.room.len() <= MIN_COPIED_FRAME);
        flight.worked_on(START, DeliveryId::new(left + 1), None);
        assert_eq!(flight.working.len(), 0);
        flight.worked_on(START, DeliveryId::new(left), None);
        assert_eq!(flight.working.len(), 1);
        let all = flight.take_all(u64::MAX);
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].0.number, MessageNumber::new(1_000 + left));
        assert_eq!(&all[0].0.message.payload()[..], b"ten bytes");
    }
}

#[test]
fn oc_3_repeated_outcomes_step_over_settled_entries_at_once() {
    // OC-3: a fifth is left, so that the entries stay.
    let mut flight = Flight::default();
    sent(&mut flight, START, 0, 10_000, b"ten bytes");
    for id in 2_000..10_000 {
        settle(&mut flight, id, 1);
    }
    assert_eq!(settle(&mut flight, 2_000, 8_000), 0);
    let entries = &flight.frames[0].entries;
    assert_eq!(entries.len(), 10_000);
    for (index, entry) in entries.iter().enumerate().skip(2_000) {
        assert_eq!(entry.at as usize, 10_000 - index, "one step to the end");
    }
}

#[test]
fn frames_of_empty_payloads_are_not_checked_for_copying_after_every_outcome() {
    // With empty payloads, every frame seems to be worth copying.
    let mut flight = Flight::default();
    sent(&mut flight, START, 0, 10_000, b"");
    let mut looks = BTreeSet::new();
    for id in (0..10_000).filter(|id| id % 2 == 0).chain((0..9_999).filter(|id| id % 2 == 1)) {
        settle(&mut flight, id, 1);
        looks.insert(flight.frames[0].last_measured.messages);
    }
    assert!(looks.len() <= 15, "{looks:?}");
    assert!(flight.frames[0].room.len() <= MIN_COPIED_FRAME);
}

#[test]
fn oc_1_unsettled_messages_are_kept_whatever_is_settled_in_any_order() {
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
        (0..3).for_each(|frame| sent(&mut flight, START, 200 * frame, 200, b"some bytes, more than a few"));
        for _ in 0..round {
            let most = if next(8) == 0 { 300 } else { 4 };
            let first = next(600);
            let count = (1 + next(most)).min(600 - first);
            let expected = left.range(first..first + count).count() as u64;
            assert_eq!(settle(&mut flight, first, count), expected);
            left.retain(|id| !(first..first + count).contains(id));
            let left = left.len() as u64;
            assert_eq!(flight.amount(), Amount::new(left, 27 * left));
        }
        let all = flight.take_all(u64::MAX).into_iter().map(|(pending, _)| {
            assert_eq!(&pending.message.payload()[..], b"some bytes, more than a few");
            pending.number.get() - 1_000
        });
        assert_eq!(all.collect::<Vec<_>>(), left.into_iter().collect::<Vec<_>>());
    }
}

/// Memory that the messages and the frames keep, once for each piece of it.
fn kept(pending: &[Pending], flight: &Flight) -> usize {
    let messages: usize = pending.iter().map(|pending| pending.message.payload().len()).sum();
    let frames: usize = flight.frames.iter().map(|frame| frame.memory).sum();
    frames + messages
}

#[test]
fn lm_5_a_nacked_message_does_not_keep_the_frame_that_it_came_from() {
    // LM-5 for a pusher: one of each frame is nacked and waits, all others are acked.
    let payload = Bytes::from_static(&[7; 1_000]);
    let mut flight = Flight::default();
    let mut taken = Taken::default();
    let mut rooms = Vec::new();
    for frame in 0..100 {
        let first = 100 * frame;
        let mut batch = OpenBatch::default();
        for id in first..first + 100 {
            let at = batch.push(id, id, 1, false, &Message::new(payload.clone()));
            flight.push(
                DeliveryId::new(id),
                MessageNumber::new(id),
                at,
                1_000,
                Extra::default(),
                id == first,
            );
        }
        let sealed = batch.seal();
        flight.seal(&sealed);
        flight.handed_over(START, DeliveryId::new(first), 1 + first);
        rooms.push(sealed.room);
        flight.settle(range(first + frame % 100, 1), true, &mut taken);
        flight.settle(range(first, 100), false, &mut taken);
    }
    assert_eq!((taken.pending.len(), flight.amount().messages, flight.frames.len()), (100, 0, 0));
    for room in rooms {
        assert!(room.is_unique(), "a frame of {} bytes is kept by a message of 1,000", room.len());
    }
    assert!(taken.pending.iter().all(|pending| pending.message.payload() == &payload));
    assert_eq!(kept(&taken.pending, &flight), 100 * 1_000);
}

#[test]
fn lm_5_the_messages_of_a_lost_link_do_not_keep_its_frames() {
    // LM-5, RD-3: each message may be kept for another time.
    let mut flight = Flight::default();
    sent(&mut flight, START, 0, 1_000, &[7; 100]);
    let room = flight.frames[0].room.clone();
    let all = flight.take_all(u64::MAX);
    assert_eq!(all.len(), 1_000);
    assert!(room.is_unique(), "the frame is freed, although all of its messages are kept");
    let mut batch = OpenBatch::default();
    for id in 0..2 {
        let message = Message::new("p").with_header("n", &[9; 5_000][..]);
        let at = batch.push(id, id, 1, false, &message);
        flight.push(DeliveryId::new(id), MessageNumber::new(id), at, 5_002, Extra::default(), id == 0);
    }
    let sealed = batch.seal();
    flight.seal(&sealed);
    flight.handed_over(START, DeliveryId::new(0), 1);
    let mut taken = Taken::default();
    flight.settle(range(1, 1), true, &mut taken);
    flight.settle(range(0, 1), false, &mut taken);
    drop(batch);
    assert!(sealed.room.is_unique(), "nor does the value of a header keep it");
    assert_eq!(taken.pending[0].message.headers().get("n").map(Bytes::len), Some(5_000));
}

#[test]
fn lm_5_a_small_frame_does_not_keep_the_buffer_that_a_large_one_needed() {
    // LM-5: large batches that are acked, and small ones in between that are not.
    let mut flight = Flight::default();
    let mut batch = OpenBatch::default();
    let mut id = 0;
    for _ in 0..50 {
        for count in [1_200, 1] {
            let first = id;
            for _ in 0..count {
                let at = batch.push(id, id, 1, false, &Message::from("a hundred bytes or so".repeat(5)));
                flight.push(
                    DeliveryId::new(id),
                    MessageNumber::new(id),
                    at,
                    105,
                    Extra::default(),
                    id == first,
                );
                id += 1;
            }
            flight.seal(&batch.seal());
            flight.handed_over(START, DeliveryId::new(first), id);
            if count > 1 {
                settle(&mut flight, first, count);
            }
        }
    }
    assert_eq!(flight.amount().messages, 50);
    assert!(kept(&[], &flight) <= 50 * 1_024, "{} bytes are kept of 5,250", kept(&[], &flight));
    drop(batch);
    let mut live = flight.frames.iter().filter(|frame| frame.is_live());
    assert!(live.all(|frame| frame.room.is_unique()), "frames keep no memory beside what they count");
}

#[test]
fn oc_3_repeated_outcomes_step_over_settled_frames_at_once() {
    // OC-3: half of the frames have no live messages, and are behind as many that have, so that they are not dropped.
    let mut flight = Flight::default();
    (0..20_000).for_each(|id| sent(&mut flight, START, id, 1, b"x"));
    assert_eq!(settle(&mut flight, 10_000, 10_000), 10_000);
    assert_eq!(flight.frames.len(), 20_000, "settled frames behind live ones are kept");
    let mut looks = 0;
    for first in 10_000..20_000 {
        let mut taken = Taken::default();
        flight.settle(range(first, 20_000 - first), false, &mut taken);
        assert_eq!(taken.amount, Amount::ZERO);
        looks += taken.lookups;
    }
    assert!(looks <= 10_000, "{looks} looks for 10,000 outcomes that settle nothing");
    for last in 10_001..20_000 {
        let mut taken = Taken::default();
        flight.settle(range(10_000, last - 10_000), false, &mut taken);
        looks += taken.lookups;
    }
    assert!(looks <= 20_000, "{looks} looks, whatever part of the run is named");
    // Frames that are settled one by one are one run in the end.
    let mut flight = Flight::default();
    (0..20_000).for_each(|id| sent(&mut flight, START, id, 1, b"x"));
    (10_000..19_990).for_each(|id| assert_eq!(settle(&mut flight, id, 1), 1));
    let (mut taken, mut again) = (Taken::default(), Taken::default());
    flight.settle(range(10_000, 9_990), false, &mut taken);
    flight.settle(range(10_000, 9_990), false, &mut again);
    assert!(taken.lookups <= 9_990 && again.lookups == 1, "{} and {} looks", taken.lookups, again.lookups);
    // The unsettled messages are still there, in order.
    let all = flight.take_all(u64::MAX);
    let numbers: Vec<_> = all.iter().map(|(pending, _)| pending.number.get() - 1_000).collect();
    assert_eq!(numbers, (0..10_000).chain(19_990..20_000).collect::<Vec<_>>());
}

#[test]
fn oc_2_a_skipped_id_is_found_among_many_skips_and_its_neighbours_are_not() {
    // OC-2
    let mut flight = Flight::default();
    (0..100).for_each(|skip| flight.skip(range(10 * skip, 5)));
    for skip in 100 - MAX_SKIPPED_RANGES as u64..100 {
        assert!(flight.check(10 * skip + 4, 1, DeliveryId::new(1_000)).is_err());
        assert!(flight.check(10 * skip + 5, 5, DeliveryId::new(1_000)).is_ok());
        assert!(flight.check(10 * skip + 5, 6, DeliveryId::new(2_000)).is_err() || skip == 99);
    }
}

#[test]
fn oc_13_signs_of_work_extend_a_delivery_to_at_most_max_work_time() {
    // OC-12, OC-13: a sign of work in every second; the bound on the whole time is 25 s.
    let at = |seconds| START + Duration::from_secs(seconds);
    let mut flight = Flight::default();
    sent(&mut flight, START, 0, 2, b"a");
    let most = Some(Duration::from_secs(25) - TIMEOUT);
    let mut gone = None;
    for second in 1..60 {
        flight.worked_on(at(second), DeliveryId::new(0), most);
        flight.worked_on(at(second), DeliveryId::new(1), None);
        let due = overdue(&mut flight, at(second));
        if !due.is_empty() {
            assert_eq!((due, gone), (vec![0], None));
            gone = Some(second);
        }
    }
    assert_eq!((gone, flight.amount().messages, flight.working.len()), (Some(25), 1, 1));
}
