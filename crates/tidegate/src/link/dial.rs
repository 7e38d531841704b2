//! Connects to an endpoint, and reconnects (RD-6).

use std::{future::Future, io, sync::Arc, time::Duration};

use tidegate_proto::{
    Code, Generations, InstanceId, Random, Resume, Rule, Violation,
    handshake::{self, Local},
    wire::FrameReader,
};
use tokio::time::timeout;

use super::{
    driver::{Driven, drive},
    greet::{NoHello, first_frame, refuse, send},
    outage::Outage,
    secrets::Secrets,
};
use crate::{
    caught::{Panicked, caught_in},
    error::Refusal,
    events::{Event, PeerInfo},
    socket::{Shared, SocketMachine},
    transport::{Endpoint, TlsFailure},
};

/// A link that has lasted this long resets the wait before the next attempt (RD-6).
const MIN_LASTING: Duration = Duration::from_secs(10);
/// The longest `retry_after_ms` that a connector obeys (RD-6).
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// The result of one attempt.
enum AttemptResult {
    /// There was a link. Whether it resets the wait (RD-6), and how long the peer asks this side to wait.
    Linked {
        peer: InstanceId,
        had_outcome: bool,
        retry_after: Duration,
    },
    /// The stream is over: the pusher has sent its end and the puller has received it (ST-3, ST-6).
    Ended,
    Refused(Code, String, Duration),
    /// Never permanent, even if the TLS handshake was refused: a third party on the network could cause that
    /// (TL-7). A panic of a transport counts as a failure, too.
    Failed(String),
}

impl AttemptResult {
    fn failed(error: &io::Error) -> Self {
        match TlsFailure::of(error) {
            Some(reason) => Self::Failed(reason.to_owned()),
            None if Panicked::is(error) => Self::Failed(format!("the transport {error}")),
            None => Self::Failed(error.to_string()),
        }
    }
}

/// Maintains a link to an endpoint until the socket stops or the stream has ended. While the endpoint refuses
/// permanently, no attempt is made.
pub(crate) fn spawn<M: SocketMachine>(
    shared: Arc<Shared<M>>,
    endpoint: Endpoint,
    slot: u64,
    secrets: Secrets,
    mut random: Random,
) {
    let runtime = shared.runtime.handle.clone();
    runtime.spawn(async move {
        let local = Local { pipeline: endpoint.pipeline.clone(), ..shared.local.clone() };
        let end = keep_linked(&shared, &endpoint, &local, ConnectSlot::new(slot, secrets), &mut random).await;
        if let ConnectEnd::OfStream { lost } = end {
            shared.with(|inner| inner.endpoints.end(lost));
            notify_waiters(&shared);
        }
    });
}

/// Wakes all waiting calls, so that they check whether they can still succeed.
fn notify_waiters<M: SocketMachine>(shared: &Shared<M>) {
    shared.wakers.changed();
    shared.wakers.ready.notify_waiters();
}

/// How the acceptors at an endpoint recognize this side (HS-9).
struct ConnectSlot {
    number: u64,
    secrets: Secrets,
    resume: Option<Resume>,
    generations: Generations,
}

impl ConnectSlot {
    fn new(number: u64, mut secrets: Secrets) -> Self {
        Self { number, resume: secrets.draw(), secrets, generations: Generations::default() }
    }

    /// Takes a new secret, so that the acceptor sees a different peer.
    fn renew(&mut self) {
        (self.resume, self.generations) = (self.secrets.draw(), Generations::default());
    }

    /// The generation of the next attempt. When all are used up, it takes a new secret.
    fn next_generation(&mut self) -> u64 {
        self.generations.draw().unwrap_or_else(|_| {
            self.renew();
            self.generations.draw().unwrap_or(1)
        })
    }
}

/// Why the dialer of an endpoint ends.
enum ConnectEnd {
    /// The stream is over, or no peer at the endpoint still needs its end. `lost` is the peer that was there
    /// before.
    OfStream { lost: Option<InstanceId> },
    /// The socket has stopped.
    OfSocket,
}

async fn keep_linked<M: SocketMachine>(
    shared: &Arc<Shared<M>>,
    endpoint: &Endpoint,
    local: &Local,
    mut slot: ConnectSlot,
    random: &mut Random,
) -> ConnectEnd {
    let max_delay = shared.times.max_reconnect_delay;
    let mut wait = shared.times.min_reconnect_delay;
    let mut outage = Outage::default();
    let mut lost = None;
    loop {
        let generation = slot.next_generation();
        if shared.stays.is_cancelled() && !misses(shared, lost) {
            return ConnectEnd::OfStream { lost: None };
        }
        let revivals = shared.with(|inner| inner.endpoints.revivals);
        let outcome = caught_in(attempt(shared, endpoint, local, &slot, generation))
            .await
            .unwrap_or_else(|panicked| Some(AttemptResult::Failed(format!("the attempt {panicked}"))));
        let (mut min_wait, mut patience) = (Duration::ZERO, Duration::ZERO);
        let failed = |reason| Event::ConnectFailed { endpoint: endpoint.clone(), reason };
        let Some(outcome) = outcome else { return ConnectEnd::OfSocket };
        match outcome {
            AttemptResult::Linked { peer, had_outcome, retry_after } => {
                lost = Some(peer);
                outage.over();
                min_wait = retry_after;
                if had_outcome {
                    wait = shared.times.min_reconnect_delay; // RD-6
                }
            }
            AttemptResult::Ended if shared.with(|inner| M::stays(&inner.state)) => {}
            AttemptResult::Ended => return ConnectEnd::OfStream { lost },
            AttemptResult::Refused(code, reason, _) if code.is_final() => {
                if let Some(pause) = shared.times.retry_refusals {
                    let text = format!("refused with {code}: {reason}");
                    outage.failed(endpoint, &text);
                    shared.report(failed(text));
                    patience = pause;
                } else {
                    if !stay_refused(shared, Refusal { endpoint: endpoint.clone(), code, reason }, revivals)
                        .await
                    {
                        return ConnectEnd::OfSocket;
                    }
                    wait = shared.times.min_reconnect_delay;
                    continue;
                }
            }
            AttemptResult::Refused(code, reason, retry_after) => {
                if code == Code::Stale {
                    shared.doubt(format_args!(
                        "{endpoint} has a newer link with the identity of this socket, which made no such link ({}): \
                         another process knows its secret; reconnecting with a new secret",
                        Rule::Hs9
                    ));
                    slot.renew();
                }
                min_wait = retry_after;
                let reason = format!("refused with {code}: {reason}");
                outage.failed(endpoint, &reason);
                shared.report(failed(reason));
            }
            AttemptResult::Failed(reason) => {
                outage.failed(endpoint, &reason);
                shared.report(failed(reason));
            }
        }
        let pause = jittered(wait, random).max(min_wait.min(MAX_RETRY_AFTER)).max(patience);
        wait = wait.saturating_mul(2).min(max_delay);
        let revived = shared.until(|inner| (inner.endpoints.revivals != revivals).then_some(()));
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => return ConnectEnd::OfSocket,
            // New tokens end the wait after a refusal that is retried.
            () = revived, if !patience.is_zero() => wait = shared.times.min_reconnect_delay,
            () = nobody_missed(shared, lost) => return ConnectEnd::OfStream { lost: None },
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Whether this peer, which was at the endpoint, is missing.
fn misses<M: SocketMachine>(shared: &Shared<M>, peer: Option<InstanceId>) -> bool {
    peer.is_some_and(|peer| shared.with(|inner| inner.endpoints.peers.is_missing(peer)))
}

/// Waits until the socket stays only for peers that have missed the end of its stream, and the peer of this
/// endpoint is not one of them (ST-3).
async fn nobody_missed<M: SocketMachine>(shared: &Shared<M>, peer: Option<InstanceId>) {
    shared.stays.cancelled().await;
    shared.until(|inner| peer.is_none_or(|peer| !inner.endpoints.peers.is_missing(peer)).then_some(())).await;
}

/// Reports a permanent refusal, and waits until new tokens are set. Returns false if the socket stops first.
async fn stay_refused<M: SocketMachine>(shared: &Arc<Shared<M>>, refusal: Refusal, revivals: u64) -> bool {
    // If new tokens were set during the attempt, it did not use them; then the refusal does not count.
    if shared.with(|inner| inner.endpoints.refuse(refusal.clone(), revivals)) {
        let Refusal { endpoint, code, reason } = refusal;
        shared.report(Event::Refused { endpoint, code, reason });
        notify_waiters(shared);
    }
    let revived = shared.until(|inner| (inner.endpoints.revivals != revivals).then_some(()));
    unless_stopped(shared, revived).await.is_some()
}

/// Adds up to 50 % at random, so that many connectors do not reconnect at the same time.
fn jittered(wait: Duration, random: &mut Random) -> Duration {
    wait.saturating_add(random.at_most(wait / 2))
}

/// Makes one attempt; `None` if the socket stopped before there was a link.
async fn attempt<M: SocketMachine>(
    shared: &Arc<Shared<M>>,
    endpoint: &Endpoint,
    local: &Local,
    slot: &ConnectSlot,
    generation: u64,
) -> Option<AttemptResult> {
    let limit = shared.times.handshake;
    let local = &Local { token: shared.security.tokens(), ..local.clone() };
    let connect = timeout(limit, endpoint.address.connect(&shared.security.transport));
    let (mut stream, address) = match unless_stopped(shared, connect).await? {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return Some(AttemptResult::failed(&error)),
        Err(_) => return Some(AttemptResult::Failed(format!("no connection within {limit:?}"))),
    };
    let mut reader = FrameReader::new();
    let greeting = handshake::greet(local, slot.resume.as_ref(), generation);
    let greet = async {
        send(&mut stream, &greeting).await.map_err(NoHello::Io)?;
        first_frame(&mut stream, &mut reader, limit, || ()).await
    };
    let frame = match unless_stopped(shared, greet).await? {
        Ok(frame) => frame,
        Err(NoHello::Violation(violation)) => {
            refuse(stream, &violation, Duration::ZERO, false, shared.times.close_wait).await;
            return Some(refused(violation));
        }
        Err(NoHello::Io(error)) => return Some(AttemptResult::failed(&error)),
        Err(NoHello::Gone) => {
            return Some(AttemptResult::Failed("the peer closed without an answer".to_owned()));
        }
    };
    let mut peer = match handshake::confirm(frame, local) {
        Ok(peer) => peer,
        Err(Ok(close)) => {
            let retry_after = Duration::from_millis(close.retry_after_ms.into());
            let reason = tidegate_proto::wire::cut_reason(&close.reason).to_owned();
            return Some(AttemptResult::Refused(Code::from_wire(close.code), reason, retry_after));
        }
        Err(Err(violation)) => {
            refuse(stream, &violation, Duration::ZERO, false, shared.times.close_wait).await;
            return Some(refused(violation));
        }
    };
    peer.address = address;
    peer.names = stream.names().to_vec();
    shared.keys.identify_acceptor(slot.number, &mut peer); // HS-9
    let link = match shared.with(|inner| inner.machine.open(shared.now(), peer.clone())) {
        Ok(link) => link,
        Err(violation) => {
            refuse(stream, &violation, Duration::ZERO, false, shared.times.close_wait).await;
            return Some(refused(violation));
        }
    };
    shared.opened(link, &peer);
    let Driven { end, had_outcome, lasted, over } =
        drive(shared.clone(), link, stream, reader, peer.clone()).await;
    let had_outcome = had_outcome || lasted >= MIN_LASTING;
    let retry_after = closed(shared, link.as_u64(), &peer, end);
    Some(if over {
        AttemptResult::Ended
    } else {
        AttemptResult::Linked { peer: peer.instance, had_outcome, retry_after }
    })
}

fn refused(violation: Violation) -> AttemptResult {
    AttemptResult::Refused(violation.code, violation.to_string(), Duration::ZERO)
}

/// Reports the end of a link, and returns how long the peer asks this side to wait.
pub(super) fn closed<M: SocketMachine>(
    shared: &Shared<M>,
    link: u64,
    peer: &tidegate_proto::Peer,
    end: Option<tidegate_proto::LinkEnd>,
) -> Duration {
    let Some(end) = end else { return Duration::ZERO };
    let retry_after = if end.by_peer { end.retry_after_ms } else { 0 };
    shared.report(Event::Disconnected { link, peer: PeerInfo::from(peer), end: end.into() });
    Duration::from_millis(retry_after.into())
}

async fn unless_stopped<M: SocketMachine, T>(shared: &Shared<M>, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = shared.stop.cancelled() => None,
        result = work => Some(result),
    }
}
