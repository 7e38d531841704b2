//! A gRPC stream of messages with a window that the application implements, because gRPC has none for messages.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, transport::Server};

use crate::load::{Check, Clock, Ring};

const WINDOW: usize = 1_000;
const ACK_EVERY: u64 = 100;
/// HTTP/2 windows so large that they do not limit the throughput.
const HTTP2_WINDOW: u32 = 8 << 20;

#[derive(Clone, PartialEq, prost::Message)]
pub struct Job {
    #[prost(bytes = "bytes", tag = "1")]
    pub payload: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Done {
    #[prost(uint64, tag = "1")]
    pub count: u64,
}

#[allow(clippy::all, missing_docs)]
mod service {
    include!(concat!(env!("OUT_DIR"), "/comparison.Pipeline.rs"));
}
use service::{
    pipeline_client::PipelineClient,
    pipeline_server::{Pipeline, PipelineServer},
};

pub async fn push(address: &str, size: usize, count: u64) -> Result<()> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"))?
        .initial_stream_window_size(HTTP2_WINDOW)
        .initial_connection_window_size(HTTP2_WINDOW)
        .tcp_nodelay(true);
    let mut tries = 0;
    let channel = loop {
        match endpoint.connect().await {
            Ok(channel) => break channel,
            Err(error) if tries > 100 => return Err(error.into()),
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
        }
        tries += 1;
    };
    let mut client = PipelineClient::new(channel).max_decoding_message_size(64 << 20);
    let (sender, jobs) = mpsc::channel(WINDOW);
    let credit = Arc::new(Semaphore::new(WINDOW));
    let work = {
        let (credit, mut ring) = (credit.clone(), Ring::new(size));
        async move {
            for _ in 0..count {
                credit.acquire().await?.forget();
                sender.send(Job { payload: ring.payload() }).await?;
            }
            // Keep the sender until every ack has arrived: the other side stops at the end of the stream.
            anyhow::Ok(sender)
        }
    };
    let sending = tokio::spawn(work);
    let mut acks = client.work(ReceiverStream::new(jobs)).await?.into_inner();
    let mut acked = 0;
    while acked < count {
        let done = acks.message().await?.context("the stream ended early")?;
        acked += done.count;
        credit.add_permits(done.count as usize);
    }
    let _sender = sending.await??;
    ensure!(acked == count, "{acked} of {count} messages were acked");
    Ok(())
}

struct Worker {
    size: usize,
    count: u64,
    result: std::sync::Mutex<Option<oneshot::Sender<Result<f64>>>>,
}

#[tonic::async_trait]
impl Pipeline for Worker {
    type WorkStream = ReceiverStream<Result<Done, Status>>;

    async fn work(&self, request: Request<Streaming<Job>>) -> Result<Response<Self::WorkStream>, Status> {
        let (acks, stream) = mpsc::channel(WINDOW);
        let (size, count) = (self.size, self.count);
        let result = self.result.lock().ok().and_then(|mut result| result.take());
        let mut jobs = request.into_inner();
        tokio::spawn(async move {
            let rate = receive(&mut jobs, size, count, &acks).await;
            if let Some(result) = result {
                let _ = result.send(rate);
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

async fn receive(
    jobs: &mut Streaming<Job>,
    size: usize,
    count: u64,
    acks: &mpsc::Sender<Result<Done, Status>>,
) -> Result<f64> {
    let (mut check, mut clock, mut rate, mut held) = (Check::new(size), Clock::new(count), None, 0);
    for received in 1..=count {
        let job = jobs.message().await?.context("the stream ended early")?;
        check.next(&job.payload)?;
        rate = clock.tick().or(rate);
        held += 1;
        if held == ACK_EVERY || received == count {
            acks.send(Ok(Done { count: held })).await?;
            held = 0;
        }
    }
    // Wait until the other side has received the last ack and disconnects.
    let _ = jobs.message().await;
    rate.context("messages are missing")
}

pub async fn pull(address: &str, size: usize, count: u64) -> Result<f64> {
    let (sender, result) = oneshot::channel();
    let worker = Worker { size, count, result: std::sync::Mutex::new(Some(sender)) };
    let service = PipelineServer::new(worker).max_decoding_message_size(64 << 20);
    let server = Server::builder()
        .initial_stream_window_size(HTTP2_WINDOW)
        .initial_connection_window_size(HTTP2_WINDOW)
        .tcp_nodelay(true)
        .add_service(service)
        .serve(address.parse()?);
    tokio::spawn(server);
    result.await.context("the stream ended early")?
}
