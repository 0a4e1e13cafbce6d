//! The file of connections, read again while the node runs: secrets are replaced without a restart.
//!
//! Purpose: every few seconds the file and the files of its secrets are read, as certificates are, and what has changed is
//! published, all of it at once. Invariants: a file that cannot be used leaves in force what was; one that is just being written
//! is not taken by half, for two looks in a row have to see the same; a client that has changed has another name, so that
//! tokens of the former one are no longer served, and one that has not keeps its token. Clients are published before the
//! connections that name them, and kept until the next change for the calls that are under way. What may fail: the first
//! reading, with [`IntegrationError::File`] or [`IntegrationError::Unreadable`].

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tasks::http_invoke::Connections;
use token_cache::providers::{OAuthClient, OAuthClients};
use tokio::sync::watch;

use super::connections::{self, Read};
use super::credentials::OAUTH;
use super::{IntegrationError, Surroundings};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// When they are looked at again after something has changed.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// What shards follow.
type Followed = (watch::Receiver<Arc<Connections>>, watch::Receiver<Arc<OAuthClients>>);

/// Connections as they change, and the clients whose tokens they use; without a file there are none.
///
/// # Errors
/// The file cannot be used.
pub(super) fn open(path: Option<&Path>, surroundings: &Surroundings) -> Result<Followed, IntegrationError> {
    let Some(path) = path else {
        return Ok((watch::channel(Arc::default()).1, watch::channel(Arc::default()).1));
    };
    let file = File::open(path)?;
    let followed = (file.connections.subscribe(), file.clients.subscribe());
    surroundings.metrics.add_reload("connections", Arc::clone(&file.failing));
    surroundings.runtime.spawn(file.keep_fresh());
    Ok(followed)
}

/// See the module.
struct File {
    path: PathBuf,
    in_force: Read,
    /// How often something was put in force.
    turn: u64,
    connections: watch::Sender<Arc<Connections>>,
    clients: watch::Sender<Arc<OAuthClients>>,
    /// Whether the file could not be used when it was looked at last.
    failing: Arc<AtomicBool>,
    /// Why it could not, as it was logged.
    told: Option<String>,
}

/// What a look has seen: its connections, or what is wrong.
type Seen = Result<Read, String>;

fn read(path: &Path, known: &OAuthClients, turn: u64) -> Result<Read, IntegrationError> {
    connections::read(path, &|arn, client| {
        let is_of = |name: &str| {
            name.strip_prefix(OAUTH).and_then(|name| name.split_once(':')).is_some_and(|(_, of)| of == arn)
        };
        let same = known.iter().find(|(name, known)| *known == client && is_of(name));
        same.map_or_else(|| format!("{OAUTH}{turn}:{arn}").into(), |(name, _)| Arc::clone(name))
    })
}

impl File {
    fn open(path: &Path) -> Result<Self, IntegrationError> {
        let in_force = read(path, &OAuthClients::new(), 0)?;
        let connections = watch::Sender::new(Arc::clone(&in_force.connections));
        let clients = watch::Sender::new(Arc::clone(&in_force.clients));
        Ok(Self {
            path: path.to_owned(),
            in_force,
            turn: 0,
            connections,
            clients,
            failing: Arc::default(),
            told: None,
        })
    }

    /// Reads the files again and again. Ends with its runtime.
    async fn keep_fresh(mut self) {
        let mut last: Seen = Ok(self.in_force.clone());
        let mut settled = true;
        loop {
            tokio::time::sleep(if settled { LOOK_EVERY } else { SETTLED_AFTER }).await;
            let (path, known, turn) = (self.path.clone(), Arc::clone(&self.in_force.clients), self.turn + 1);
            let look = move || read(&path, &known, turn).map_err(|error| error.to_string());
            // A look that panics is one that failed: the next may see what can be used.
            let seen = tokio::task::spawn_blocking(look).await;
            let seen = seen.unwrap_or_else(|error| Err(format!("the files could not be looked at: {error}")));
            settled = seen == last;
            if settled {
                self.take(&seen);
            }
            last = seen;
        }
    }

    fn take(&mut self, seen: &Seen) {
        self.failing.store(seen.is_err(), Ordering::Relaxed);
        match seen {
            Ok(read) if *read != self.in_force => self.put_in_force(read.clone()),
            Err(error) if self.told.as_ref() != Some(error) => {
                tracing::error!(error, "changed connections cannot be used: those before stay in force");
            }
            Ok(_) | Err(_) => {}
        }
        self.told = seen.as_ref().err().cloned();
    }

    fn put_in_force(&mut self, read: Read) {
        self.turn += 1;
        let (former, next) = (self.in_force.clients.iter(), read.clients.iter());
        let both = former.chain(next).map(|(name, client)| (Arc::clone(name), OAuthClient::clone(client)));
        self.clients.send_replace(Arc::new(both.collect()));
        self.connections.send_replace(Arc::clone(&read.connections));
        self.in_force = read;
        tracing::info!(file = %self.path.display(), "connections changed, and are in force");
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    /// A file of connections, by ARN and the file of the client's secret.
    struct World {
        folder: tempfile::TempDir,
        failing: Arc<AtomicBool>,
        connections: watch::Receiver<Arc<Connections>>,
        clients: watch::Receiver<Arc<OAuthClients>>,
    }

    /// Names of connections, and of the files of their clients' secrets.
    const NAMES: [&str; 2] = ["a", "b"];
    const CONNECTION: &str = "arn:aws:events:r:1:connection/";

    fn lay_out(folder: &Path) {
        let mut text = String::new();
        for name in NAMES {
            let secret = folder.join(name);
            std::fs::write(&secret, "old").expect("written");
            let secret = secret.display();
            write!(
                text,
                "[[connection]]\narn = '{CONNECTION}{name}'\nhosts = ['a.example']\noauth = {{ token-url = 'https://h/', client-id = 'c', \
                 client-secret = {{ file = '{secret}' }} }}\n"
            )
            .expect("a text");
        }
        std::fs::write(folder.join("file"), text).expect("written");
    }

    impl World {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            lay_out(folder.path());
            let file = File::open(&folder.path().join("file")).expect("connections");
            let (connections, clients) = (file.connections.subscribe(), file.clients.subscribe());
            let failing = Arc::clone(&file.failing);
            tokio::spawn(file.keep_fresh());
            Self { folder, failing, connections, clients }
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.folder.path().join(name), text).expect("written");
        }

        fn secrets(&self, name: &str) -> Vec<(String, String)> {
            let clients = self.clients.borrow();
            let of = clients.iter().filter(|(known, _)| known.ends_with(&format!("/{name}")));
            let mut of: Vec<_> =
                of.map(|(known, client)| (known.to_string(), client.client_secret.to_string())).collect();
            of.sort();
            of
        }

        fn failing(&self) -> bool {
            self.failing.load(Ordering::Relaxed)
        }
    }

    fn pair(turn: u64, name: &str, secret: &str) -> (String, String) {
        (format!("oauth:{turn}:{CONNECTION}{name}"), secret.to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_secret_that_is_replaced_gives_its_client_another_name_and_no_other_one() {
        let mut world = World::new();
        assert_eq!(world.secrets("a"), [pair(0, "a", "old")]);
        world.write("a", "new");
        world.connections.changed().await.expect("followed");
        let both = [pair(0, "a", "old"), pair(1, "a", "new")];
        assert_eq!(world.secrets("a"), both, "calls under way keep the former one");
        assert_eq!(world.secrets("b"), [pair(0, "b", "old")]);
        world.write("a", "old");
        world.connections.changed().await.expect("followed");
        let both = [pair(1, "a", "new"), pair(2, "a", "old")];
        assert_eq!(world.secrets("a"), both, "a token of long ago does not come back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_cannot_be_used_changes_nothing_until_it_can() {
        let world = World::new();
        let good = std::fs::read_to_string(world.folder.path().join("file")).expect("read");
        let (mut connections, before) = (world.connections.clone(), Arc::clone(&world.connections.borrow()));
        let looked = LOOK_EVERY + SETTLED_AFTER * 2;
        for (name, broken) in [("file", "[[connection]]\narn = 1\n"), ("file", "[[conn")] {
            world.write(name, broken);
            tokio::time::sleep(looked).await;
            assert!(world.failing() && Arc::ptr_eq(&before, &connections.borrow()), "{broken}");
        }
        world.write("file", &good);
        std::fs::remove_file(world.folder.path().join("b")).expect("removed");
        tokio::time::sleep(looked).await;
        assert!(world.failing() && Arc::ptr_eq(&before, &connections.borrow()));
        world.write("b", "new");
        connections.changed().await.expect("followed");
        assert!(!world.failing());
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_being_written_is_not_taken_by_half() {
        let world = World::new();
        let whole = std::fs::read_to_string(world.folder.path().join("file")).expect("read");
        let (half, rest) = whole.split_at(whole.rfind("[[connection]]").expect("the second"));
        assert!(!half.is_empty());
        world.write("file", half);
        tokio::time::sleep(LOOK_EVERY + SETTLED_AFTER / 2).await;
        world.write("file", &format!("{half}{rest}"));
        tokio::time::sleep(LOOK_EVERY * 3).await;
        assert!(!world.connections.has_changed().expect("followed") && !world.failing());
    }
}
