//! A real process: start it, wait for a line of its output, send it signals, collect how it ended.
//!
//! Invariants: the process is killed and reaped when its handle is dropped; the last lines of its output are
//! kept in memory (bounded) and printed when the test fails; a *tied* process is killed by the system when the thread
//! that started it ends, however it ends. What may fail: starting and waiting, with [`TestkitError`].

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};

use crate::TestkitError;
use crate::wait::LOOK_EVERY;

/// Lines that are kept of a process's output.
const LOG_LINES: usize = 4_000;
/// How long the output of a process that has ended may still take.
const END_WITHIN: Duration = Duration::from_secs(2);
const STREAMS: usize = 2;
/// Lines that an error shows.
const TAIL_LINES: usize = 40;

/// What to start.
#[derive(Debug, Clone)]
pub struct ProcessOptions {
    /// For messages.
    pub name: String,
    /// Path of the binary: `env!("CARGO_BIN_EXE_…")`, or [`built_binary`].
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Added to the environment.
    pub env: Vec<(String, String)>,
    /// Working directory; `None` is the test's own.
    pub dir: Option<PathBuf>,
    /// Dies with the thread that starts it, also by SIGKILL or abort (`setpriv --pdeathsig`, of util-linux), and is in a
    /// process group of its own: a terminal's Ctrl-C does not reach it.
    pub tied: bool,
    /// Writing beyond [`Process::limit_files`] is an error (EFBIG) and no signal that ends it.
    pub survives_limits: bool,
}

impl ProcessOptions {
    /// A program with arguments, and nothing else changed.
    #[must_use]
    pub fn new<S: Into<String>>(
        name: &str,
        program: impl Into<PathBuf>,
        args: impl IntoIterator<Item = S>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            dir: None,
            tied: false,
            survives_limits: false,
        }
    }

    /// The command, not started.
    fn command(&self) -> Command {
        // Each of these replaces itself by what follows, so that the process id is the program's.
        let mut words: Vec<&OsStr> = Vec::new();
        if self.tied {
            words.extend(["setpriv", "--pdeathsig", "KILL", "--"].map(OsStr::new));
        }
        if self.survives_limits {
            words.extend(["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"].map(OsStr::new));
        }
        words.push(self.program.as_os_str());
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(&self.args);
        if self.tied {
            command.process_group(0);
        }
        command
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// The code, if it exited by itself.
    pub code: Option<i32>,
    /// The signal, if one ended it.
    pub signal: Option<i32>,
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        Self { code: status.code(), signal: status.signal() }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "exit code {code}"),
            (None, Some(signal)) => write!(f, "signal {signal}"),
            (None, None) => f.write_str("an unknown end"),
        }
    }
}

/// A running process.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    exit: Option<Exit>,
    log: Arc<Log>,
}

#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Lines>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    kept: VecDeque<String>,
    /// Lines that came in all, also those no longer kept.
    seen: usize,
    /// Streams that have come to their end.
    ended: usize,
}

impl Process {
    /// Starts it. Returns at once: wait for readiness with [`Process::wait_for_line`] or
    /// [`Process::wait_until`].
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(options: &ProcessOptions) -> Result<Self, TestkitError> {
        let mut command = options.command();
        command.envs(options.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some(dir) = &options.dir {
            command.current_dir(dir);
        }
        let program = || options.program.display().to_string();
        let mut child = command
            .spawn()
            .map_err(|error| TestkitError::Start { program: program(), why: error.to_string() })?;
        let log = Arc::new(Log::default());
        let streams: [Option<Box<dyn Read + Send>>; STREAMS] = [
            child.stdout.take().map(|out| Box::new(out) as _),
            child.stderr.take().map(|err| Box::new(err) as _),
        ];
        for stream in streams.into_iter().flatten() {
            let log = Arc::clone(&log);
            std::thread::spawn(move || log.follow(stream));
        }
        Ok(Self { name: options.name.clone(), child, exit: None, log })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line of its output that contains `text`, also among the lines that came before.
    ///
    /// # Errors
    /// When it ends first, or `timeout` passes; with the end of its log.
    pub fn wait_for_line(&mut self, text: &str, timeout: Duration) -> Result<String, TestkitError> {
        let what = format!("a line with {text:?}");
        let log = Arc::clone(&self.log);
        self.wait_until(&what, timeout, || log.lock().kept.iter().find(|line| line.contains(text)).cloned())
    }

    /// Looks until `look` gives a value while the process lives.
    ///
    /// # Errors
    /// When it ends first, or `timeout` passes; with the end of its log.
    pub fn wait_until<T>(
        &mut self,
        what: &str,
        timeout: Duration,
        mut look: impl FnMut() -> Option<T>,
    ) -> Result<T, TestkitError> {
        let deadline = Instant::now() + timeout;
        loop {
            let ended = self.try_exit();
            if ended.is_some() {
                self.log.wait_for_end();
            }
            if let Some(value) = look() {
                return Ok(value);
            }
            if let Some(exit) = ended {
                let (program, exit, what) = (self.name.clone(), exit.to_string(), what.to_owned());
                return Err(TestkitError::Ended { program, exit, what, log: self.tail() });
            }
            if Instant::now() >= deadline {
                return Err(self.timed_out(what, timeout));
            }
            self.log.wait_for_more();
        }
    }

    /// SIGKILL, and reaps it: when this returns, the process is gone.
    pub fn kill9(&mut self) {
        if self.exit.is_none() && self.child.kill().is_ok() {
            self.exit = self.child.wait().ok().map(Exit::from);
        }
    }

    /// What can kill it while somebody else holds the handle.
    #[must_use]
    pub fn killer(&self) -> Killer {
        Killer { pid: self.child.id() }
    }

    /// SIGTERM; does not wait, see [`Process::wait_exit`].
    ///
    /// # Errors
    /// When it has ended already.
    pub fn terminate(&self) -> Result<(), TestkitError> {
        self.signal(Signal::TERM)
    }

    /// SIGINT, as Ctrl-C sends it; does not wait, see [`Process::wait_exit`].
    ///
    /// # Errors
    /// When it has ended already.
    pub fn interrupt(&self) -> Result<(), TestkitError> {
        self.signal(Signal::INT)
    }

    /// SIGSTOP: it stands still, and its connections stay open.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn freeze(&self) -> Result<(), TestkitError> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT: it goes on after [`Process::freeze`].
    ///
    /// # Errors
    /// When it has ended already.
    pub fn thaw(&self) -> Result<(), TestkitError> {
        self.signal(Signal::CONT)
    }

    /// No file of it may grow beyond so many bytes, as if the disk were full; `None` takes the limit away.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn limit_files(&self, bytes: Option<u64>) -> Result<(), TestkitError> {
        // Only the soft limit: the hard one could not be raised again without privileges.
        let limited = Rlimit { current: bytes, maximum: getrlimit(Resource::Fsize).maximum };
        let set = self.running().and_then(|pid| Ok(prlimit(Some(pid), Resource::Fsize, limited)?));
        set.map(drop).map_err(|error| TestkitError::io(format!("file limit of {}", self.name), error))
    }

    fn running(&self) -> std::io::Result<Pid> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        pid.filter(|_| self.exit.is_none()).ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }

    fn signal(&self, signal: Signal) -> Result<(), TestkitError> {
        let sent = self.running().and_then(|pid| Ok(kill_process(pid, signal)?));
        sent.map_err(|error| TestkitError::io(format!("signal to {}", self.name), error))
    }

    /// How it ended, if it has.
    pub fn try_exit(&mut self) -> Option<Exit> {
        if self.exit.is_none() {
            self.exit = self.child.try_wait().ok().flatten().map(Exit::from);
        }
        self.exit
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    /// When it still runs after `timeout`; with the end of its log.
    pub fn wait_exit(&mut self, timeout: Duration) -> Result<Exit, TestkitError> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(exit) = self.try_exit() {
                self.log.wait_for_end();
                return Ok(exit);
            }
            if Instant::now() >= deadline {
                return Err(self.timed_out("the end of the process", timeout));
            }
            self.log.wait_for_more();
        }
    }

    /// The last lines of its output, both streams.
    #[must_use]
    pub fn tail(&self) -> String {
        self.last_lines(TAIL_LINES)
    }

    /// The output that is kept: a few thousand lines.
    #[must_use]
    pub fn log(&self) -> String {
        self.last_lines(LOG_LINES)
    }

    fn last_lines(&self, count: usize) -> String {
        let lines = self.log.lock();
        let skip = lines.kept.len().saturating_sub(count);
        let mut text = String::new();
        for line in lines.kept.iter().skip(skip) {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    fn timed_out(&self, what: &str, timeout: Duration) -> TestkitError {
        let what = format!("{}: {what}", self.name);
        TestkitError::TimedOut { what, seconds: timeout.as_secs_f64(), log: self.tail() }
    }
}

/// Sends SIGKILL to a process whose handle is in use. Good for as long as the handle has not reaped the
/// process.
#[derive(Debug, Clone, Copy)]
pub struct Killer {
    pid: u32,
}

impl Killer {
    /// SIGKILL; the handle still has to reap it, see [`Process::kill9`].
    ///
    /// # Errors
    /// When there is no such process any more.
    pub fn kill9(self) -> Result<(), TestkitError> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let sent = pid.map_or(Err(std::io::ErrorKind::NotFound.into()), |pid| {
            kill_process(pid, Signal::KILL).map_err(std::io::Error::from)
        });
        sent.map_err(|error| TestkitError::io(format!("SIGKILL to process {}", self.pid), error))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill9();
        if std::thread::panicking() {
            eprintln!("--- the end of the output of {} ---\n{}", self.name, self.tail());
        }
    }
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a stream to its end, line by line.
    fn follow(&self, stream: Box<dyn Read + Send>) {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            let mut lines = self.lock();
            if lines.kept.len() == LOG_LINES {
                lines.kept.pop_front();
            }
            lines.kept.push_back(text);
            lines.seen += 1;
            self.more.notify_all();
        }
        self.lock().ended += 1;
        self.more.notify_all();
    }

    /// Returns when both streams were read to their end; or a little later anyway, for a grandchild may hold
    /// them.
    fn wait_for_end(&self) {
        let lines = self.lock();
        drop(self.more.wait_timeout_while(lines, END_WITHIN, |lines| lines.ended < STREAMS));
    }

    /// Returns when a line came, or soon anyway: an end of the process brings no line.
    fn wait_for_more(&self) {
        let lines = self.lock();
        let seen = lines.seen;
        drop(self.more.wait_timeout_while(lines, LOOK_EVERY, |lines| lines.seen == seen));
    }
}

/// A binary of the workspace that another package builds, beside the running test: `target/<profile>/<name>`.
///
/// # Errors
/// When it has not been built; the message says the command.
pub fn built_binary(package: &str, name: &str) -> Result<PathBuf, TestkitError> {
    let test =
        std::env::current_exe().map_err(|error| TestkitError::io("path of the running test", error))?;
    // target/<profile>/deps/<test>
    let directory = test.parent().and_then(Path::parent).unwrap_or(Path::new("."));
    let binary = directory.join(name);
    if binary.is_file() {
        return Ok(binary);
    }
    let why = format!("{} is not built: run `cargo build -p {package}` first", binary.display());
    Err(TestkitError::Start { program: name.to_owned(), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Process {
        Process::start(&ProcessOptions::new("shell", "/bin/sh", ["-c", script])).expect("a shell starts")
    }

    #[test]
    fn a_line_of_either_stream_is_seen_and_the_exit_code_collected() {
        let mut process = shell("echo ready; echo trouble >&2; exit 7");
        process.wait_for_line("ready", SOON).expect("stdout is followed");
        process.wait_for_line("trouble", SOON).expect("stderr is followed");
        let exit = process.wait_exit(SOON).expect("it ends");
        assert_eq!(exit, Exit { code: Some(7), signal: None });
    }

    #[test]
    fn an_early_end_is_told_with_the_end_of_the_log() {
        let mut process = shell("echo cannot open the store; exit 3");
        let error = process.wait_for_line("serving", SOON).expect_err("it never serves").to_string();
        assert!(error.contains("exit code 3"), "{error}");
        let mut process = shell("echo cannot open the store; exec cat /dev/zero >/dev/null");
        process.wait_for_line("cannot", SOON).expect("printed");
        let error = process.wait_for_line("serving", Duration::ZERO).expect_err("never").to_string();
        assert!(error.contains("cannot open the store"), "{error}");
    }

    #[test]
    fn signals_end_a_process_and_are_told() {
        let mut process = shell("echo up; exec cat /dev/zero >/dev/null");
        process.wait_for_line("up", SOON).expect("up");
        process.freeze().expect("stops");
        process.thaw().expect("goes on");
        process.terminate().expect("sent");
        assert_eq!(process.wait_exit(SOON).expect("ends").signal, Some(15));
        assert!(process.terminate().is_err(), "nothing is sent to a process that is gone");
    }

    #[test]
    fn a_tied_process_dies_with_the_thread_that_started_it() {
        let start = || {
            let script = "echo up; exec cat /dev/zero >/dev/null";
            let mut options = ProcessOptions::new("shell", "/bin/sh", ["-c", script]);
            options.tied = true;
            let mut process = Process::start(&options).expect("setpriv and a shell start");
            process.wait_for_line("up", SOON).expect("up");
            process
        };
        let mut process = std::thread::spawn(start).join().expect("the thread ends");
        assert_eq!(process.wait_exit(SOON).expect("it ends too").signal, Some(9));
    }

    #[test]
    fn a_file_that_may_grow_no_further_is_an_error_until_it_may_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let script = "echo up; until echo more 2>/dev/null >file; do :; done; echo written";
        let script = format!("ulimit -S -f 0; {script}");
        let mut options = ProcessOptions::new("shell", "/bin/sh", ["-c", &script]);
        options.survives_limits = true;
        options.dir = Some(directory.path().to_owned());
        let mut process = Process::start(&options).expect("a shell starts");
        process.wait_for_line("up", SOON).expect("up");
        assert_eq!(process.try_exit(), None, "the signal does not end it");
        process.limit_files(None).expect("it runs");
        process.wait_for_line("written", SOON).expect("there is space again");
    }

    #[test]
    fn a_missing_program_is_named() {
        let options = ProcessOptions::new("nothing", "/nonexistent/program", [""; 0]);
        let error = Process::start(&options).expect_err("not there").to_string();
        assert!(error.contains("/nonexistent/program"), "{error}");
    }
}
