//! A pusher's process.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tidegate::{Message, Push, Receipt, ReceiptError, TrySendError, Undelivered};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    draw::Draw,
    events,
    history::{Ending, Tag, TrackedOutcome, What},
    scenario,
    stage::{Actor, moment, payload, tag},
};

/// Longer than any scenario.
const FOR_EVER: Duration = Duration::from_secs(3_600);
/// The interval at which the counts are recorded.
const SAMPLE: Duration = Duration::from_millis(61);

/// One life of a pusher.
///
/// # Panics
/// When the library does something that nothing in the scenario causes.
pub async fn run(actor: Actor) {
    let plan = actor.stage.scenario.pushers[actor.who.host].clone();
    let push = build(&actor, &plan).await;
    events::follow(push.events(), actor.pen.clone());
    let mut rejections = push.rejections();
    let pen = actor.pen.clone();
    let rejected = tokio::spawn(async move {
        while let Some(rejected) = rejections.recv().await {
            let tag = tag(rejected.message.payload());
            pen.write(What::Rejection(tag, rejected.id, rejected.attempts));
        }
    });
    let (watched, pen) = (push.clone(), actor.pen.clone());
    tokio::spawn(async move {
        loop {
            sleep(SAMPLE).await;
            pen.write(What::PushStats(Box::new(watched.stats()), watched.link_stats()));
        }
    });
    let sender = Sender {
        push: push.clone(),
        actor: actor.clone(),
        plan: Arc::new(plan.clone()),
        serial: Arc::default(),
        receipts: Arc::default(),
    };
    let receipts = sender.receipts.clone();
    let senders: Vec<_> = (0..plan.senders).map(|part| tokio::spawn(sender.clone().run(part))).collect();
    let ending = if actor.stage.healed.is_set() { Ending::Finish } else { plan.ending };
    let mut draw = actor.draw(1);
    if ending == Ending::Abort {
        sleep(draw.millis(10, 1_500)).await;
    } else {
        for sender in senders {
            sender.await.unwrap();
        }
    }
    stop(&push, &actor, ending, draw.millis(50, 2_000)).await;
    rejected.await.unwrap();
    let receipts = std::mem::take(&mut *receipts.lock().unwrap());
    for receipt in receipts {
        receipt.await.unwrap();
    }
    actor.exit(ending == Ending::Finish).await;
}

async fn build(actor: &Actor, plan: &scenario::Pusher) -> Push {
    let scenario = &actor.stage.scenario;
    let mut builder = Push::builder()
        .transport("sim", actor.network())
        .seed(actor.seed)
        .heartbeat(scenario.heartbeat)
        .handshake_timeout(scenario.handshake_timeout)
        .close_wait(scenario.close_wait)
        .reconnect_backoff(scenario.reconnect.0, scenario.reconnect.1.max(scenario.reconnect.0))
        .write_stall(scenario.write_stall)
        .high_water_mark(plan.high_water_mark)
        .high_water_mark_bytes(plan.high_water_mark_bytes)
        .max_held(plan.max_held.0, plan.max_held.1)
        .max_in_flight(plan.max_in_flight.0, plan.max_in_flight.1)
        .max_unwritten(plan.max_unwritten)
        .max_attempts(plan.max_attempts)
        .retry_backoff(plan.retry.0, plan.retry.1)
        .max_nack_delay(plan.max_nack_delay)
        .grace(plan.grace)
        .settle_timeout(plan.settle_timeout)
        .max_message(scenario::MAX_MESSAGE);
    for endpoint in actor.connects() {
        builder = builder.connect(endpoint);
    }
    if let Some(endpoint) = actor.binds() {
        builder = builder.bind(endpoint);
    }
    builder.build().await.unwrap()
}

async fn stop(push: &Push, actor: &Actor, ending: Ending, linger: Duration) {
    let left = |all: &[Undelivered]| {
        all.iter().map(|one| (tag(one.message.payload()), one.attempt)).collect::<Vec<_>>()
    };
    actor.pen.write(What::Stopping(ending));
    let (stats, unsent, unacked) = match ending {
        Ending::Finish => (push.finish(FOR_EVER).await.unwrap(), Vec::new(), Vec::new()),
        Ending::Drain => match push.drain(linger).await {
            Ok(stats) => (stats, Vec::new(), Vec::new()),
            Err(unfinished) => {
                let leftover = unfinished.leftover;
                (leftover.stats, left(&leftover.unsent), left(&leftover.unacked))
            }
        },
        Ending::Abort => {
            let leftover = push.abort().await;
            (leftover.stats, left(&leftover.unsent), left(&leftover.unacked))
        }
    };
    actor.pen.write(What::Stopped(ending, Box::new(stats), unsent, unacked));
}

/// A task that sends.
#[derive(Clone)]
struct Sender {
    push: Push,
    actor: Actor,
    plan: Arc<scenario::Pusher>,
    serial: Arc<AtomicU32>,
    receipts: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Sender {
    async fn run(self, part: usize) {
        let mut draw = self.actor.draw(100 + part as u64);
        loop {
            let (tag, message) = self.offer(&mut draw);
            if tag.serial as usize >= self.plan.messages {
                return;
            }
            self.actor.pen.write(What::Offered(tag, message.size() as u64));
            let patience = if draw.chance(self.plan.hasty) { draw.millis(1, 30) } else { FOR_EVER };
            let tracked = draw.chance(self.plan.tracked);
            let sent = match draw.below(5) {
                0 if !tracked => self.try_send(tag, message, patience).await,
                1 => self.reserve(tag, message, patience, tracked).await,
                2 if !tracked && message.headers().is_empty() => {
                    let sent = timeout(patience, self.push.send(&message.payload()[..])).await;
                    sent.is_ok_and(|sent| sent.is_ok()).then_some(None)
                }
                3 if !tracked => {
                    let sent = timeout(patience, self.push.send_all([message])).await;
                    sent.is_ok_and(|sent| sent.is_ok()).then_some(None)
                }
                _ if tracked => {
                    let receipt = timeout(patience, self.push.send_tracked(message)).await;
                    receipt.ok().and_then(Result::ok).map(|receipt| Some(self.track(tag, receipt)))
                }
                _ => {
                    let sent = timeout(patience, self.push.send(message)).await;
                    sent.is_ok_and(|sent| sent.is_ok()).then_some(None)
                }
            };
            self.actor.pen.write(match sent {
                Some(number) => What::Accepted(tag, number),
                None => What::NotTaken(tag),
            });
            sleep(moment(&mut draw, self.plan.pause)).await;
        }
    }

    fn offer(&self, draw: &mut Draw) -> (Tag, Message) {
        let tag = Tag { from: self.actor.who, serial: self.serial.fetch_add(1, Ordering::SeqCst) };
        let (low, high) = self.plan.sizes;
        let message = Message::new(payload(tag, draw.between(low, high) as usize));
        (tag, if draw.chance(10) { message.with_header("serial", tag.serial.to_string()) } else { message })
    }

    async fn try_send(&self, tag: Tag, message: Message, patience: Duration) -> Option<Option<u64>> {
        match self.push.try_send(message) {
            Ok(()) => Some(None),
            Err(TrySendError::Full(message)) => {
                assert_eq!(super::stage::tag(message.payload()), tag, "another message was returned");
                timeout(patience, self.push.send(message))
                    .await
                    .is_ok_and(|sent| sent.is_ok())
                    .then_some(None)
            }
            Err(_) => None,
        }
    }

    async fn reserve(
        &self,
        tag: Tag,
        message: Message,
        patience: Duration,
        tracked: bool,
    ) -> Option<Option<u64>> {
        let permit = timeout(patience, self.push.reserve()).await.ok()?.ok()?;
        if tracked {
            permit.send_tracked(message).ok().map(|receipt| Some(self.track(tag, receipt)))
        } else {
            permit.send(message).is_ok().then_some(None)
        }
    }

    /// Returns the message's number.
    fn track(&self, tag: Tag, receipt: Receipt) -> u64 {
        let (number, pen) = (receipt.id().number, self.actor.pen.clone());
        let follow = tokio::spawn(async move {
            let outcome = match receipt.await {
                Ok(()) => TrackedOutcome::Acked,
                Err(ReceiptError::Rejected { attempts, .. }) => TrackedOutcome::Rejected(attempts),
                Err(ReceiptError::NotSent) => TrackedOutcome::NotSent,
                Err(_) => TrackedOutcome::Unknown,
            };
            pen.write(What::Receipt(tag, outcome));
        });
        self.receipts.lock().unwrap().push(follow);
        number
    }
}
