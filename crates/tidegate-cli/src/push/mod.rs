//! `tidegate push`: records of the input become messages, until all of them have been settled.

mod files;
mod input;
mod rejected;
mod settle;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use tidegate::{Event, Message, Push};
use tokio::sync::mpsc;

use crate::args::PushArgs;
use crate::exit::Exit;
use crate::reload::Reload;
use crate::signals::Signals;
use crate::socket::{Access, with_socket_options};
use crate::summary::PushSummary;
use crate::{reaper, socket, text};
use files::Appended;
use input::Input;
use settle::{Ending, Settled};

/// The library's own bound on a message, unless `--max-message` says otherwise.
const DEFAULT_MAX_MESSAGE: usize = 16 << 20;
/// How long to wait for what has been sent after a signal, unless `--linger` says otherwise.
const LINGER_AFTER_SIGNAL: Duration = Duration::from_secs(25);

/// Reports of trouble that wait to be looked at: there are two reporters, and the first report ends the work.
const TROUBLES: usize = 2;

/// Why no more of the input is sent.
enum Stop {
    EndOfInput,
    Signal(&'static str),
    /// The input, or what it takes to send it, failed, which has been said; what has been sent may still be settled.
    Input,
    /// Waiting any longer is useless.
    Trouble(anyhow::Error),
}

/// Runs the daemon to its end.
///
/// # Errors
/// Everything that exits with 1.
pub(crate) async fn run(args: PushArgs, quiet: bool) -> anyhow::Result<Exit> {
    let reloads = socket::reads_files(&args.socket) || args.dead_letter.is_some();
    reaper::start();
    let mut signals = Signals::new(!reloads)?;
    let reload = Reload::new(reloads)?;
    let framing = args.framing.framing();
    // Before the first message: a file that cannot be written should not be found out when it is needed.
    let dead_letter =
        args.dead_letter.as_deref().map(|f| Appended::open("--dead-letter", f, framing)).transpose()?;
    let unsent = args.unsent.as_deref().map(|f| Appended::open("--unsent", f, framing)).transpose()?;
    let limit = args.socket.max_message.unwrap_or(DEFAULT_MAX_MESSAGE);
    let Some(room) = limit.checked_sub(args.header_bytes()) else {
        bail!("--header: the headers have {} bytes, more than --max-message {limit}", args.header_bytes());
    };

    let access = Access::open(&args.socket)?;
    let push = build(&args, &access).await?;
    let reloading = push.clone();
    reload.watch(access, move |tokens| reloading.set_tokens(tokens), Vec::new(), quiet);
    socket::announce(&push.local_endpoints(), quiet);
    let (report, mut trouble) = mpsc::channel(TROUBLES);
    let keeper = tokio::spawn(rejected::keep(push.rejections(), dead_letter, report.clone()));
    let watcher = tokio::spawn(watch_refusals(
        push.clone(),
        args.socket.connect.clone(),
        args.socket.bind.is_empty(),
        report,
    ));

    let started = Instant::now();
    let mut input = Input::start(args.inputs.clone(), framing, room)?;
    let mut pending = VecDeque::new();
    let stop = tokio::select! {
        name = signals.next() => Stop::Signal(name),
        Some(error) = trouble.recv() => Stop::Trouble(error),
        fed = feed(&push, &args, &mut input, &mut pending) => match fed {
            Ok(()) => Stop::EndOfInput,
            Err(error) => {
                // At once, because the rest may take a while.
                text::say(format_args!("error: {}", text::visible(&format!("{error:#}"))));
                Stop::Input
            }
        },
    };
    let came_to_end = matches!(stop, Stop::EndOfInput);
    if !came_to_end {
        pending.extend(input.stop());
    }

    let after_signal = args.linger.unwrap_or(LINGER_AFTER_SIGNAL);
    let ending = match &stop {
        Stop::EndOfInput => {
            Ending { finish: true, linger: args.linger, after_signal, signalled: false, quiet }
        }
        Stop::Signal(name) => {
            text::note(
                quiet,
                format_args!(
                    "{name}: the input is read no further; waiting up to {} for what has been sent (once more stops at once)",
                    linger_text(after_signal)
                ),
            );
            Ending { finish: false, linger: Some(after_signal), after_signal, signalled: true, quiet }
        }
        Stop::Input => {
            Ending { finish: false, linger: Some(after_signal), after_signal, signalled: false, quiet }
        }
        Stop::Trouble(_) => {
            Ending { finish: false, linger: Some(Duration::ZERO), after_signal, signalled: false, quiet }
        }
    };
    let messages = pending.into_iter().map(|payload| message(&args, payload)).collect();
    let Settled { mut exit, mut left, mut error } =
        ending.settle(&push, messages, &mut signals, &mut trouble).await;
    watcher.abort();
    let mut kept = keeper.await.context("the task that keeps rejected messages has failed")?;
    let input_failed = matches!(stop, Stop::Input);
    if let Stop::Trouble(stopped) = stop {
        error = Some(stopped);
    }
    if error.is_none() {
        error = trouble.try_recv().ok();
    }

    // All of it may have been read ahead when the signal came.
    let input_complete = came_to_end || input.is_at_end();
    if !came_to_end {
        // Brought by a read that was under way at the stop; nobody will read it from the input again.
        left.not_sent.extend(input.stop().into_iter().map(|payload| (None, payload)));
    }
    // What was not read is left, too: whoever started this must not take the input for done.
    if exit == Exit::Success && (!left.not_sent.is_empty() || !input_complete) {
        exit = Exit::Lingered;
    }

    let stats = push.stats();
    if exit == Exit::Success && stats.rejected > 0 {
        exit = Exit::Rejected;
    }
    let (not_sent, not_acked) = (left.not_sent.len() as u64, left.not_acked.len() as u64);
    if error.is_none() {
        error = save(unsent, left, std::mem::take(&mut kept.unsaved)).err();
    } else if let Err(second) = save(unsent, left, std::mem::take(&mut kept.unsaved)) {
        text::say(format_args!("error: {second:#}"));
    }
    if error.is_some() || input_failed {
        exit = Exit::Error;
    }
    PushSummary {
        // All that was taken from the input: what an abort handed back is among what is left.
        accepted: stats.accepted - stats.aborted + not_sent + not_acked,
        acked: stats.acked,
        rejected: stats.rejected,
        nacked: stats.nacked,
        redelivered: stats.redelivered,
        timed_out: stats.timed_out,
        not_sent,
        not_acked,
        input_complete,
        seconds: started.elapsed().as_secs_f64(),
        exit: exit.code(),
    }
    .say(args.json, quiet);
    error.map_or(Ok(exit), Err)
}

async fn build(args: &PushArgs, access: &Access) -> anyhow::Result<Push> {
    let common = Push::builder().max_attempts(args.max_attempts).settle_timeout(args.settle_timeout);
    let mut builder = with_socket_options!(common, &args.socket, access);
    if let Some(time) = args.grace {
        builder = builder.grace(time);
    }
    if let Some(messages) = args.high_water_mark {
        builder = builder.high_water_mark(messages);
    }
    if let Some(bytes) = args.high_water_mark_bytes {
        builder = builder.high_water_mark_bytes(bytes);
    }
    Ok(builder.build().await?)
}

/// Sends the whole input. When it is cancelled, what has been read and not been accepted is in `pending`.
async fn feed(
    push: &Push,
    args: &PushArgs,
    input: &mut Input,
    pending: &mut VecDeque<Bytes>,
) -> anyhow::Result<()> {
    if args.expect > 0 {
        push.connected(args.expect).await.context("--expect")?;
    }
    while let Some(batch) = input.next().await? {
        *pending = batch.into();
        // It leaves the line only when it has been accepted: a cancelled `send` has certainly not sent.
        while let Some(payload) = pending.front() {
            push.send(message(args, payload.clone())).await?;
            pending.pop_front();
        }
    }
    Ok(())
}

fn message(args: &PushArgs, payload: Bytes) -> Message {
    let plain = Message::new(payload);
    args.headers.iter().fold(plain, |message, h| message.with_header(h.name.clone(), h.value.clone()))
}

/// Reports when nobody is left to send to: every endpoint has refused this pusher for good, and it listens nowhere.
async fn watch_refusals(
    push: Push,
    mut connect: Vec<tidegate::Endpoint>,
    only_connects: bool,
    report: mpsc::Sender<anyhow::Error>,
) {
    let mut events = push.events();
    while let Some(event) = events.recv().await {
        if let Event::Refused { endpoint, reason, .. } = event {
            connect.retain(|other| *other != endpoint);
            if only_connects && connect.is_empty() {
                let _ = report.try_send(anyhow::anyhow!("--connect {endpoint}: refused for good: {reason}"));
                return;
            }
        }
    }
}

/// Writes what is left to the `--unsent` file, in the order in which it was read.
fn save(file: Option<Appended>, left: settle::Left, unsaved: Vec<Bytes>) -> anyhow::Result<()> {
    let Some(mut file) = file else {
        if !unsaved.is_empty() {
            let n = text::count(unsaved.len() as u64, "rejected message");
            text::say(format_args!(
                "error: {n} could not be written to --dead-letter, and there is no --unsent: dropped"
            ));
        }
        return Ok(());
    };
    let mut numbered = left.not_acked;
    numbered.extend(left.not_sent);
    // What was never accepted has no number, and comes last.
    numbered.sort_by_key(|(number, _)| number.unwrap_or(u64::MAX));
    for payload in unsaved.iter().chain(numbered.iter().map(|(_, payload)| payload)) {
        file.append(payload)?;
    }
    file.finish()
}

fn linger_text(linger: Duration) -> String {
    if linger == Duration::MAX {
        "any time".to_owned()
    } else {
        humantime::format_duration(linger).to_string()
    }
}
