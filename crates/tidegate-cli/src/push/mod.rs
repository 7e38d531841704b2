//! `tidegate push`: sends the records of the input as messages, until all of them are settled.

mod dead;
mod feed;
mod input;
mod left;
mod oversized;
mod patience;
mod rejected;
mod saving;
mod settle;
mod trouble;
mod unsent;
mod unwritten;

use std::cell::RefCell;
use std::time::Duration;

use anyhow::bail;
use tidegate::Push;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::append::{AppendFile, is_same_file};
use crate::args::PushArgs;
use crate::connecting::LastFailure;
use crate::exit::Exit;
use crate::records::Framing;
use crate::reload::Reload;
use crate::signals::Signals;
use crate::socket::{Access, with_socket_options};
use crate::summary::PushSummary;
use crate::{reaper, socket, text};
use dead::DeadLetters;
use feed::Feeder;
use input::{Input, Reading, UnsentInput};
use patience::Patience;
use rejected::Keeper;
use saving::Saving;
use settle::{Ending, SettleResult};
use unsent::Unsent;

/// Default of `--linger` after a signal: a little less than the 10 seconds after which container and process
/// managers kill.
const DEFAULT_LINGER_AFTER_SIGNAL: Duration = Duration::from_secs(9);
/// How long the stop waits for a read that is stuck in the operating system.
const MAX_READ_WAIT: Duration = Duration::from_secs(1);

/// Capacity of the channel for fatal errors. There are three senders, and the first error ends the work.
const MAX_TROUBLES: usize = 3;

/// Why no more of the input is sent.
enum Stop {
    EndOfInput,
    Signal(&'static str),
    /// Reading or sending the input failed, which has been reported. The messages that were sent may still be
    /// settled.
    Input,
    /// An error that makes further waiting useless.
    Trouble(anyhow::Error),
}

/// Runs the daemon to its end.
///
/// # Errors
/// Every error that makes the exit code 1.
pub(crate) async fn run(args: PushArgs, quiet: bool) -> anyhow::Result<Exit> {
    let reloads = socket::reads_files(&args.socket) || args.dead_letter.is_some();
    reaper::start();
    let mut signals = Signals::new(!reloads)?;
    let reload = Reload::new(reloads)?;
    let limit = args.socket.max_message;
    let Some(room) = limit.checked_sub(args.header_bytes()) else {
        bail!("--header: the headers have {} bytes, more than --max-message {limit}", args.header_bytes());
    };
    let reading = Reading {
        files: args.inputs.clone(),
        framing: args.framing.framing(),
        limit: room,
        oversized: args.oversized,
        crlf: args.crlf,
        follow: args.follow,
        quiet,
    };
    reading.check()?;
    // Opened before the first message: an unusable file should be an error now, and not when it is needed.
    let (access, dead_letter, unsent) = tokio::select! {
        opened = open_files(&args, &reading, quiet) => opened?,
        name = signals.next() => {
            text::note(quiet, format_args!("{name}: stopped before the input was read"));
            return Ok(Exit::Lingered);
        }
    };

    // Resolving names may take long.
    let push = tokio::select! {
        built = build(&args, &access) => built?,
        name = signals.next() => {
            text::note(quiet, format_args!("{name}: stopped before the input was read"));
            return Ok(Exit::Lingered);
        }
    };
    let failures = LastFailure::watch(push.events());
    let reloading = push.clone();
    let reopen = dead_letter.iter().map(DeadLetters::reopen).collect();
    reload.watch(access, move |tokens| reloading.set_tokens(tokens), reopen, quiet);
    socket::announce(&push.local_endpoints(), quiet);
    let (report, mut trouble) = mpsc::channel(MAX_TROUBLES);
    let keeper = Keeper::start(&push, dead_letter.clone(), report.clone());
    let watcher = tokio::spawn(trouble::watch_refusals(push.clone(), report.clone()));
    let connecting =
        tokio::spawn(trouble::watch_connecting(push.clone(), args.connect_timeout, failures, report));

    let started = Instant::now();
    let mut input = Input::start(reading)?;
    let mut feeder = Feeder::new(&push, &args, dead_letter);
    let stop = tokio::select! {
        name = signals.next() => Stop::Signal(name),
        Some(error) = trouble.recv() => Stop::Trouble(error),
        fed = feeder.feed(&mut input) => match fed {
            Ok(()) => Stop::EndOfInput,
            Err(error) => {
                // Reported at once, because stopping may take a while.
                report_error(&error);
                Stop::Input
            }
        },
    };
    let came_to_end = matches!(stop, Stop::EndOfInput);
    let rest = if came_to_end { UnsentInput::default() } else { input.stop(MAX_READ_WAIT).await };
    let (mut pending, copies) = feeder.end(rest.oversized);
    pending.extend(rest.records);
    // The input is not read any further. A record at the stop that is too large goes to --unsent, whatever
    // its size.
    let too_large: Vec<_> = pending.iter().filter(|record| record.len() > room).cloned().collect();
    pending.retain(|record| record.len() <= room);

    let after_signal = args.linger.unwrap_or(DEFAULT_LINGER_AFTER_SIGNAL);
    let (finish, linger, signalled) = match &stop {
        Stop::EndOfInput => (true, args.linger, false),
        Stop::Signal(name) => {
            // From now on --linger limits the wait, not --connect-timeout.
            connecting.abort();
            text::note(
                quiet,
                format_args!(
                    "{name}: reading stopped; waiting {} (--linger) for outstanding messages \
                     (a second signal stops at once)",
                    linger_text(after_signal)
                ),
            );
            (false, Some(after_signal), true)
        }
        // As at the end of the input: the records before the error are valid.
        Stop::Input => (false, args.linger, false),
        Stop::Trouble(_) => (false, Some(Duration::ZERO), false),
    };
    let ending = Ending { finish, linger, after_signal, signalled, quiet };
    let messages = pending.into_iter().map(|payload| feed::message(&args, payload)).collect();
    let mut saving = Saving::new(unsent, keeper.unwritten().clone(), too_large, copies, rest.incomplete);
    let settled = ending.settle(&push, RefCell::new(messages), &mut saving, &mut signals, &mut trouble).await;
    let SettleResult { mut exit, mut left, mut error, deadline, saves, signalled } = settled;
    watcher.abort();
    connecting.abort();
    if !saves {
        // Dead letters are usually written at once.
        saving.put_off();
    }
    let patience = Patience::new(exit, deadline, after_signal).after(signalled, quiet);
    if let Err(failed) = keeper.finish(patience, &left, &mut saving, &mut signals).await {
        error = error.or(Some(failed));
    }
    let input_failed = matches!(stop, Stop::Input);
    if let Stop::Trouble(stopped) = stop {
        error = Some(stopped);
    }
    if error.is_none() {
        error = trouble.try_recv().ok();
    }

    // The whole input may have been read ahead when the signal came.
    let input_complete = came_to_end || input.is_at_end();
    let mut late = UnsentInput::default();
    if !came_to_end {
        // The result of a read that was stuck at the stop. The input will not return it again.
        late = input.stop(Duration::ZERO).await;
    }
    left.not_sent.extend(late.records.into_iter().map(|payload| (None, payload)));
    let oversized = saving.end_copies(late.oversized);
    saving.late(late.incomplete);
    // Unread input counts as left, too: the caller must not take the input for processed.
    if exit == Exit::Success && (!left.not_sent.is_empty() || saving.holds_back() || !input_complete) {
        exit = Exit::Lingered;
    }

    let stats = push.stats();
    if exit == Exit::Success && (stats.rejected > 0 || oversized > 0) {
        exit = Exit::Rejected;
    }
    let not_sent = left.not_sent.len() as u64 + saving.too_large();
    let not_acked = left.not_acked.len() as u64;
    let incomplete = saving.incomplete_bytes();
    let saved = tokio::select! {
        saved = saving.finish(left) => saved,
        error = no_patience(&mut signals, quiet) => Err(error),
    };
    match (saved, &error) {
        (Err(second), Some(_)) => report_error(&second),
        (Err(first), None) => error = Some(first),
        (Ok(()), _) => {}
    }
    if error.is_some() || input_failed || saving.copy_failed() {
        exit = Exit::Error;
    }
    PushSummary {
        // Everything that was taken from the input. Messages that an abort returned are among those that are
        // left.
        accepted: stats.accepted - stats.aborted + not_sent + not_acked,
        acked: stats.acked,
        rejected: stats.rejected,
        nacked: stats.nacked,
        redelivered: stats.redelivered,
        timed_out: stats.timed_out,
        oversized,
        not_sent,
        not_acked,
        incomplete,
        input_complete,
        seconds: started.elapsed().as_secs_f64(),
        exit: exit.code(),
    }
    .say(args.json, quiet);
    error.map_or(Ok(exit), Err)
}

async fn open_files(
    args: &PushArgs,
    reading: &Reading,
    quiet: bool,
) -> anyhow::Result<(Access, Option<DeadLetters>, Option<Unsent>)> {
    let access = Access::read(&args.socket, quiet).await?;
    let framing: Framing = args.framing.framing();
    let dead_letter = match args.dead_letter.as_deref() {
        None => None,
        Some(path) => Some(AppendFile::open_waiting("--dead-letter", path, framing, quiet).await?),
    };
    let unsent = match args.unsent.as_deref() {
        None => None,
        Some(path) => Some((AppendFile::open_waiting("--unsent", path, framing, quiet).await?, path)),
    };
    // Compared by device and inode: each file would overwrite the records of the other.
    if let (Some(dead), Some((unsent, _))) = (&dead_letter, &unsent)
        && let (Ok(one), Ok(other)) = (dead.file().metadata(), unsent.file().metadata())
        && is_same_file(&one, &other)
    {
        bail!("{} and {} are the same file; each needs its own file", dead.name(), unsent.name());
    }
    for file in dead_letter.iter().chain(unsent.iter().map(|(file, _)| file)) {
        if let Ok(data) = file.file().metadata()
            && let Some(input) = reading.is_read_from(&data)
        {
            bail!("{} is also an input ({input}); name another file", file.name());
        }
    }
    let unsent = unsent.map(|(file, path)| Unsent::new(file, path)).transpose()?;
    Ok((access, dead_letter.map(DeadLetters::new), unsent))
}

async fn build(args: &PushArgs, access: &Access) -> anyhow::Result<Push> {
    let common = Push::builder()
        .max_attempts(args.max_attempts)
        .settle_timeout(args.settle_timeout)
        .max_work_time(args.max_work_time)
        .grace(args.grace)
        .high_water_mark(args.high_water_mark)
        .high_water_mark_bytes(args.high_water_mark_bytes);
    Ok(with_socket_options!(common, &args.socket, access).build().await?)
}

/// Waits for two more signals: writing takes a moment, and one more signal should not interrupt it.
async fn no_patience(signals: &mut Signals, quiet: bool) -> anyhow::Error {
    let name = signals.next().await;
    text::note(quiet, format_args!("{name}: writing --unsent (another signal stops without it)"));
    let name = signals.next().await;
    anyhow::anyhow!("{name}: --unsent was not written completely")
}

fn report_error(error: &anyhow::Error) {
    text::say(format_args!("error: {}", text::causes(error)));
}

fn linger_text(linger: Duration) -> String {
    if linger == Duration::MAX {
        "without a time limit".to_owned()
    } else {
        format!("up to {}", humantime::format_duration(linger))
    }
}
