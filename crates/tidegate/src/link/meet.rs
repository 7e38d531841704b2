//! How a port handles an accepted connection: it becomes a link, or is refused and makes room for the next
//! one.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use tidegate_proto::{
    Code, Rule, Violation,
    handshake::{self, Local},
    shown,
    wire::FrameReader,
};
use tokio::{io::AsyncWrite, runtime::Handle};

use super::{
    greet::{NoHello, first_frame, hang_up, refuse, retry_after},
    listen::{Port, Serve},
};
use crate::{
    admission::{Descriptors, HandshakePermit, PeerIdentity, PermitLost},
    events::Event,
    transport::{BoxStream, Protection, TlsFailure},
};

/// A connection that did not become a link.
enum Dismissed {
    /// The peer knows why, and has this time to disconnect.
    Told(BoxStream, Duration),
    Refused(Arc<dyn Serve>, BoxStream, Violation),
}

impl Port {
    /// Runs the handshake of a new connection in a task of its own. If no place is free, another connection
    /// loses its own (HS-12).
    pub(super) fn greet(self: Arc<Self>, stream: BoxStream, address: String) {
        let short = stream.descriptor().and_then(|descriptor| {
            Descriptors::now().filter(|descriptors| descriptors.are_short(descriptor))
        });
        let Some((place, lost)) = self.handshakes.enter(&address, short.is_some()) else {
            let Descriptors { limit, reserve } = short.unwrap_or_default();
            let text = format_args!(
                "refused {address} at {}: this process may have {limit} file descriptors, of which {reserve} are \
                 reserved; raise the limit (ulimit -n, LimitNOFILE=) or lower max_links",
                self.address
            );
            self.refusals.warn(&Handle::current(), text);
            self.say_busy(stream, Rule::Hs12, "this side has no file descriptors left for another link");
            return;
        };
        tokio::spawn(async move { self.scheduler.run(self.meet(stream, address, place, lost)).await });
    }

    /// Sends BUSY to a connection that lost its place or gets none, as far as the socket takes it at once. A
    /// task to wait for more would be the cost that the limit avoids (HS-12).
    fn say_busy(&self, mut stream: BoxStream, rule: Rule, detail: &str) {
        // Over TLS a refusal requires a TLS handshake, which is the work that the limit avoids (TL-6).
        if self.address.protection() == Protection::Tls {
            return;
        }
        let busy = Violation { code: Code::Busy, rule, detail: detail.to_owned() };
        let bytes = handshake::refusal(&busy, retry_after(busy.code));
        let mut cx = Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut stream).poll_write(&mut cx, &bytes);
    }

    fn make_room(&self, stream: BoxStream, address: &str, rule: Rule) {
        let detail = "a newer connection has taken the place of this unfinished handshake";
        let text = format_args!("refused {address} at {}: {rule}: {detail}", self.address);
        self.refusals.warn(&Handle::current(), text);
        self.say_busy(stream, rule, detail);
    }

    /// Runs the handshake. At the end the connection is a link, or is closed.
    async fn meet(&self, stream: BoxStream, address: String, place: HandshakePermit, mut lost: PermitLost) {
        let Some(dismissed) = self.handshake(stream, &address, &place, &mut lost).await else { return };
        place.mark_refused();
        let dismiss = async {
            match dismissed {
                Dismissed::Told(stream, wait) => hang_up(stream, wait).await,
                Dismissed::Refused(route, stream, violation) => {
                    self.refuse(&route, stream, address, &violation).await;
                }
            }
        };
        tokio::select! {
            biased; // the refusal is sent at once
            () = dismiss => {}
            _ = lost => {}
        }
    }

    async fn handshake(
        &self,
        mut stream: BoxStream,
        address: &str,
        place: &HandshakePermit,
        lost: &mut PermitLost,
    ) -> Option<Dismissed> {
        let routes = self.routes();
        let first = routes.first()?;
        let mut reader = FrameReader::new();
        let time = place.time(first.handshake_time());
        let frame = tokio::select! {
            biased; // a complete Hello counts even if the place was just lost
            frame = first_frame(&mut stream, &mut reader, time, || place.mark_speaking()) => frame,
            Ok(rule) = lost => {
                self.make_room(stream, address, rule);
                return None;
            }
        };
        let frame = match frame {
            Ok(frame) => frame,
            Err(NoHello::Violation(violation)) => {
                return Some(Dismissed::Refused(first.clone(), stream, violation));
            }
            Err(NoHello::Io(error)) if TlsFailure::of(&error).is_some() => {
                first.report(Event::TlsFailed { address: address.to_owned(), reason: error.to_string() });
                return Some(Dismissed::Told(stream, first.close_wait()));
            }
            Err(NoHello::Io(error)) => {
                tracing::debug!("{address} disconnected during the handshake: {error}");
                return None;
            }
            Err(NoHello::Gone) => {
                tracing::debug!("{address} disconnected without a Hello");
                return None;
            }
        };
        if let Some(close) = handshake::early_close(&frame) {
            // FR-5: the peer has closed, and waits for no answer.
            let (code, reason) = (Code::from_wire(close.code), shown(&close.reason));
            tracing::debug!("{address} closed before its Hello: {code} {reason}");
            return None;
        }
        let local =
            |route: &Arc<dyn Serve>| Local { token: route.security().tokens(), ..route.local().clone() };
        let locals: Vec<_> = routes.iter().map(local).collect();
        let visitor = PeerIdentity { names: stream.names().to_vec(), address: address.to_owned() };
        let admits = |index: usize| {
            let route = routes.get(index);
            route.is_some_and(|route| route.security().admits(&visitor, &route.local().pipeline)) // TL-5
        };
        let (index, mut peer, answer) = match handshake::accept_where(frame, &locals, admits) {
            Ok(accepted) => accepted,
            Err(violation) => return Some(Dismissed::Refused(first.clone(), stream, violation)),
        };
        address.clone_into(&mut peer.address);
        peer.names = visitor.names;
        let route = routes.get(index)?;
        route.keys().identify_connector(&mut peer); // HS-9
        let (stream, violation) = route.clone().adopt(peer, stream, reader, answer).err()?;
        Some(Dismissed::Refused(route.clone(), stream, violation))
    }

    async fn refuse(
        &self,
        route: &Arc<dyn Serve>,
        stream: BoxStream,
        address: String,
        violation: &Violation,
    ) {
        // A stale attempt concerns only the connector; other refusals are reported.
        if violation.code != Code::Stale {
            let (code, reason) = (violation.code, violation.to_string());
            route.report(Event::RefusedPeer { address, code, reason });
        }
        refuse(stream, violation, retry_after(violation.code), true, route.close_wait()).await;
    }
}
