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
