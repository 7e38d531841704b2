//! Connects to an endpoint, again and again (RD-6).

use std::{future::Future, io, sync::Arc, time::Duration};

use tidegate_proto::{
    Code, Random, Violation,
    handshake::{self, Local},
    wire::FrameReader,
};
use tokio::time::timeout;

use super::{
    driver::drive,
    greet::{NoHello, first_frame, refuse, send},
};
use crate::{
    caught::{Panicked, caught_in},
    endpoint::Endpoint,
    error::Refusal,
    events::{Event, PeerInfo},
    shared::{Role, Shared},
    transport::{self, TlsFailure},
};

/// What came of one attempt.
enum Outcome {
    /// There was a link; whether something was settled over it, and the peer's advice when to come back.
    Linked {
        proven: bool,
        retry_after: Duration,
    },
    /// The pusher's stream is over (ST-6).
    Ended,
    Refused(Code, String, Duration),
    Failed(String),
    /// TLS does not let us, or does not let the peer; never final, for whoever is in between could cause it (TL-7). Or the
    /// transport panicked.
    Alarming(String),
}

impl Outcome {
    fn failed(error: &io::Error) -> Self {
        match TlsFailure::of(error) {
            Some(reason) => Self::Alarming(reason.to_owned()),
            None if Panicked::is(error) => Self::Alarming(format!("the transport {error}")),
            None => Self::Failed(error.to_string()),
        }
    }
}

/// Keeps a link to an endpoint until the socket stops, the endpoint refuses for good, or its stream has ended.
pub(crate) fn spawn<M: Role>(shared: Arc<Shared<M>>, endpoint: Endpoint, slot: u64, mut random: Random) {
    let runtime = shared.place.handle.clone();
    runtime.spawn(async move {
        let local = Local { pipeline: endpoint.pipeline.clone(), ..shared.local.clone() };
        let end = keep_linked(&shared, &endpoint, &local, slot, &mut random).await;
        shared.with(|inner| {
            inner.places.dialing -= 1;
            inner.places.ended += usize::from(end.is_ok());
            if let Err(Some(refusal)) = &end {
                inner.places.refused.push(refusal.clone());
            }
        });
        if let Err(Some(Refusal { endpoint, code, reason })) = end {
            shared.report(Event::Refused { endpoint, code, reason });
        }
        shared.signals.changed();
        shared.signals.ready.notify_waiters();
    });
}

/// `Ok`: the stream has ended. `Err(None)`: the socket has stopped.
async fn keep_linked<M: Role>(
    shared: &Arc<Shared<M>>,
    endpoint: &Endpoint,
    local: &Local,
    slot: u64,
    random: &mut Random,
) -> Result<(), Option<Refusal>> {
    let longest = shared.times.reconnect_longest;
    let mut wait = shared.times.reconnect_first;
    let mut told = None;
    for generation in 1.. {
        let outcome = caught_in(attempt(shared, endpoint, local, slot, generation))
            .await
            .unwrap_or_else(|panicked| Some(Outcome::Alarming(format!("the attempt {panicked}"))));
        let mut least = Duration::ZERO;
        let failed = |reason| Event::ConnectFailed { endpoint: endpoint.clone(), reason };
        match outcome.ok_or(None)? {
            Outcome::Linked { proven, retry_after } => {
                told = None;
                least = retry_after;
                if proven {
                    wait = shared.times.reconnect_first; // RD-6
                }
            }
            Outcome::Ended if shared.with(|inner| M::stays(&inner.state)) => {}
            Outcome::Ended => return Ok(()),
            Outcome::Refused(code, reason, _) if code.is_final() => {
                return Err(Some(Refusal { endpoint: endpoint.clone(), code, reason }));
            }
            Outcome::Refused(code, reason, retry_after) => {
                least = retry_after;
                shared.report(failed(format!("refused with {code}: {reason}")));
            }
            Outcome::Failed(reason) => shared.report(failed(reason)),
            Outcome::Alarming(reason) => {
                // It does not mend itself, as a peer that is not up yet does: somebody should know, but once.
                if told.as_ref() != Some(&reason) {
                    tracing::warn!("cannot connect to {endpoint}: {}; trying again", reason.escape_debug());
                    told = Some(reason.clone());
                }
                shared.report(failed(reason));
            }
        }
        // The advice of a stranger is followed only so far.
        let pause = jittered(wait, random).max(least.min(longest));
        wait = wait.saturating_mul(2).min(longest);
        tokio::select! {
            biased;
            () = shared.stop.cancelled() => return Err(None),
            () = tokio::time::sleep(pause) => {}
        }
    }
    Err(None)
}

/// Up to 50 % more, at random, so that many connectors do not come at once.
fn jittered(wait: Duration, random: &mut Random) -> Duration {
    wait.saturating_add(random.at_most(wait / 2))
}

/// One attempt; `None` if the socket has stopped before there was a link.
async fn attempt<M: Role>(
    shared: &Arc<Shared<M>>,
    endpoint: &Endpoint,
    local: &Local,
    slot: u64,
    generation: u64,
) -> Option<Outcome> {
    let limit = shared.times.handshake;
    let local = &Local { token: shared.security.tokens(), ..local.clone() };
    let connect = timeout(limit, transport::connect(&endpoint.address, shared.security.tls.as_ref()));
    let (mut stream, address) = match unless_stopped(shared, connect).await? {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return Some(Outcome::failed(&error)),
        Err(_) => return Some(Outcome::Failed(format!("no connection within {limit:?}"))),
    };
    let mut reader = FrameReader::new();
    let greeting = handshake::greet(local, slot, generation);
    let greet = async {
        send(&mut stream, &greeting).await.map_err(NoHello::Io)?;
        first_frame(&mut stream, &mut reader, limit).await
    };
    let frame = match unless_stopped(shared, greet).await? {
        Ok(frame) => frame,
        Err(NoHello::Violation(violation)) => {
            refuse(stream, &violation, Duration::ZERO, false, shared.times.close_wait).await;
            return Some(refused(violation));
        }
        Err(NoHello::Io(error)) => return Some(Outcome::failed(&error)),
        Err(NoHello::Gone) => return Some(Outcome::Failed("the peer closed without an answer".to_owned())),
    };
    let mut peer = match handshake::confirm(frame, local) {
        Ok(peer) => peer,
        Err(Ok(close)) => {
            let retry_after = Duration::from_millis(close.retry_after_ms.into());
            let reason = tidegate_proto::wire::cut_reason(&close.reason).to_owned();
            return Some(Outcome::Refused(Code::from_wire(close.code), reason, retry_after));
        }
        Err(Err(violation)) => {
            refuse(stream, &violation, Duration::ZERO, false, shared.times.close_wait).await;
            return Some(refused(violation));
        }
    };
    peer.address = address;
    peer.names = stream.names().to_vec();
    let link = match shared.with(|inner| inner.machine.open(shared.now(), peer.clone())) {
        Ok(link) => link,
        Err(violation) => {
            refuse(stream, &violation, Duration::ZERO, false, shared.times.close_wait).await;
            return Some(refused(violation));
        }
    };
    shared.opened(link, &peer);
    let (end, proven, ended) = drive(shared.clone(), link, stream, reader).await;
    let retry_after = closed(shared, link.as_u64(), &peer, end);
    Some(if ended { Outcome::Ended } else { Outcome::Linked { proven, retry_after } })
}

fn refused(violation: Violation) -> Outcome {
    Outcome::Refused(violation.code, violation.to_string(), Duration::ZERO)
}

/// Reports the end of a link, and returns the peer's advice when to come back.
pub(super) fn closed<M: Role>(
    shared: &Shared<M>,
    link: u64,
    peer: &tidegate_proto::Peer,
    end: Option<tidegate_proto::LinkEnd>,
) -> Duration {
    let interrupted = end.as_ref().is_some_and(tidegate_proto::LinkEnd::is_interruption);
    shared.with(|inner| inner.places.closed(peer.instance, interrupted));
    let Some(end) = end else { return Duration::ZERO };
    let retry_after = if end.by_peer { end.retry_after_ms } else { 0 };
    shared.report(Event::Disconnected { link, peer: PeerInfo::from(peer), end: end.into() });
    Duration::from_millis(retry_after.into())
}

async fn unless_stopped<M: Role, T>(shared: &Shared<M>, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = shared.stop.cancelled() => None,
        result = work => Some(result),
    }
}
