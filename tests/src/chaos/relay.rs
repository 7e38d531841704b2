//! A relay between a puller and a pusher on loopback that can reset connections on request.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime::Runtime,
    sync::watch,
    time::timeout,
};

use crate::process::LONG;

/// A relay on a thread of its own. Dropping this value stops it.
pub struct Relay {
    endpoint: String,
    orders: watch::Sender<Orders>,
    counts: watch::Sender<Counts>,
    runtime: Runtime,
}

/// The orders to the relay.
#[derive(Clone, Copy, Debug, Default)]
struct Orders {
    /// When this number increases, the open connections are reset.
    resets: usize,
    /// Read nothing from the pusher.
    held: bool,
    /// Reset each connection after this many bytes to the puller.
    cut_after: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    accepted: usize,
    reset: usize,
}

impl Relay {
    /// Starts a relay that forwards to this `tcp://` endpoint.
    #[must_use]
    pub fn before(endpoint: &str) -> Self {
        let to: SocketAddr = endpoint.strip_prefix("tcp://").unwrap().parse().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
        let (orders, heard) = watch::channel(Orders::default());
        let counts = watch::Sender::new(Counts::default());
        let counted = counts.clone();
        runtime.spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                counted.send_modify(|counts| counts.accepted += 1);
                tokio::spawn(relay(near, to, heard.clone(), counted.clone()));
            }
        });
        Self { endpoint, orders, counts, runtime }
    }

    /// The endpoint that the relay listens on.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Resets all open connections (RST to both ends).
    pub fn reset(&self) {
        self.orders.send_modify(|orders| orders.resets += 1);
    }

    /// Resets each connection after `bytes` bytes to the puller; `None` turns this off.
    pub fn cut_after(&self, bytes: Option<usize>) {
        self.orders.send_modify(|orders| orders.cut_after = bytes);
    }

    /// Stops reading from the pusher, or resumes.
    pub fn hold(&self, held: bool) {
        self.orders.send_modify(|orders| orders.held = held);
    }

    /// The number of connections accepted so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.counts.borrow().accepted
    }

    /// The number of connections reset so far.
    #[must_use]
    pub fn resets(&self) -> usize {
        self.counts.borrow().reset
    }

    /// Waits until `count` connections have been reset.
    pub fn wait_for_resets(&self, count: usize) {
        let mut counts = self.counts.subscribe();
        let reached = async { timeout(LONG, counts.wait_for(|counts| counts.reset >= count)).await.is_ok() };
        let reached = self.runtime.block_on(reached);
        assert!(reached, "only {} connections were reset", self.resets());
    }
}

async fn relay(
    near: TcpStream,
    to: SocketAddr,
    mut heard: watch::Receiver<Orders>,
    counts: watch::Sender<Counts>,
) {
    let Ok(far) = TcpStream::connect(to).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let (mut from_puller, mut to_puller) = near.into_split();
    let (mut from_pusher, mut to_pusher) = far.into_split();
    let told = heard.borrow_and_update().resets;
    let orders = heard.clone();
    let both = async {
        tokio::try_join!(
            pass(&mut from_puller, &mut to_pusher, None),
            pass(&mut from_pusher, &mut to_puller, Some(orders))
        )
    };
    let ended = tokio::select! {
        passed = both => passed.is_ok(),
        _ = heard.wait_for(|orders| orders.resets > told) => false,
    };
    if !ended {
        counts.send_modify(|counts| counts.reset += 1);
        let _ = (to_puller.as_ref().set_zero_linger(), to_pusher.as_ref().set_zero_linger());
        // No FIN before the RST.
        to_puller.forget();
        to_pusher.forget();
    }
}

/// The connection must be reset now.
struct Cut;

/// Forwards one direction until its end.
async fn pass(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    mut orders: Option<watch::Receiver<Orders>>,
) -> Result<(), Cut> {
    let (mut buffer, mut passed) = (vec![0; 16 * 1024], 0);
    loop {
        let mut room = buffer.len();
        if let Some(orders) = &mut orders {
            let Ok(now) = orders.wait_for(|orders| !orders.held).await.map(|now| *now) else { break };
            if let Some(cut_after) = now.cut_after {
                room = room.min(cut_after.saturating_sub(passed));
            }
            if room == 0 {
                return Err(Cut);
            }
        }
        let count = match from.read(&mut buffer[..room]).await {
            Ok(count) if count > 0 => count,
            _ => break,
        };
        if to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
        passed += count;
    }
    let _ = to.shutdown().await;
    Ok(())
}
