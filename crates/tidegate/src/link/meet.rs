//! What a port does with a stranger: it becomes a link, or is dismissed and makes room for the next one.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use tidegate_proto::{
    Code, Violation,
    handshake::{self, Local},
    shown,
    wire::FrameReader,
};
use tokio::{io::AsyncWrite, runtime::Handle};

use super::{
    greet::{NoHello, first_frame, hang_up, refuse, retry_after},
    handshakes::{Lost, Place},
    listen::{Port, Serve},
};
use crate::{
    descriptors::Descriptors,
    endpoint::Address,
    events::Event,
    security::PeerIdentity,
    transport::{BoxStream, TlsFailure},
};

/// A stranger that is no link.
enum Dismissed {
    /// It knows why, and gets this long to hang up.
    Told(BoxStream, Duration),
    Refused(Arc<dyn Serve>, BoxStream, Violation),
}

impl Port {
    /// Greets a stranger in a task of its own. If there is no room for one more, another one makes room (HS-12).
    pub(super) fn greet(self: Arc<Self>, stream: BoxStream, address: String) {
        let short = stream.descriptor().and_then(|descriptor| {
            Descriptors::now().filter(|descriptors| descriptors.are_short(descriptor))
        });
        let Some((place, lost)) = self.handshakes.enter(&address, short.is_some()) else {
            let Descriptors { limit, reserve } = short.unwrap_or_default();
            let text = format_args!(
                "refused {address} at {}: {limit} file descriptors are all that this process may have, and the last \
                 {reserve} are not for connections; a higher limit (ulimit -n, LimitNOFILE=) would be right, or a lower max_links",
                self.address
            );
            self.refusals.warn(&Handle::current(), text);
            self.say_busy(stream, "HS-12", "this side has too few file descriptors left for another link");
            return;
        };
        tokio::spawn(async move { self.turnstile.pass(self.meet(stream, address, place, lost)).await });
    }

    /// Ends a connection that has lost its place, or gets none: it should come back later, and is told so as far as the socket takes it
    /// at once. A task for the answer would be what the bound is there to prevent (HS-12).
    fn say_busy(&self, mut stream: BoxStream, rule: &'static str, detail: &str) {
        // Over TLS there is no saying it without the work of a handshake, which is what the bound spares us (TL-6).
        if matches!(self.address, Address::Tls { .. }) {
            return;
        }
        let busy = Violation { code: Code::Busy, rule, detail: detail.to_owned() };
        let bytes = handshake::refusal(&busy, retry_after(busy.code));
        let mut cx = Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut stream).poll_write(&mut cx, &bytes);
    }

    fn make_room(&self, stream: BoxStream, address: &str, rule: &'static str) {
        let detail = "another connection needs the place of this one, whose handshake is not finished";
        let text = format_args!("refused {address} at {}: {rule}: {detail}", self.address);
        self.refusals.warn(&Handle::current(), text);
        self.say_busy(stream, rule, detail);
    }

    /// Greets a stranger: in the end it is a link, or has gone.
    async fn meet(&self, stream: BoxStream, address: String, place: Place, mut lost: Lost) {
        let Some(dismissed) = self.handshake(stream, &address, &place, &mut lost).await else { return };
        place.is_refused();
        let dismiss = async {
            match dismissed {
                Dismissed::Told(stream, wait) => hang_up(stream, wait).await,
                Dismissed::Refused(route, stream, violation) => {
                    self.refuse(&route, stream, address, &violation).await;
                }
            }
        };
        tokio::select! {
            biased; // it is told at once
            () = dismiss => {}
            _ = lost => {}
        }
    }

    async fn handshake(
        &self,
        mut stream: BoxStream,
        address: &str,
        place: &Place,
        lost: &mut Lost,
    ) -> Option<Dismissed> {
        let routes = self.routes();
        let first = routes.first()?;
        let mut reader = FrameReader::new();
        let time = place.time(first.handshake_time());
        let frame = tokio::select! {
            biased; // whoever has said everything needs its place no more
            frame = first_frame(&mut stream, &mut reader, time, || place.speaks()) => frame,
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
                tracing::debug!("{address} left during the handshake: {error}");
                return None;
            }
            Err(NoHello::Gone) => {
                tracing::debug!("{address} left without a Hello");
                return None;
            }
        };
        if let Some(close) = handshake::farewell(&frame) {
            // FR-5: it has given up, and waits for no answer.
            let (code, reason) = (Code::from_wire(close.code), shown(&close.reason));
            tracing::debug!("{address} left before its Hello: {code} {reason}");
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
        // A stale try is the connector's own business; the others are news.
        if violation.code != Code::Stale {
            let (code, reason) = (violation.code, violation.to_string());
            route.report(Event::RefusedPeer { address, code, reason });
        }
        refuse(stream, violation, retry_after(violation.code), true, route.close_wait()).await;
    }
}
