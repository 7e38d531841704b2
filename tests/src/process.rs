//! Processes of the `tidegate` command and of the Python peer, killed when the test ends.

use std::{
    ffi::OsStr,
    io::{self, BufRead, BufReader, Read, Write},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

/// The limit of every wait in a test.
pub const LONG: Duration = Duration::from_secs(60);
/// A process is killed after this time, so that a test that reads its output does not block forever.
const MAX_LIFE: Duration = Duration::from_secs(180);

/// A running process, with its standard error read line by line.
pub struct Process {
    child: Arc<Mutex<Child>>,
    errors: Receiver<String>,
    seen: Vec<String>,
    /// Ends the thread that limits the process's lifetime when dropped.
    _alive: Sender<()>,
}

impl Process {
    /// Starts a program with the given standard input and output.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(program: impl AsRef<OsStr>, args: &[&str], stdin: Stdio, stdout: Stdio) -> io::Result<Self> {
        let mut command = Command::new(program);
        Self::spawn(command.args(args).stdin(stdin).stdout(stdout))
    }

    /// Like [`Process::start`], for a command that the caller has built.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        let mut child = command.stderr(Stdio::piped()).spawn()?;
        let (sender, errors) = mpsc::channel();
        if let Some(stderr) = child.stderr.take() {
            thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        let child = Arc::new(Mutex::new(child));
        let (alive, over) = mpsc::channel();
        let limited = child.clone();
        thread::spawn(move || {
            if over.recv_timeout(MAX_LIFE) == Err(RecvTimeoutError::Timeout) {
                let _ = lock(&limited).kill();
            }
        });
        Ok(Self { child, errors, seen: Vec::new(), _alive: alive })
    }

    /// Writes to standard input in the background, then closes it.
    pub fn feed(&mut self, bytes: Vec<u8>) {
        if let Some(mut stdin) = lock(&self.child).stdin.take() {
            thread::spawn(move || {
                let _ = stdin.write_all(&bytes); // the process may have exited, which the test notices
            });
        }
    }

    /// Writes one line to standard input, which stays open.
    pub fn write_line(&mut self, line: &str) {
        self.write(format!("{line}\n").as_bytes());
    }

    /// Writes to standard input, which stays open. This blocks when the pipe is full (64 KiB) until the process reads.
    pub fn write(&mut self, bytes: &[u8]) {
        if let Some(stdin) = &mut lock(&self.child).stdin {
            let _ = stdin.write_all(bytes);
            let _ = stdin.flush();
        }
    }

    /// Closes standard input.
    pub fn close_input(&mut self) {
        lock(&self.child).stdin = None;
    }

    /// The lines of standard error up to the last line that the test waited for.
    #[must_use]
    pub fn lines_seen(&self) -> &[String] {
        &self.seen
    }

    /// Forgets the lines seen so far, so that the next wait needs a new line.
    pub fn forget_lines(&mut self) {
        self.seen.clear();
    }

    /// Waits for a line on standard error that contains `text`, and returns it.
    ///
    /// # Errors
    /// It did not come in time.
    pub fn line_with(&mut self, text: &str) -> Result<String, String> {
        self.line_with_all(&[text])
    }

    /// Waits for a line on standard error that contains all of these texts, and returns it.
    ///
    /// # Errors
    /// It did not come in time.
    pub fn line_with_all(&mut self, texts: &[&str]) -> Result<String, String> {
        let fits = |line: &str| texts.iter().all(|text| line.contains(text));
        if let Some(line) = self.seen.iter().find(|line| fits(line)) {
            return Ok(line.clone());
        }
        let until = Instant::now() + LONG;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.errors.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if fits(&line) {
                        return Ok(line);
                    }
                }
                Err(_) => {
                    return Err(format!("no line with {texts:?} on standard error, only {:?}", self.seen));
                }
            }
        }
    }

    /// The endpoint that the process reports it listens on.
    ///
    /// # Errors
    /// The line does not come in time.
    pub fn endpoint(&mut self) -> Result<String, String> {
        let line = self.line_with("listening on ")?;
        Ok(line.rsplit(' ').next().unwrap_or_default().to_owned())
    }

    /// Reads standard output to its end.
    ///
    /// # Errors
    /// It cannot be read, or was not piped.
    pub fn output(&mut self) -> io::Result<String> {
        String::from_utf8(self.output_bytes()?)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Like [`Process::output`], for output that need not be UTF-8.
    ///
    /// # Errors
    /// It cannot be read, or was not piped.
    pub fn output_bytes(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let stdout = lock(&self.child).stdout.take();
        stdout.ok_or(io::ErrorKind::NotFound)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The process's standard output.
    pub fn raw_stdout(&mut self) -> Option<ChildStdout> {
        lock(&self.child).stdout.take()
    }

    /// The process's standard output, for reading line by line.
    pub fn stdout(&mut self) -> Option<impl BufRead + use<>> {
        lock(&self.child).stdout.take().map(BufReader::new)
    }

    /// Waits for the process to exit.
    ///
    /// # Errors
    /// The process does not exit in time.
    pub fn exit(&mut self) -> Result<ExitStatus, String> {
        let until = Instant::now() + LONG;
        while Instant::now() < until {
            if let Ok(Some(status)) = lock(&self.child).try_wait() {
                return Ok(status);
            }
            // The standard library has no wait with a time limit, so this polls.
            thread::park_timeout(Duration::from_millis(5));
        }
        Err(format!(
            "the process does not exit; standard error: {:?}",
            self.errors.try_iter().collect::<Vec<_>>()
        ))
    }

    /// Whether the process has not exited yet.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(lock(&self.child).try_wait(), Ok(None))
    }

    /// Sends a signal by its name, such as `KILL`.
    ///
    /// # Errors
    /// `kill` cannot be run.
    pub fn signal(&self, name: &str) -> io::Result<()> {
        Command::new("kill")
            .arg(format!("-{name}"))
            .arg(lock(&self.child).id().to_string())
            .status()
            .map(|_| ())
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        lock(&self.child).id()
    }

    /// The CPU time that the process has used so far, in steps of 10 ms.
    #[must_use]
    pub fn processor_time(&self) -> Option<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).ok()?;
        // The process name comes first and may contain anything, so start after its last parenthesis. A tick is 10 ms
        // on every Linux.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let mut ticks = || fields.next()?.parse::<u64>().ok();
        Some(Duration::from_millis((ticks()? + ticks()?) * 10))
    }

    /// Prints the process's standard error, to help explain a failed test.
    fn tell(&mut self) {
        self.seen.extend(self.errors.try_iter());
        let mut text = format!("process {}:\n", self.id());
        self.seen.iter().for_each(|line| text += &format!("  {line}\n"));
        let _ = io::stderr().write_all(text.as_bytes());
    }

    /// Peak resident memory so far, in KiB.
    #[must_use]
    pub fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", lock(&self.child).id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            self.tell();
        }
        let mut child = lock(&self.child);
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn lock(child: &Mutex<Child>) -> MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}
