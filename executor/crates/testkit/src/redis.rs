//! A Redis server of one's own, on a free loopback port and a real disk.
//!
//! Invariants: the server is the installed `redis-server`, never a service that somebody else uses; its
//! directory lies on a real disk, because fsync on a memory file system proves nothing; it is gone when its
//! handle is dropped. If `redis-server` is not installed, starting fails with a message that says how to
//! install it: tests never skip.

use std::fmt;
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Exit, Process, ProcessOptions};
use crate::{TestkitError, free_port};

/// How long a server may take to answer PING after its start; loading a long log takes a while.
const START_WITHIN: Duration = Duration::from_secs(60);
const IO_WITHIN: Duration = Duration::from_secs(20);

/// `f_type` of tmpfs and ramfs, see statfs(2).
const MEMORY_FILE_SYSTEMS: [i64; 2] = [0x0102_1994, 0x8584_58f6];

/// When Redis writes its log through to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AppendFsync {
    /// Before each reply.
    #[default]
    Always,
    /// Once a second.
    Everysec,
    /// When the system likes.
    No,
    /// There is no log at all (`appendonly no`).
    Off,
}

impl fmt::Display for AppendFsync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Always => "always",
            Self::Everysec => "everysec",
            Self::No | Self::Off => "no",
        })
    }
}

/// What to start.
#[derive(Debug, Clone, Default)]
pub struct RedisOptions {
    /// How durable.
    pub appendfsync: AppendFsync,
    /// Bytes, `None` is no limit. The policy is `noeviction` unless `extra` says otherwise.
    pub maxmemory: Option<u64>,
    /// Where its directory is made; `None` is the first real disk of `TESTKIT_DIR`, the temporary directory,
    /// `/var/tmp` and the working directory.
    pub dir: Option<PathBuf>,
    /// More settings, for example `("no-appendfsync-on-rewrite", "yes")`.
    pub extra: Vec<(String, String)>,
    /// See [`ProcessOptions::tied`].
    pub tied: bool,
    /// See [`ProcessOptions::survives_limits`].
    pub survives_limits: bool,
    /// The files stay when the handle is dropped.
    pub keep: bool,
}

/// A running Redis server.
#[derive(Debug)]
pub struct Redis {
    options: RedisOptions,
    dir: TempDir,
    port: u16,
    process: Option<Process>,
}

impl Redis {
    /// Starts a server and returns when it answers PING.
    ///
    /// # Errors
    /// When `redis-server` is not installed, the directory is on a memory file system, or the server does not
    /// start.
    pub fn start(options: RedisOptions) -> Result<Self, TestkitError> {
        let parent = real_disk(options.dir.as_deref())?;
        let dir = tempfile::Builder::new()
            .prefix("redis-")
            .disable_cleanup(options.keep)
            .tempdir_in(&parent)
            .map_err(|error| TestkitError::io(format!("directory in {}", parent.display()), error))?;
        let mut redis = Self { options, dir, port: free_port(), process: None };
        redis.launch()?;
        Ok(redis)
    }

    /// A server with `appendfsync always`, for tests.
    ///
    /// # Panics
    /// When it cannot be started; the message says why.
    #[must_use]
    pub fn durable() -> Self {
        Self::start(RedisOptions::default()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Its URL, as the node takes it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Where it keeps its files.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The process id while it runs; its CPU time is in `/proc/<pid>/stat`.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// SIGKILL; the files stay.
    pub fn kill9(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill9();
        }
    }

    /// Starts it again on the same files and the same port, after [`Redis::kill9`] or [`Redis::stop`].
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&mut self) -> Result<(), TestkitError> {
        self.kill9();
        self.launch()
    }

    /// Stops it in order (SIGTERM), and waits for its end; the files stay.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(&mut self) -> Result<(), TestkitError> {
        if let Some(mut process) = self.process.take() {
            process.terminate()?;
            process.wait_exit(IO_WITHIN)?;
        }
        Ok(())
    }

    /// SIGSTOP: connections stay open, nothing is answered.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&self) -> Result<(), TestkitError> {
        self.process.as_ref().map_or(Ok(()), Process::freeze)
    }

    /// SIGCONT after [`Redis::freeze`].
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw(&self) -> Result<(), TestkitError> {
        self.process.as_ref().map_or(Ok(()), Process::thaw)
    }

    /// See [`Process::limit_files`].
    ///
    /// # Errors
    /// When it does not run.
    pub fn limit_files(&self, bytes: Option<u64>) -> Result<(), TestkitError> {
        self.process.as_ref().map_or(Ok(()), |process| process.limit_files(bytes))
    }

    /// Sends a command on a connection of its own and returns the reply: strings as they are, arrays as
    /// lines.
    ///
    /// # Errors
    /// When it cannot be reached; an error reply is [`TestkitError::Redis`].
    pub fn command(&self, words: &[&str]) -> Result<String, TestkitError> {
        command_at(self.address(), words)
    }

    /// How the server ended, if it has ended by itself.
    pub fn try_exit(&mut self) -> Option<Exit> {
        self.process.as_mut().and_then(Process::try_exit)
    }

    /// What is kept of the server's log since its last start.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::log).unwrap_or_default()
    }

    /// The end of the server's log.
    #[must_use]
    pub fn tail(&self) -> String {
        self.process.as_ref().map(Process::tail).unwrap_or_default()
    }

    /// Starts it again as [`Redis::restart`] does, with more settings, and does not wait until it has read its files.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn restart_at_once(&mut self, settings: &[(&str, &str)]) -> Result<(), TestkitError> {
        self.kill9();
        self.options
            .extra
            .extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self.process = Some(self.spawn()?);
        Ok(())
    }

    fn launch(&mut self) -> Result<(), TestkitError> {
        let mut process = self.spawn()?;
        let this: &Self = self;
        process.wait_until("an answer to PING", START_WITHIN, || {
            this.command(&["PING"]).ok().filter(|answer| answer == "PONG")
        })?;
        self.process = Some(process);
        Ok(())
    }

    fn spawn(&self) -> Result<Process, TestkitError> {
        let file = self.dir.path().join("redis.conf");
        std::fs::write(&file, self.settings())
            .map_err(|error| TestkitError::io(format!("settings {}", file.display()), error))?;
        let mut options = ProcessOptions::new("redis-server", "redis-server", [file.display().to_string()]);
        options.tied = self.options.tied;
        options.survives_limits = self.options.survives_limits;
        let missing = |why: String| TestkitError::Start {
            program: "redis-server".to_owned(),
            why: format!("{why}; install it with `apt-get install -y redis-server` (no service is needed)"),
        };
        // A program that another one starts in its place would only end, without these words.
        if !is_installed("redis-server") {
            return Err(missing("it is not on the PATH".to_owned()));
        }
        Process::start(&options).map_err(|error| missing(error.to_string()))
    }

    /// Lines of `redis.conf`.
    fn settings(&self) -> String {
        let appendonly = if self.options.appendfsync == AppendFsync::Off { "no" } else { "yes" };
        let mut text = format!(
            "port {port}\nbind 127.0.0.1\ndir \"{dir}\"\nsave \"\"\nappendonly {appendonly}\n\
             appendfsync {fsync}\nno-appendfsync-on-rewrite no\nmaxmemory-policy noeviction\n\
             maxmemory {maxmemory}\ndaemonize no\n",
            port = self.port,
            dir = self.dir.path().display(),
            fsync = self.options.appendfsync,
            maxmemory = self.options.maxmemory.unwrap_or(0),
        );
        // Of a setting that is given twice, Redis takes the last.
        for (name, value) in &self.options.extra {
            text.push_str(&format!("{name} {value}\n"));
        }
        text
    }
}

fn is_installed(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}

/// See [`Redis::command`]: for a thread of its own.
///
/// # Errors
/// As there.
pub fn command_at(address: SocketAddr, words: &[&str]) -> Result<String, TestkitError> {
    let said = words.join(" ");
    let failed = |error| TestkitError::io(format!("redis command {said:?}"), error);
    let stream = TcpStream::connect_timeout(&address, IO_WITHIN).map_err(failed)?;
    stream.set_read_timeout(Some(IO_WITHIN)).map_err(failed)?;
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    (&stream).write_all(request.as_bytes()).map_err(failed)?;
    let (ok, answer) = read_reply(&mut BufReader::new(&stream)).map_err(failed)?;
    if ok { Ok(answer) } else { Err(TestkitError::Redis { command: said, answer }) }
}

/// A directory on a real disk: the one that was asked for, or the first that there is.
///
/// # Errors
/// When none is; a test on a memory file system would prove nothing about durability.
pub fn real_disk(wanted: Option<&Path>) -> Result<PathBuf, TestkitError> {
    let mut places: Vec<PathBuf> = wanted.map(Path::to_path_buf).into_iter().collect();
    if places.is_empty() {
        places.extend(std::env::var_os("TESTKIT_DIR").map(PathBuf::from));
    }
    if places.is_empty() {
        places.extend([std::env::temp_dir(), PathBuf::from("/var/tmp")]);
        places.extend(std::env::current_dir());
    }
    let real = |path: &PathBuf| {
        rustix::fs::statfs(path).is_ok_and(|stat| !MEMORY_FILE_SYSTEMS.contains(&stat.f_type))
    };
    let first = places.first().map(|path| path.display().to_string()).unwrap_or_default();
    places.into_iter().find(real).ok_or(TestkitError::MemoryDisk { path: first })
}

/// One reply of the Redis protocol as text, and whether it is no error.
fn read_reply(reader: &mut impl std::io::BufRead) -> std::io::Result<(bool, String)> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let line = line.trim_end();
    let (kind, rest) = line.split_at_checked(1).unwrap_or(("", line));
    let length = || rest.parse::<i64>().map_err(|_| std::io::Error::from(std::io::ErrorKind::InvalidData));
    match kind {
        "$" => {
            let Ok(length) = usize::try_from(length()?) else { return Ok((true, String::new())) };
            let mut text = vec![0; length + 2];
            reader.read_exact(&mut text)?;
            text.truncate(length);
            Ok((true, String::from_utf8_lossy(&text).into_owned()))
        }
        "*" => {
            let mut lines = Vec::new();
            for _ in 0..length()? {
                lines.push(read_reply(reader)?.1);
            }
            Ok((true, lines.join("\n")))
        }
        "-" => Ok((false, rest.to_owned())),
        _ => Ok((true, rest.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_durable_redis_acknowledged_is_there_after_kill_9() {
        let mut redis = Redis::durable();
        assert_eq!(redis.command(&["SET", "key", "value"]).expect("a reply"), "OK");
        redis.kill9();
        assert!(redis.command(&["PING"]).is_err(), "it is gone");
        redis.restart().expect("it starts again");
        assert_eq!(redis.command(&["GET", "key"]).expect("a reply"), "value");
        redis.stop().expect("it stops");
        redis.restart().expect("it starts again");
        assert_eq!(redis.command(&["GET", "key"]).expect("a reply"), "value");
    }

    #[test]
    fn options_reach_the_server_and_its_errors_reach_the_caller() {
        let options = RedisOptions {
            appendfsync: AppendFsync::Everysec,
            maxmemory: Some(64 << 20),
            extra: vec![("no-appendfsync-on-rewrite".to_owned(), "yes".to_owned())],
            ..RedisOptions::default()
        };
        let redis = Redis::start(options).unwrap_or_else(|error| panic!("{error}"));
        let get = |name: &str| redis.command(&["CONFIG", "GET", name]).expect("a reply");
        assert_eq!(get("appendfsync"), "appendfsync\neverysec");
        assert_eq!(get("maxmemory"), "maxmemory\n67108864");
        assert_eq!(get("no-appendfsync-on-rewrite"), "no-appendfsync-on-rewrite\nyes");
        let error = redis.command(&["NOSUCH"]).expect_err("no such command").to_string();
        assert!(error.contains("unknown command"), "{error}");
    }

    #[test]
    fn a_memory_file_system_is_refused() {
        let error = real_disk(Some(Path::new("/dev/shm"))).expect_err("tmpfs proves nothing").to_string();
        assert!(error.contains("/dev/shm") && error.contains("real disk"), "{error}");
    }
}
