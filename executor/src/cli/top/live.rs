//! The terminal: raw while this runs, and as it was before afterwards.
//!
//! Invariants: keys and signals are answered while nodes are asked, for they are asked by a task of its own; only the newest
//! picture is kept; the terminal is given back at the end of [`run`], by a panic, by Ctrl-C (a key, in raw mode), SIGINT,
//! SIGTERM and SIGHUP. What may fail: the terminal.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event};
use ratatui::crossterm::execute;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

use super::picture::Picture;
use super::screen::{Screen, Wish};
use super::watch::Nodes;

/// Keys that were pressed and not looked at; whoever presses more waits.
const KEYS_MAX: usize = 16;
/// How long the thread that reads keys may outlive the terminal.
const KEYS_FOR: Duration = Duration::from_millis(100);

/// The terminal, in raw mode, on its other screen.
struct Raw(DefaultTerminal);

impl Raw {
    fn begin() -> io::Result<Self> {
        let before = std::panic::take_hook();
        // Runs after the one that leaves raw mode.
        std::panic::set_hook(Box::new(move |info| {
            show_cursor();
            before(info);
        }));
        let begun = ratatui::try_init().map(Self);
        if begun.is_err() {
            ratatui::restore();
        }
        begun
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        ratatui::restore();
        show_cursor();
    }
}

fn show_cursor() {
    // A terminal that is gone needs none.
    let _ = execute!(io::stdout(), Show);
    let _ = io::stdout().flush();
}

/// Shows until somebody quits.
pub(super) async fn run(nodes: Nodes, interval: Duration) -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminal = Raw::begin()?;
    let mut keys = keys()?;
    let (newest, mut pictures) = watch::channel(None);
    let asking = tokio::spawn(ask(nodes, interval, newest));
    let mut screen = Screen::new(interval);
    loop {
        terminal.0.draw(|frame| screen.draw(frame))?;
        tokio::select! {
            changed = pictures.changed() => match changed {
                Ok(()) => screen.show(pictures.borrow_and_update().clone()),
                Err(_) => break,
            },
            event = keys.recv() => match event {
                Some(event) => if screen.handle(&event?) == Wish::Quit { break },
                None => break,
            },
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = hangup.recv() => break,
        }
    }
    asking.abort();
    Ok(())
}

/// Asks at every interval, and tells the newest picture.
async fn ask(mut nodes: Nodes, interval: Duration, newest: watch::Sender<Option<Arc<Picture>>>) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        newest.send_replace(Some(Arc::new(Picture::of(&nodes.ask().await))));
    }
}

/// What is typed, read by a thread of its own, which ends soon after nobody wants it any more.
fn keys() -> io::Result<mpsc::Receiver<io::Result<Event>>> {
    let (typed, keys) = mpsc::channel(KEYS_MAX);
    let read = move || {
        while !typed.is_closed() {
            let event = match event::poll(KEYS_FOR) {
                Ok(false) => continue,
                Ok(true) => event::read(),
                Err(error) => Err(error),
            };
            let failed = event.is_err();
            if typed.blocking_send(event).is_err() || failed {
                return;
            }
        }
    };
    std::thread::Builder::new().name("keys".to_owned()).spawn(read)?;
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::process::{Command, Stdio};
    use std::sync::Mutex;

    use rustix::pty::OpenptFlags;
    use rustix::termios::{LocalModes, Winsize};
    use testkit::eventually;

    use super::*;

    /// Longer than it takes.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    #[ignore = "the other test runs it, in a process and on a terminal of its own"]
    fn panics_on_a_terminal() {
        // Nothing but the hook gives the terminal back, as where a panic aborts.
        std::mem::forget(Raw::begin().expect("a terminal"));
        panic!("as the test wants it");
    }

    #[test]
    fn a_panic_gives_the_terminal_back() {
        let ours = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        rustix::pty::grantpt(&ours).expect("granted");
        rustix::pty::unlockpt(&ours).expect("unlocked");
        let size = Winsize { ws_row: 40, ws_col: 130, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&ours, size).expect("a size");
        let name = rustix::pty::ptsname(&ours, Vec::new()).expect("a name").into_string().expect("UTF-8");
        let side = File::options().read(true).write(true).open(name).expect("the other side");
        let written = Arc::<Mutex<String>>::default();
        let (mut screen, shown) = (File::from(ours), Arc::clone(&written));
        // Ends when nobody has the other side any more.
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                shown.lock().expect("not poisoned").push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        let other = || Stdio::from(side.try_clone().expect("the same"));
        let status = Command::new(std::env::current_exe().expect("this program"))
            .args(["--ignored", "--exact", "--nocapture", "cli::top::live::tests::panics_on_a_terminal"])
            .env("TERM", "xterm-256color")
            .env("RUST_BACKTRACE", "0")
            .stdin(other())
            .stdout(other())
            .stderr(other())
            .status()
            .expect("it ends");
        assert!(!status.success());
        // On the other screen and back, with a cursor, with lines and echo, and what was wrong is to be read.
        for part in ["\u{1b}[?1049h", "\u{1b}[?1049l", "\u{1b}[?25h", "as the test wants it"] {
            let shown = || written.lock().expect("not poisoned").clone();
            eventually(part, PATIENCE, || if shown().contains(part) { Ok(()) } else { Err(shown()) });
        }
        let modes = rustix::termios::tcgetattr(&side).expect("its modes").local_modes;
        assert!(modes.contains(LocalModes::ICANON | LocalModes::ECHO));
    }
}
