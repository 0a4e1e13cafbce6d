//! `executor top` beside a running node: as plain text, and on a terminal; and how much such a node logs.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::pty::OpenptFlags;
use rustix::termios::{LocalModes, Winsize};
use testkit::{eventually, eventually_async, free_port};

use crate::support::PATIENCE;
use crate::support::load::{Load, arn};
use crate::support::node::Node;
use crate::support::store::StoreUnderTest;

/// What `executor top` writes, and how it exits.
async fn top(arguments: &[&str]) -> (String, Option<i32>) {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_executor"));
    let output = command.arg("top").args(arguments).output().await.expect("the program starts");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (String::from_utf8(output.stdout).expect("UTF-8"), output.status.code())
}

/// The words of the line that begins so.
fn words<'a>(text: &'a str, begin: &str) -> Vec<&'a str> {
    let line = text.lines().find(|line| line.starts_with(begin));
    line.unwrap_or_else(|| panic!("no {begin} in {text}")).split_whitespace().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn top_writes_rates_and_latencies_of_a_node_under_load_and_names_the_one_that_is_down() {
    let store = StoreUnderTest::file();
    let node = Node::serving(&store.flags(), &[]).await;
    let mut load = Load::new(&node).await;
    let (address, gone) = (node.metrics.to_string(), format!("127.0.0.1:{}", free_port()));
    // The load goes on until the text is there.
    let asked = ["--once", "--interval", "1s", &address, &gone, &address];
    let (text, code) = tokio::select! {
        shown = top(&asked) => shown,
        ended = load.run(&node, u64::MAX) => panic!("the load has ended: {ended:?}"),
    };
    assert_eq!(code, Some(1), "a node is down: {text}");
    let number = |word: &str| word.parse::<f64>().unwrap_or_else(|_| panic!("{word} is no number: {text}"));
    let pass = words(&text, &arn("pass"));
    assert!(number(pass[1]) > 0.0 && number(pass[2]) > 0.0, "started and succeeded: {text}");
    assert_eq!(pass[3..7], ["0.0"; 4], "{text}");
    assert!(pass[8].ends_with('s') && pass[9].ends_with('s'), "latencies: {text}");
    assert!(words(&text, "to its acknowledgement")[3].ends_with('s'), "{text}");
    assert_eq!(words(&text, &address).last(), Some(&"serving"), "{text}");
    assert_eq!(words(&text, &gone)[6], "down:", "{text}");
    let shards: Vec<&str> = text.lines().filter(|line| line.ends_with("confirms")).collect();
    assert_eq!(shards.len(), 2, "an address that is said twice is asked once: {text}");

    let (text, code) = top(&["--once", "--interval", "100ms", &address]).await;
    assert!(code == Some(0) && text.starts_with("EXECUTIONS\n"), "{code:?}: {text}");
    let (text, code) = top(&["--interval", "100ms", &gone]).await;
    assert!(
        code == Some(1) && text.contains("down: "),
        "no terminal is the same as --once: {code:?}: {text}"
    );
}

/// A terminal, and what was written to it.
struct Terminal {
    keyboard: File,
    side: File,
    written: Arc<Mutex<String>>,
}

impl Terminal {
    fn open() -> Self {
        let ours = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        rustix::pty::grantpt(&ours).expect("granted");
        rustix::pty::unlockpt(&ours).expect("unlocked");
        let size = Winsize { ws_row: 40, ws_col: 130, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&ours, size).expect("a size");
        let name = rustix::pty::ptsname(&ours, Vec::new()).expect("a name").into_string().expect("UTF-8");
        let side = File::options().read(true).write(true).open(name).expect("the other side");
        let keyboard = File::from(ours);
        let written = Arc::<Mutex<String>>::default();
        let (mut screen, shown) = (keyboard.try_clone().expect("the same"), Arc::clone(&written));
        // Ends when nobody has the other side any more.
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                shown.lock().expect("not poisoned").push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Self { keyboard, side, written }
    }

    fn shows(&self, part: &str) {
        let shown = || self.written.lock().expect("not poisoned").clone();
        eventually(part, PATIENCE, || if shown().contains(part) { Ok(()) } else { Err(shown()) });
    }

    fn is_raw(&self) -> bool {
        let modes = rustix::termios::tcgetattr(&self.side).expect("its modes").local_modes;
        !modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn top_draws_on_a_terminal_and_gives_it_back_when_it_quits_and_when_it_is_ended() {
    let store = StoreUnderTest::file();
    let node = Node::serving(&store.flags(), &[]).await;
    type End = fn(&mut Terminal, u32);
    let ends: [(&str, End); 3] = [
        ("q", |terminal, _| terminal.keyboard.write_all(b"q").expect("typed")),
        ("Ctrl-C", |terminal, _| terminal.keyboard.write_all(b"\x03").expect("typed")),
        ("SIGTERM", |_, pid| {
            let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("small")).expect("a process");
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signalled");
        }),
    ];
    for (name, end) in ends {
        let mut terminal = Terminal::open();
        let side = || Stdio::from(terminal.side.try_clone().expect("the same"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_executor"))
            .args(["top", "--interval", "100ms", &node.metrics.to_string()])
            .env("TERM", "xterm-256color")
            .stdin(side())
            .stdout(side())
            .stderr(side())
            .spawn()
            .expect("the program starts");
        terminal.shows("serving");
        assert!(terminal.is_raw(), "{name}");
        end(&mut terminal, child.id());
        let status = child.wait().expect("it ends");
        assert_eq!(status.code(), Some(0), "{name}");
        // Back on the first screen, with a cursor, and with lines and echo.
        terminal.shows("\u{1b}[?1049l");
        terminal.shows("\u{1b}[?25h");
        assert!(!terminal.is_raw(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_holds_back_lines_of_one_place_beyond_its_limit_and_counts_and_tells_them() {
    let mut store = StoreUnderTest::redis();
    let mut node = Node::serving(&store.flags(), &["--log", "json", "--log-limit", "1"]).await;
    store.kill9();
    eventually_async("lines are held back", PATIENCE, || async {
        let text = node.scrape().await;
        let name = "executor_log_lines_suppressed_total{level=\"warn\"} ";
        let count = text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        if count.as_deref().is_some_and(|count| count != "0") { Ok(()) } else { Err(format!("{count:?}")) }
    })
    .await;
    let line = node.says("more like this within 10 s");
    let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert!(line["message"].as_str().is_some_and(|text| text.starts_with("… and ")), "{line}");
    assert!(line["target"].is_string() && line["timestamp"].is_string(), "{line}");
}
