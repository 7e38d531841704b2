//! A puller's process.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tidegate::{Delivery, Pull};
use tokio::time::sleep;

use super::{
    draw::Draw,
    events,
    history::{Handed, Verdict, What},
    scenario::{self, Taking},
    stage::{Actor, moment, tag},
};

/// The interval at which the counts are recorded.
const SAMPLE: Duration = Duration::from_millis(67);
/// How long a puller waits for its jobs at the end of a scenario.
const LINGER: Duration = Duration::from_secs(20);

/// One life of a puller.
///
/// # Panics
/// When the library does something that nothing in the scenario causes.
pub async fn run(actor: Actor) {
    let scenario = &actor.stage.scenario;
    let plan = scenario.pullers[actor.who.host - scenario.pushers.len()].clone();
    let pull = build(&actor, &plan).await;
    events::follow(pull.events(), actor.pen.clone());
    let held = Arc::<AtomicU64>::default();
    let (watched, pen, counted) = (pull.clone(), actor.pen.clone(), held.clone());
    tokio::spawn(async move {
        loop {
            sleep(SAMPLE).await;
            let held = counted.load(Ordering::SeqCst);
            pen.write(What::PullStats(Box::new(watched.stats()), watched.link_stats(), held));
        }
    });
    let worker = Worker { pull: pull.clone(), actor: actor.clone(), plan: plan.clone(), held };
    let workers: Vec<_> = (0..plan.workers).map(|part| tokio::spawn(worker.clone().run(part))).collect();
    let leaving = async {
        match plan.leaving.filter(|_| !actor.stage.healed.is_set()) {
            Some(time) => sleep(time).await,
            None => std::future::pending().await,
        }
    };
    let over = tokio::select! {
        biased;
        () = actor.stage.over.wait() => true,
        () = leaving => false,
    };
    let left = pull.leave(if over { LINGER } else { plan.linger }).await;
    actor.pen.write(What::Left(left.is_ok()));
    if over {
        for worker in workers {
            worker.await.unwrap();
        }
    }
    actor.exit(over).await;
}

async fn build(actor: &Actor, plan: &scenario::Puller) -> Pull {
    let scenario = &actor.stage.scenario;
    let mut builder = Pull::builder()
        .transport("sim", actor.network())
        .seed(actor.seed)
        .heartbeat(scenario.heartbeat)
        .handshake_timeout(scenario.handshake_timeout)
        .close_wait(scenario.close_wait)
        .reconnect_backoff(scenario.reconnect.0, scenario.reconnect.1.max(scenario.reconnect.0))
        .window(plan.window)
        .budget(plan.budget.0, plan.budget.1)
        .read_ahead(plan.read_ahead)
        .ack_delay(plan.ack_delay)
        .memory(plan.memory)
        .keep(scenario.streams_begin_again())
        .max_message(scenario::MAX_MESSAGE);
    if matches!(plan.taking, Taking::Batches | Taking::Many) {
        builder = builder.min_batch(1);
    }
    for endpoint in actor.connects() {
        builder = builder.connect(endpoint);
    }
    if let Some(endpoint) = actor.binds() {
        builder = builder.bind(endpoint);
    }
    builder.build().await.unwrap()
}

/// A task that processes jobs.
#[derive(Clone)]
struct Worker {
    pull: Pull,
    actor: Actor,
    plan: scenario::Puller,
    held: Arc<AtomicU64>,
}

impl Worker {
    async fn run(self, part: usize) {
        let mut draw = self.actor.draw(200 + part as u64);
        match self.plan.taking {
            Taking::Recv | Taking::Batches => self.recv(&mut draw).await,
            Taking::Many => self.many(&mut draw).await,
            Taking::Poll => self.poll(&mut draw).await,
        }
    }

    async fn recv(&self, draw: &mut Draw) {
        loop {
            // A cancelled recv loses no message.
            let hurry = if draw.chance(10) { draw.millis(1, 20) } else { LINGER };
            match tokio::time::timeout(hurry, self.pull.recv()).await {
                Err(_) => {}
                Ok(next) => match next.unwrap() {
                    Some(delivery) => {
                        let handed = self.handed(&delivery);
                        self.job(draw).await;
                        if draw.chance(self.plan.telling) {
                            delivery.working();
                            self.job(draw).await;
                        }
                        self.settle(draw, handed, delivery);
                    }
                    None => return self.actor.pen.write(What::Ended),
                },
            }
        }
    }

    async fn many(&self, draw: &mut Draw) {
        loop {
            let mut deliveries = Vec::new();
            if self.pull.recv_many(&mut deliveries, 4).await.unwrap() == 0 {
                return self.actor.pen.write(What::Ended);
            }
            let handed: Vec<_> = deliveries.iter().map(|delivery| self.handed(delivery)).collect();
            self.job(draw).await;
            if self.plan.bad == [0; 5] || self.actor.stage.healed.is_set() {
                for (handed, delivery) in handed.into_iter().zip(&deliveries) {
                    self.settled(handed, Verdict::Ack, delivery.is_orphaned());
                }
                Delivery::ack_all(deliveries);
            } else {
                for (handed, delivery) in handed.into_iter().zip(deliveries) {
                    self.settle(draw, handed, delivery);
                }
            }
        }
    }

    async fn poll(&self, draw: &mut Draw) {
        while !self.actor.stage.over.is_set() {
            match self.pull.try_recv().unwrap() {
                Some(delivery) => {
                    let handed = self.handed(&delivery);
                    self.job(draw).await;
                    self.settle(draw, handed, delivery);
                }
                None => sleep(draw.millis(1, 9)).await,
            }
        }
    }

    async fn job(&self, draw: &mut Draw) {
        let healed = &self.actor.stage.healed;
        if draw.chance(self.plan.hanging) {
            healed.wait().await;
        } else {
            let longest = if healed.is_set() { Duration::from_millis(1) } else { self.plan.job };
            let time = moment(draw, longest);
            if !time.is_zero() {
                sleep(time).await;
            }
        }
    }

    fn handed(&self, delivery: &Delivery) -> Handed {
        let tag = tag(delivery.payload());
        if let Some(serial) = delivery.headers().get("serial") {
            assert_eq!(serial[..], *tag.serial.to_string().as_bytes(), "a header has changed in transit");
        }
        let handed = Handed { tag, id: delivery.id(), attempt: delivery.attempt(), link: delivery.link() };
        self.took(handed);
        handed
    }

    fn took(&self, handed: Handed) {
        self.held.fetch_add(1, Ordering::SeqCst);
        self.actor.pen.write(What::Handed(handed));
    }

    fn settled(&self, handed: Handed, verdict: Verdict, orphaned: bool) {
        self.held.fetch_sub(1, Ordering::SeqCst);
        self.actor.pen.write(What::Settled(handed, verdict, orphaned));
    }

    /// The index of the bad outcome; 5 is an ack.
    fn choose(&self, draw: &mut Draw) -> usize {
        if self.actor.stage.healed.is_set() {
            return 5;
        }
        let mut dice = draw.between(0, 99);
        for (index, share) in self.plan.bad.iter().enumerate() {
            if dice < *share {
                return index;
            }
            dice -= share;
        }
        5
    }

    fn settle(&self, draw: &mut Draw, handed: Handed, delivery: Delivery) {
        let choice = self.choose(draw);
        let verdict = verdict(choice);
        self.settled(handed, verdict, delivery.is_orphaned());
        match choice {
            0 => delivery.nack(),
            1 => delivery.nack_after(draw.millis(1, 800)),
            2 => delivery.reject("no good"),
            3 => delivery.release(),
            4 => drop(delivery),
            _ => delivery.ack(),
        }
    }
}

fn verdict(choice: usize) -> Verdict {
    match choice {
        0 | 1 | 4 => Verdict::Nack,
        2 => Verdict::Reject,
        3 => Verdict::Release,
        _ => Verdict::Ack,
    }
}
