//! Compares tidegate with its peers: alternating runs in one session, one sending and one receiving process over
//! loopback.

mod goals;
mod load;
mod peers;
mod table;

use std::io::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};
use tidegate_load::tcp::Chunks;

use peers::Peer;
use table::Runs;

#[derive(Parser)]
#[command(about = "Compares tidegate with its peers on this machine", version)]
struct Args {
    #[command(subcommand)]
    side: Option<SideCommand>,
    /// Runs of each peer with each size; the median counts
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Approximate duration of each run, in seconds
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Message sizes in bytes, multiples of 8
    #[arg(long, value_delimiter = ',', default_values_t = [64, 1024, 65536])]
    sizes: Vec<usize>,
    /// Peers to compare [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    peers: Vec<Peer>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Replace the tables between their marks in this file
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Also measure the project's other goals, with `tidegate` and `tidegate-bench` in this directory
    #[arg(long, value_name = "DIRECTORY")]
    goals: Option<PathBuf>,
    /// Duration of each of the three makespan measurements, in seconds; 0 skips them
    #[arg(long, value_name = "N", default_value_t = 60)]
    makespan: u32,
}

/// The processes of a run; started by the program itself.
#[derive(Subcommand)]
enum SideCommand {
    #[command(hide = true)]
    Push { peer: Peer, address: String, size: usize, count: u64, chunk: usize },
    #[command(hide = true)]
    Pull { peer: Peer, address: String, size: usize, count: u64, chunk: usize },
}

fn main() -> Result<()> {
    let args = Args::parse();
    match args.side {
        Some(SideCommand::Push { peer, address, size, count, chunk }) => {
            return peer.push(&address, size, count, chunk);
        }
        Some(SideCommand::Pull { peer, address, size, count, chunk }) => {
            let rate = peer.pull(&address, size, count, chunk)?;
            writeln!(std::io::stdout(), "{rate}")?;
            // Do not wait for threads that a library still runs.
            std::process::exit(0);
        }
        None => {}
    }
    let everybody = if args.peers.is_empty() { Peer::ALL.to_vec() } else { args.peers.clone() };
    for size in &args.sizes {
        ensure!(*size > 0 && size.is_multiple_of(8), "--sizes: {size} is not a multiple of 8");
    }
    let mut runs = Runs::new(&everybody, &args.sizes);
    if everybody.contains(&Peer::Tcp) {
        for &size in &args.sizes {
            runs.set_chunks(size, best_chunks(size, args.seconds)?);
        }
    }
    for round in 1..=args.rounds {
        for &size in &args.sizes {
            for &peer in &everybody {
                let rate = measure(peer, size, peer.count(size, args.seconds), runs.chunks(size))
                    .with_context(|| format!("{}, {size} B", peer.title()))?;
                writeln!(
                    std::io::stderr(),
                    "round {round}: {size} B, {}: {rate:.0} messages/s",
                    peer.title()
                )?;
                runs.add(peer, size, rate);
            }
        }
    }
    let mut parts = vec![("comparison", if args.json { runs.json()? } else { runs.markdown(args.rounds) })];
    if let Some(programs) = &args.goals {
        parts.push(("goals", goals::table(&runs, programs, args.rounds, args.makespan)?));
    }
    for (name, text) in parts {
        match &args.write {
            Some(file) => table::replace(file, name, &text)?,
            None => writeln!(std::io::stdout(), "{text}")?,
        }
    }
    Ok(())
}

/// The pair of a write and a read size with which raw TCP is the fastest on this machine, by the median of three short
/// runs of each.
fn best_chunks(size: usize, seconds: f64) -> Result<Chunks> {
    let count = Peer::Tcp.count(size, seconds / 3.0);
    let mut best = (Chunks::default(), 0.0);
    for chunks in Chunks::grid() {
        let mut rates = Vec::new();
        for _ in 0..3 {
            rates.push(measure(Peer::Tcp, size, count, chunks)?);
        }
        rates.sort_by(f64::total_cmp);
        if rates[1] > best.1 {
            best = (chunks, rates[1]);
        }
    }
    Ok(best.0)
}

/// One run: messages per second.
fn measure(peer: Peer, size: usize, count: u64, chunks: Chunks) -> Result<f64> {
    // The port was free a moment ago, and the receiving side binds it at once.
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let mut pull = start("pull", peer, &address, size, count, chunks.read)?;
    let mut push = start("push", peer, &address, size, count, chunks.write)?;
    let status = pull.wait(MAX_RUN)?.context("the receiving process does not exit")?;
    ensure!(status.success(), "the receiving process failed: {status}");
    if peer.ends() {
        // The sending process fails if a message was not acked.
        let status = push.wait(Duration::from_secs(10))?.context("the sending process does not exit")?;
        ensure!(status.success(), "the sending process failed: {status}");
    }
    let text = std::io::read_to_string(pull.0.stdout.take().context("a process without stdout")?)?;
    text.trim().parse().with_context(|| format!("the receiving process printed {text:?}"))
}

/// A run that takes longer is stuck.
const MAX_RUN: Duration = Duration::from_secs(120);

/// A process that is killed when its measurement ends.
struct Running(Child);

impl Running {
    /// Waits for the process to exit; `None` after `most`. It prints a single line, which fits into the pipe.
    fn wait(&mut self, most: Duration) -> Result<Option<std::process::ExitStatus>> {
        let until = std::time::Instant::now() + most;
        while std::time::Instant::now() < until {
            if let Some(status) = self.0.try_wait()? {
                return Ok(Some(status));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(None)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(side: &str, peer: Peer, address: &str, size: usize, count: u64, chunk: usize) -> Result<Running> {
    let name = clap::ValueEnum::to_possible_value(&peer).context("a peer without a name")?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(side).arg(name.get_name()).arg(address).arg(size.to_string()).arg(count.to_string());
    command.arg(chunk.to_string());
    let child = command.stdout(Stdio::piped()).spawn().context("cannot start a process")?;
    Ok(Running(child))
}

/// Retries for two seconds, because the other side may not be listening yet.
fn retry<T>(mut work: impl FnMut() -> std::io::Result<T>) -> Result<T> {
    let mut tries = 0;
    loop {
        match work() {
            Ok(done) => return Ok(done),
            Err(error) if tries == 100 => return Err(error.into()),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
        tries += 1;
    }
}
