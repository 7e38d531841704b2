//! The places of connections with an unfinished handshake, at one port (HS-11 … HS-13).
//!
//! ```text
//!            accept                          Hello read
//!  newcomer ────────► silent ──► speaking ──────────────► a link, or refused
//!                        ▲           ▲                          ▲
//!                        └───────────┴─── one of these makes room for a newcomer when all places are taken
//! ```
//!
//! If new connections were turned away, a peer that opens connections and sends nothing could keep all others
//! out. So a new connection always gets a place, and one from the address with the most places is closed
//! instead: one that has been refused, otherwise the oldest that has sent nothing, otherwise the oldest. An
//! address with a single connection is the last to lose one.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tidegate_proto::Rule;
use tokio::sync::oneshot;

use super::address_limit::origin;

/// While more than half of the places are taken, the connections of one address share the handshake time, and
/// each has at least this fraction of it. With the default of 5 s that is 1 s, enough for three round trips
/// halfway round the world.
const MAX_TIME_SHARES: u32 = 5;

/// Resolves when the place is lost, to the rule that applies. The connection must then be closed.
pub(crate) type PermitLost = oneshot::Receiver<Rule>;

/// In the order in which they make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum HandshakeStage {
    /// It has received its refusal, and has yet to disconnect.
    Refused,
    /// No byte has arrived.
    Silent,
    /// Bytes have arrived, but no complete Hello.
    Speaking,
}

const STAGES: [HandshakeStage; 3] =
    [HandshakeStage::Refused, HandshakeStage::Silent, HandshakeStage::Speaking];

/// A stage and the arrival number. The lowest rank makes room first.
type Rank = (HandshakeStage, u64);

/// Connections without a network address form one group: their peers are on this machine.
type AddressGroup = Option<IpAddr>;

pub(crate) struct Handshakes {
    max: usize,
    /// Does not apply to connections without a network address: the file mode protects a Unix socket.
    max_per_address: usize,
    state: Mutex<HandshakeState>,
}

#[derive(Default)]
struct HandshakeState {
    taken: usize,
    next: u64,
    /// No group is empty, so this is at most as large as the number of places taken.
    groups: HashMap<AddressGroup, BTreeMap<Rank, oneshot::Sender<Rule>>>,
    /// The groups by size. Among equals, the group whose first connection is the oldest comes last.
    by_size: BTreeSet<(usize, Reverse<Rank>, AddressGroup)>,
}

/// A place; dropping it frees the place.
pub(crate) struct HandshakePermit {
    handshakes: Arc<Handshakes>,
    origin: AddressGroup,
    number: u64,
    /// The number of connections that share the handshake time.
    sharing: u32,
}

impl Handshakes {
    pub(crate) fn new(max: usize, max_per_address: usize) -> Arc<Self> {
        Arc::new(Self { max, max_per_address, state: Mutex::default() })
    }

    /// Takes a place for a connection from `address`, as [`crate::transport::Listener::accept`] formats it.
    /// If none is free, in total or for its address, another connection loses its place. With `scarce` no
    /// place is free whatever the limits; then the result is `None` if no other connection can lose its
    /// place.
    pub(crate) fn enter(
        self: &Arc<Self>,
        address: &str,
        scarce: bool,
    ) -> Option<(HandshakePermit, PermitLost)> {
        let origin = origin(address);
        let mut state = self.lock();
        let own = state.groups.get(&origin).map_or(0, BTreeMap::len);
        if origin.is_some() && own >= self.max_per_address {
            state.make_room(origin, Rule::Hs13);
        } else if scarce || state.taken >= self.max {
            let (largest, _, other) =
                state.by_size.last().copied().unwrap_or((0, Reverse((HandshakeStage::Silent, 0)), None));
            if largest == 0 {
                return None;
            }
            state.make_room(if own >= largest { origin } else { other }, Rule::Hs12);
        }
        let pressed = scarce || state.taken >= self.max / 2;
        let number = state.next;
        state.next += 1;
        let (sender, lost) = oneshot::channel();
        let sharing = state.change(origin, |group| {
            group.insert((HandshakeStage::Silent, number), sender);
            group.len()
        });
        state.taken += 1;
        let sharing = if pressed { u32::try_from(sharing).unwrap_or(u32::MAX) } else { 1 };
        Some((HandshakePermit { handshakes: self.clone(), origin, number, sharing }, lost))
    }

    /// Closes one connection, because the process lacks resources. Returns false if there is none.
    pub(crate) fn make_room(&self) -> bool {
        let mut state = self.lock();
        let Some((_, _, origin)) = state.by_size.last().copied() else { return false };
        state.make_room(origin, Rule::Hs12);
        true
    }

    fn lock(&self) -> MutexGuard<'_, HandshakeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HandshakeState {
    fn make_room(&mut self, origin: AddressGroup, rule: Rule) {
        if let Some((_, lost)) = self.change(origin, BTreeMap::pop_first) {
            self.taken -= 1;
            // The connection may be gone already.
            let _ = lost.send(rule);
        }
    }

    fn change<R>(
        &mut self,
        origin: AddressGroup,
        change: impl FnOnce(&mut BTreeMap<Rank, oneshot::Sender<Rule>>) -> R,
    ) -> R {
        let group = self.groups.entry(origin).or_default();
        if let Some((rank, _)) = group.first_key_value() {
            self.by_size.remove(&(group.len(), Reverse(*rank), origin));
        }
        let result = change(group);
        match group.first_key_value() {
            Some((rank, _)) => {
                self.by_size.insert((group.len(), Reverse(*rank), origin));
            }
            None => {
                self.groups.remove(&origin);
            }
        }
        result
    }
}

impl HandshakePermit {
    /// The handshake time for this connection, as a part of `whole` (HS-11).
    pub(crate) fn time(&self, whole: Duration) -> Duration {
        (whole / self.sharing.max(1)).max(whole / MAX_TIME_SHARES)
    }

    /// Bytes have arrived.
    pub(crate) fn mark_speaking(&self) {
        self.set_stage(HandshakeStage::Speaking);
    }

    /// The connection has been refused, and is the first to make room.
    pub(crate) fn mark_refused(&self) {
        self.set_stage(HandshakeStage::Refused);
    }

    fn set_stage(&self, stage: HandshakeStage) {
        self.handshakes.lock().change(self.origin, |group| {
            if let Some(sender) = remove(group, self.number) {
                group.insert((stage, self.number), sender);
            }
        });
    }
}

fn remove<T>(group: &mut BTreeMap<Rank, T>, number: u64) -> Option<T> {
    STAGES.iter().find_map(|stage| group.remove(&(*stage, number)))
}

impl Drop for HandshakePermit {
    fn drop(&mut self) {
        let mut state = self.handshakes.lock();
        let was_there = state.change(self.origin, |group| remove(group, self.number).is_some());
        state.taken -= usize::from(was_there); // otherwise another connection has the place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(handshakes: &Arc<Handshakes>, address: &str) -> (HandshakePermit, PermitLost) {
        handshakes.enter(address, false).unwrap()
    }

    fn lost(place: &mut (HandshakePermit, PermitLost)) -> Option<Rule> {
        place.1.try_recv().ok()
    }

    #[test]
    fn hs_13_the_oldest_silent_connection_of_an_address_makes_room_for_the_next_one() {
        // HS-13
        let all = Handshakes::new(100, 2);
        let mut first = enter(&all, "192.0.2.1:1");
        let mut second = enter(&all, "[::ffff:192.0.2.1]:2");
        first.0.mark_speaking();
        let mut third = enter(&all, "192.0.2.1:3");
        assert_eq!((lost(&mut first), lost(&mut second), lost(&mut third)), (None, Some(Rule::Hs13), None));
        let mut fourth = enter(&all, "192.0.2.1:4");
        assert_eq!((lost(&mut first), lost(&mut third), lost(&mut fourth)), (None, Some(Rule::Hs13), None));
        fourth.0.mark_speaking();
        let fifth = enter(&all, "192.0.2.1:5");
        assert_eq!(
            (lost(&mut first), lost(&mut fourth)),
            (Some(Rule::Hs13), None),
            "the oldest that has sent bytes"
        );
        assert_eq!(all.lock().taken, 2);
        drop((first, second, third, fourth, fifth));
        let state = all.lock();
        assert!(state.groups.is_empty() && state.by_size.is_empty() && state.taken == 0, "nothing is kept");
    }

    #[test]
    fn hs_12_an_address_with_many_connections_cannot_take_the_place_of_one_with_few() {
        // HS-12
        let all = Handshakes::new(8, 8);
        let mut honest = enter(&all, "192.0.2.9:1");
        let mut held: Vec<_> = (0..100).map(|n| enter(&all, &format!("192.0.2.{}:{n}", n % 3))).collect();
        assert_eq!(lost(&mut honest), None, "although it is the oldest and has sent nothing");
        assert_eq!(all.lock().taken, 8);
        let left =
            held.iter_mut().filter_map(|place| lost(place).is_none().then_some(place.0.number)).count();
        assert_eq!(left, 7);
        let mut newcomer = enter(&all, "198.51.100.1:1");
        assert_eq!((lost(&mut honest), lost(&mut newcomer)), (None, None));
    }

    #[test]
    fn hs_12_among_equals_the_one_that_has_been_refused_goes_first_and_then_the_oldest_silent_one() {
        // HS-12
        let all = Handshakes::new(4, 8);
        let mut held: Vec<_> = (0..4).map(|n| enter(&all, &format!("192.0.2.{n}:1"))).collect();
        held[0].0.mark_speaking();
        held[3].0.mark_speaking();
        held[3].0.mark_refused();
        let mut newcomers: Vec<_> = (10..14).map(|n| enter(&all, &format!("192.0.2.{n}:1"))).collect();
        assert!(held[1..].iter_mut().all(|place| lost(place) == Some(Rule::Hs12)));
        // It has sent bytes, so the new connections that have not make room first.
        assert_eq!(lost(&mut held[0]), None);
        assert_eq!(newcomers.iter_mut().map(lost).collect::<Vec<_>>(), [Some(Rule::Hs12), None, None, None]);
    }

    #[test]
    fn hs_12_without_room_there_is_a_place_only_if_another_connection_can_lose_its_own() {
        // HS-12
        let all = Handshakes::new(100, 100);
        assert!(all.enter("192.0.2.1:1", true).is_none() && !all.make_room());
        let mut first = enter(&all, "192.0.2.1:1");
        let (_second, _) = all.enter("192.0.2.2:1", true).unwrap();
        assert_eq!((lost(&mut first), all.lock().taken), (Some(Rule::Hs12), 1));
        assert!(all.make_room() && !all.make_room());
    }

    #[test]
    fn hs_11_under_pressure_the_connections_of_one_address_share_the_time() {
        // HS-11
        const WHOLE: Duration = Duration::from_secs(5);
        let all = Handshakes::new(8, 8);
        let time = |place: &(HandshakePermit, PermitLost)| place.0.time(WHOLE);
        let calm: Vec<_> = (0..4).map(|n| enter(&all, &format!("192.0.2.1:{n}"))).collect();
        assert!(calm.iter().all(|place| time(place) == WHOLE), "half of the places are free");
        let fifth = enter(&all, "192.0.2.1:5");
        assert_eq!(time(&fifth), Duration::from_secs(1));
        assert_eq!(time(&enter(&all, "192.0.2.1:6")), Duration::from_secs(1), "and never less");
        assert_eq!(time(&enter(&all, "192.0.2.2:1")), WHOLE, "another address is not affected");
        let second = (enter(&all, "192.0.2.3:1"), enter(&all, "192.0.2.3:2")).1;
        assert_eq!(time(&second), WHOLE / 2);
    }

    #[test]
    fn hs_12_connections_without_an_address_have_only_the_total_limit() {
        // HS-12, HS-13
        let all = Handshakes::new(4, 1);
        let mut held: Vec<_> = (0..5).map(|_| enter(&all, "unix:/tmp/socket")).collect();
        assert_eq!(held.iter_mut().map(lost).collect::<Vec<_>>(), [Some(Rule::Hs12), None, None, None, None]);
    }
}
