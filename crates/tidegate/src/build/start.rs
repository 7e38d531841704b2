//! Starts a socket: binds its endpoints, and begins to connect.

use std::{sync::Arc, time::Duration};

use tidegate_proto::{Random, Role as WireRole, handshake::Local};
use tokio_util::task::AbortOnDropHandle;

use super::{chance::Chance, setup::Setup};
use crate::{
    error::BuildError,
    events::Event,
    io_thread::LinkRuntime,
    link::{Secrets, dial, listen},
    socket::{Shared, SocketMachine, Times},
    transport::Endpoint,
};

/// What the pusher or the puller adds to the common setup.
pub(super) struct Parts<M: SocketMachine> {
    pub(super) machine: M,
    pub(super) state: M::State,
    pub(super) outside: M::Outside,
    pub(super) role: WireRole,
    pub(super) chance: Chance,
    pub(super) max_message: u64,
    pub(super) heartbeat: Duration,
    pub(super) close_wait: Duration,
}

impl Setup {
    /// Checks the settings, binds and starts to connect on the runtime that runs the links. Does not wait for
    /// peers.
    pub(super) async fn start<M: SocketMachine, H: Send + 'static>(
        self,
        parts: Parts<M>,
        handle: impl FnOnce(Arc<Shared<M>>) -> H + Send + 'static,
    ) -> Result<H, BuildError> {
        self.check(parts.close_wait)?;
        if !self.io_thread {
            let place = LinkRuntime::here().ok_or(BuildError::NoRuntime)?;
            return self.start_at(place, parts).await.map(handle);
        }
        let place = LinkRuntime::own().map_err(BuildError::Thread)?;
        // A listener belongs to the runtime that bound it, so binding happens there. The handle is made there
        // too: if the caller drops this future, dropping the handle stops the socket.
        let work = self.start_at(place.clone(), parts);
        let started = place.handle.spawn(async { work.await.map(handle) });
        AbortOnDropHandle::new(started).await.map_err(|error| BuildError::Thread(error.into()))?
    }

    async fn start_at<M: SocketMachine>(
        self,
        place: LinkRuntime,
        parts: Parts<M>,
    ) -> Result<Arc<Shared<M>>, BuildError> {
        let parse = |all: &[String]| {
            all.iter().map(|text| Endpoint::parse(text, &self.transports)).collect::<Result<Vec<_>, _>>()
        };
        let (binds, connects) = (parse(&self.binds)?, parse(&self.connects)?);
        if binds.is_empty() && connects.is_empty() {
            return Err(BuildError::NoEndpoint);
        }
        let needs_io = binds.iter().chain(&connects).any(|endpoint| endpoint.address.needs_io());
        if !place.has_drivers(needs_io) {
            return Err(BuildError::NoRuntime);
        }
        let subset = self.choose_subset(&connects).await;
        // All endpoints are checked, so that a wrong one is an error of every process and not only of some.
        let security = self.policy.prepare(&binds, &connects)?;
        let Chance { instance, keys, mut random, seeded } = parts.chance;
        let local = Local {
            role: parts.role,
            instance,
            name: self.name,
            pipeline: String::new(),
            token: None,
            max_message: parts.max_message,
            heartbeat: parts.heartbeat,
            offered: Vec::new(),
            required: Vec::new(),
        };
        let times = Times {
            handshake: self.handshake_timeout,
            min_reconnect_delay: self.min_reconnect_delay,
            max_reconnect_delay: self.max_reconnect_delay,
            retry_refusals: self.retry_refusals,
            close_wait: parts.close_wait,
            busy_poll: self.busy_poll,
        };
        let Parts { machine, state, outside, .. } = parts;
        let mut shared =
            Shared::new(machine, (state, outside), (local, keys), times, self.limits, security, place);
        if let Some(events) = self.events {
            shared.events = events;
        }
        let shared = Arc::new(shared);
        // Releases the endpoints that are already bound if a later step fails or the future is dropped.
        let undo = shared.stop.clone().drop_guard();
        for endpoint in binds {
            match listen::bind(&shared, &endpoint).await {
                Ok(endpoint) => {
                    shared.security.warn_if_open(&endpoint);
                    shared.with(|inner| inner.endpoints.bound.push(endpoint.clone()));
                    shared.report(Event::Bound { endpoint });
                }
                Err(source) => return Err(BuildError::Bind { endpoint, source }),
            }
        }
        let connects = match subset {
            None => connects,
            Some(chosen) => {
                shared.report(Event::SubsetChosen { endpoints: chosen.clone(), given: connects.len() });
                chosen
            }
        };
        shared.with(|inner| inner.endpoints.dialing = connects.len());
        for (slot, endpoint) in connects.into_iter().enumerate() {
            let secrets = Secrets::new(seeded.then(|| Random::new(random.next_u64())));
            let random = Random::new(random.next_u64());
            dial::spawn(shared.clone(), endpoint, slot as u64, secrets, random);
        }
        shared.spawn_timer();
        if let Some(wait) = self.give_up_after {
            shared.give_up_after(wait);
        }
        shared.events.run_at(shared.runtime.own_thread());
        undo.disarm();
        Ok(shared)
    }
}
