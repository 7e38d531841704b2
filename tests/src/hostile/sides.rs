//! The processes of a measurement: the attacked socket, the well-behaved peer, the plain server and the attacker.

use std::{
    collections::VecDeque,
    error::Error,
    io::{self, BufRead, Write},
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tidegate::{Pull, Push};
use tokio::{io::AsyncReadExt, net::TcpListener, runtime};

use super::{
    attack::{self, Target},
    flood::Flood,
    keeping::SLOW,
    raw,
};

/// The number of slow deliveries that the measured puller processes at once.
const MAX_SLOW: usize = 1_000;

/// The result of a side's process.
pub type Done = Result<(), Box<dyn Error>>;

/// Runs the side named by the arguments, which come from [`super::measure`].
///
/// # Errors
/// The arguments are wrong, or the network fails.
pub fn run(args: &[String]) -> Done {
    let arg = |index: usize| args.get(index).map(String::as_str).ok_or("an argument is missing");
    let seconds =
        |index| -> Result<Duration, Box<dyn Error>> { Ok(Duration::from_secs_f64(arg(index)?.parse()?)) };
    match arg(0)? {
        "attacker" => attack(arg(1)?, arg(2)?, arg(3)?, arg(4)? == "plain", seconds(5)?),
        side => {
            // One thread, as in the daemons, so that the link and the flood compete for it.
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                match side {
                    "discarder" => discard().await,
                    "pusher" => pusher(arg(1)?.parse()?).await,
                    "puller" => puller().await,
                    "good-puller" => good_puller(arg(1)?, seconds(2)?).await,
                    "good-pusher" => good_pusher(arg(1)?, seconds(2)?, arg(3)?.parse()?).await,
                    other => Err(format!("{other} is not a side").into()),
                }
            })
        }
    }
}

fn tell(text: &str) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Waits for a line on standard input: the start or the end of the measurement.
async fn told() -> Done {
    tokio::task::spawn_blocking(|| io::stdin().lock().read_line(&mut String::new())).await??;
    Ok(())
}

fn attack(name: &str, to: &str, target: &str, plain: bool, time: Duration) -> Done {
    let all = || attack::ALL.iter().chain([&attack::HONEST]);
    let attack = all().find(|attack| attack.name == name).ok_or("no such attack")?;
    let target = if target == "pusher" { Target::Pusher } else { Target::Puller };
    let mut flood = Flood::new(raw::address(to), target, plain, time);
    tell("begun")?;
    (attack.run)(&mut flood);
    tell(&format!("{} {}", flood.connections, flood.bytes))?;
    Ok(())
}

/// The plain server of the baseline: accepts, reads and discards.
async fn discard() -> Done {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    tell(&listener.local_addr()?.to_string())?;
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { continue };
        tokio::spawn(async move {
            let mut bytes = vec![0; 64 * 1_024];
            while stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
        });
    }
}

/// The pusher under attack: sends as fast as it can.
async fn pusher(size: usize) -> Done {
    // Too long to take effect; with it, the pusher processes `Working` frames (OC-13).
    let hour = Some(Duration::from_secs(3_600));
    let push = Push::builder().bind("tcp://127.0.0.1:0").settle_timeout(hour).build().await?;
    tell(&push.local_endpoints().first().ok_or("not bound")?.to_string())?;
    let payload = Bytes::from(vec![7; size]);
    loop {
        push.send(payload.clone()).await?;
    }
}

/// The puller under attack: acks every delivery, slow ones after a while.
async fn puller() -> Done {
    let pull = Pull::builder().bind("tcp://127.0.0.1:0").build().await?;
    tell(&pull.local_endpoints().first().ok_or("not bound")?.to_string())?;
    let mut slow = VecDeque::new();
    while let Some(delivery) = pull.recv().await? {
        if delivery.payload() == SLOW {
            slow.push_back(delivery);
            if slow.len() > MAX_SLOW
                && let Some(done) = slow.pop_front()
            {
                done.ack();
            }
        } else {
            delivery.ack();
        }
    }
    Ok(())
}

/// Counts the messages received after the start line.
async fn good_puller(at: &str, time: Duration) -> Done {
    let pull = Pull::builder().connect(at).name("well-behaved").build().await?;
    pull.recv().await?.ok_or("the stream has ended")?.ack();
    tell("ready")?;
    let mut word = Box::pin(told());
    loop {
        tokio::select! {
            done = &mut word => break done?,
            delivery = pull.recv() => delivery?.ok_or("the stream has ended")?.ack(),
        }
    }
    let (started, before) = (Instant::now(), pull.stats().acked);
    let end = tokio::time::sleep(time);
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => break,
            delivery = pull.recv() => delivery?.ok_or("the stream has ended")?.ack(),
        }
    }
    let count = pull.stats().acked - before;
    tell(&format!("{}", count as f64 / started.elapsed().as_secs_f64()))?;
    Ok(())
}

/// Counts the messages sent and acked after the start line.
async fn good_pusher(at: &str, time: Duration, size: usize) -> Done {
    let push = Push::builder().connect(at).name("well-behaved").build().await?;
    let payload = Bytes::from(vec![7; size]);
    push.send_tracked(payload.clone()).await?.await?;
    tell("ready")?;
    let sender = push.clone();
    let sending = tokio::spawn(async move { while sender.send(payload.clone()).await.is_ok() {} });
    told().await?;
    let (started, before) = (Instant::now(), push.stats().acked);
    tokio::time::sleep(time).await;
    let count = push.stats().acked - before;
    tell(&format!("{}", count as f64 / started.elapsed().as_secs_f64()))?;
    sending.abort();
    Ok(())
}
