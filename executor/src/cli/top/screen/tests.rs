//! Drawn from what real telemetry writes; the whole screen is compared with `large.txt` (`UPDATE_SCREENS=1` writes it).

use std::path::PathBuf;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use telemetry::{Form, NodeMetrics};

use super::super::picture::{Heard, State};
use super::super::reading::Reading;
use super::*;

const ORDERS: &str = "arn:aws:states:us-east-1:123456789012:stateMachine:orders";
const REFUNDS: &str = "arn:aws:states:us-east-1:123456789012:stateMachine:refunds";

/// Ten seconds of a node.
fn work(node: &NodeMetrics) {
    for index in 0..2 {
        let shard = node.shard(index).expect("there are two");
        let orders = shard.machine(ORDERS);
        orders.started.add(1_000);
        orders.succeeded.add(990);
        orders.failed.add(5);
        orders.duration.observe_n(40_000, 995);
        orders.open.set(5);
        let refunds = shard.machine(REFUNDS);
        refunds.started.add(20);
        refunds.succeeded.add(20);
        refunds.duration.observe_n(2_000_000, 20);
        shard.start_ack.observe_n(1_500, 1_020);
        shard.flush_latency.observe_n(800, 100);
        shard.busy_us.add(2_500_000 * (index as u64 + 1));
        shard.open.set(5);
        shard.queue_depth.set(3);
        shard.store_available.set(1);
        let target = shard.target("lambda", "payments");
        target.succeeded.add(900);
        target.failed.add(5);
        target.latency.observe_n(20_000, 905);
    }
}

fn read(node: &NodeMetrics) -> Reading {
    let mut reading = Reading::of(&node.render(Form::Prometheus)).expect("a node's");
    // The test's own process: not the same each time.
    (reading.cpu, reading.resident) = (0.25, f64::from(200 << 20));
    reading
}

/// A node that works, and one that is down.
fn picture() -> Arc<Picture> {
    let node = NodeMetrics::new("1.2.3", 2);
    node.set_ready(true);
    work(&node);
    let before = read(&node);
    work(&node);
    let after = read(&node).since(&before, 10.0);
    let heard = |address: &str, state| Heard { address: address.to_owned(), state };
    Arc::new(Picture::of(&[
        heard("10.0.0.6:7490", State::Up(Box::new(after))),
        heard("10.0.0.7:7490", State::Down("Connection refused (os error 111)".to_owned())),
    ]))
}

fn screen() -> Screen {
    let mut screen = Screen::new(Duration::from_secs(10));
    screen.show(Some(picture()));
    screen
}

fn drawn(screen: &Screen, (width, height): (u16, u16)) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal.draw(|frame| screen.draw(frame)).expect("drawn");
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect()
}

fn press(screen: &mut Screen, code: KeyCode) -> Wish {
    screen.handle(&Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))
}

/// The first cell of each row of the chosen table, on a small screen.
fn names(screen: &Screen) -> Vec<String> {
    let lines = drawn(screen, (160, 24));
    let head =
        lines.iter().position(|line| line.starts_with("───") || line.contains("───")).expect("a table");
    let rows = lines[head + 2..].iter().take_while(|line| !line.is_empty());
    rows.map(|line| line.split_whitespace().next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_large_screen_shows_rates_latencies_nodes_machines_shards_and_targets() {
    let shown = drawn(&screen(), (130, 40)).join("\n") + "\n";
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/cli/top/screen/large.txt");
    if std::env::var_os("UPDATE_SCREENS").is_some() {
        std::fs::write(&path, &shown).expect("written");
    }
    let wanted = std::fs::read_to_string(&path).expect("recorded");
    assert!(shown == wanted, "it is not the screen that was recorded:\n{shown}");
}

#[test]
fn a_small_screen_shows_the_chosen_table_and_tab_chooses_the_next_one() {
    let mut screen = screen();
    let titles = ["MACHINES 3", "SHARDS 2", "TARGETS OF TASKS 1", "NODES 2"];
    for title in titles {
        let lines = drawn(&screen, (80, 24));
        let seen: Vec<&str> = titles.into_iter().filter(|t| lines.iter().any(|l| l.contains(t))).collect();
        assert_eq!(seen, [title], "{lines:#?}");
        press(&mut screen, KeyCode::Tab);
    }
    press(&mut screen, KeyCode::BackTab);
    assert!(drawn(&screen, (80, 24)).iter().any(|line| line.contains("down: Connection")));
}

/// What was heard of nodes that work much, and of one that is down.
fn much() -> Arc<Picture> {
    let node = NodeMetrics::new("1.2.3", 2);
    node.set_ready(true);
    let before = read(&node);
    for (index, name) in ["mALL", "mData", "mERROR", "refunds", "orders", "payments"].iter().enumerate() {
        let machine = node.shard(0).expect("there is one").machine(&ORDERS.replace("orders", name));
        machine.started.add(1_199_300 + index as u64);
        machine.succeeded.add(1_193_300);
        machine.failed.add(12_000);
        machine.timed_out.add(1_204);
        machine.throttled.add(2_278_650);
        machine.open.set(227_865);
        machine.duration.observe_n(40_000, 1_000);
    }
    work(&node);
    let after = Box::new(read(&node).since(&before, 10.0));
    let heard = |address: &str, state| Heard { address: address.to_owned(), state };
    let up = |address| heard(address, State::Up(after.clone()));
    let away = State::Down("Connection refused (os error 111)".to_owned());
    Arc::new(Picture::of(&[up("10.0.0.6:7490"), up("10.0.0.7:7490"), heard("10.0.0.8:7490", away)]))
}

#[test]
fn a_narrow_screen_shows_whole_numbers_and_names_and_which_node_is_down() {
    for width in [80, 60] {
        let mut screen = Screen::new(Duration::from_secs(1));
        screen.show(Some(much()));
        // Every number that is seen is one of those that are written as text.
        let text = much().text();
        let written: Vec<&str> = text.split_whitespace().collect();
        for title in ["MACHINES", "SHARDS", "TARGETS OF TASKS", "NODES"] {
            let lines = drawn(&screen, (width, 24));
            let head = lines.iter().position(|line| line.contains(title)).expect("the table");
            let numbers = lines[1..3]
                .iter()
                .chain(&lines[head + 2..lines.len() - 1])
                .flat_map(|l| l.split_whitespace());
            let numbers = numbers.filter(|word| word.starts_with(|c: char| c.is_ascii_digit()));
            for number in numbers {
                assert!(written.contains(&number), "{width}, {title}: {number} in {lines:#?}");
            }
            let seen = |name: &str| lines.iter().any(|line| line.starts_with(name));
            let names: &[&str] = match title {
                "MACHINES" => &["mALL ", "mData ", "mERROR ", "refunds ", "orders ", "payments "],
                "SHARDS" => &["10.0.0.6:7490 ", "10.0.0.7:7490 "],
                "NODES" => &["10.0.0.6:7490 ", "10.0.0.7:7490 ", "10.0.0.8:7490 "],
                _ => &["payments "],
            };
            assert!(names.iter().all(|name| seen(name)), "{width}, {title}: {lines:#?}");
            assert!(lines[0].contains("down: 1") && lines[0].contains("10.0.0.8:7490"), "{}", lines[0]);
            press(&mut screen, KeyCode::Tab);
        }
    }
}

#[test]
fn what_a_narrow_table_is_sorted_by_is_seen() {
    let mut screen = Screen::new(Duration::from_secs(1));
    screen.show(Some(much()));
    let head = |screen: &Screen| drawn(screen, (60, 24)).into_iter().find(|line| line.starts_with("MACHINE"));
    let aborts = |screen: &Screen| head(screen).expect("the machines").contains("ABORT/S");
    assert!(!aborts(&screen));
    for _ in 0..4 {
        press(&mut screen, KeyCode::Right);
    }
    assert!(aborts(&screen), "{:?}", head(&screen));
}

#[test]
fn arrows_sort_by_another_column_and_r_turns_the_order() {
    let mut screen = screen();
    assert_eq!(names(&screen), [ORDERS, REFUNDS, "other"], "the hottest first");
    press(&mut screen, KeyCode::Char('r'));
    assert_eq!(names(&screen), ["other", REFUNDS, ORDERS]);
    press(&mut screen, KeyCode::Left);
    assert_eq!(names(&screen), [ORDERS, REFUNDS, "other"], "by name");
    press(&mut screen, KeyCode::Left);
    assert_eq!(names(&screen), [REFUNDS, ORDERS, "other"], "by p99, the slowest first");
    press(&mut screen, KeyCode::Down);
    assert_eq!(names(&screen), [ORDERS, "other"], "scrolled");
    for _ in 0..9 {
        press(&mut screen, KeyCode::PageDown);
    }
    assert_eq!(names(&screen), ["other"], "no further than the last row");
    press(&mut screen, KeyCode::Home);
    assert_eq!(names(&screen).len(), 3);
}

#[test]
fn a_paused_screen_stands_still_until_it_goes_on() {
    let mut screen = screen();
    press(&mut screen, KeyCode::Char('p'));
    screen.show(Some(Arc::new(Picture::of(&[]))));
    assert!(
        drawn(&screen, (130, 24))[0].contains("nodes: 2, down: 1")
            && drawn(&screen, (130, 24))[0].contains("PAUSED")
    );
    press(&mut screen, KeyCode::Char('p'));
    screen.show(Some(Arc::new(Picture::of(&[]))));
    assert!(drawn(&screen, (130, 24))[0].contains("nodes: 0"));
}

#[test]
fn help_says_every_key_and_quitting_is_q_escape_or_control_c() {
    let mut screen = screen();
    press(&mut screen, KeyCode::Char('?'));
    let shown = drawn(&screen, (80, 24)).join("\n");
    for line in HELP.lines() {
        assert!(shown.contains(line), "{line} in {shown}");
    }
    assert_eq!(press(&mut screen, KeyCode::Char('q')), Wish::Quit);
    assert_eq!(press(&mut screen, KeyCode::Esc), Wish::Quit);
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(screen.handle(&Event::Key(control_c)), Wish::Quit);
    assert_eq!(press(&mut screen, KeyCode::Char('c')), Wish::Stay);
}

#[test]
fn nothing_breaks_on_a_tiny_screen_or_before_the_first_answer() {
    let mut empty = Screen::new(Duration::from_secs(1));
    for code in [KeyCode::Tab, KeyCode::Left, KeyCode::Char('r'), KeyCode::Down, KeyCode::PageDown] {
        press(&mut empty, code);
    }
    assert!(drawn(&empty, (80, 24)).iter().any(|line| line.contains("asking the nodes")));
    let mut screen = screen();
    press(&mut screen, KeyCode::Char('?'));
    for size in [(1, 1), (10, 3), (40, 12), (300, 100)] {
        drawn(&empty, size);
        drawn(&screen, size);
    }
}

#[test]
fn plain_text_says_the_same() {
    let text = picture().text();
    let row = |name: &str| -> Vec<String> {
        let line =
            text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {text}"));
        line.split_whitespace().map(str::to_owned).collect()
    };
    let orders = ["200.0", "198.0", "1.0", "0.0", "0.0", "0.0", "10", "37.5ms", "49.8ms"];
    assert_eq!(row(ORDERS)[1..], orders);
    assert_eq!(row("payments")[1..5], ["lambda", "1.0", "180.0", "0.0"]);
    assert_eq!(row("10.0.0.7:7490")[6..8], ["down:", "Connection"]);
    assert_eq!(row("10.0.0.6:7490")[1..], ["204.0", "10", "0%", "200MiB", "1.2.3", "serving"]);
    let busy: Vec<&str> = text.lines().filter(|line| line.contains("confirms")).collect();
    assert!(
        busy.len() == 2 && busy[0].contains("50%") && busy[1].contains("25%"),
        "the busiest first: {busy:?}"
    );
}
