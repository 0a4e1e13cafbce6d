//! x
use simulator::machines::Catalogue;
#[test]
fn go() {
    let catalogue = Catalogue::compile().unwrap();
    let (from, n) = match std::env::var("SEED").ok().and_then(|s| s.parse().ok()) { Some(s) => (s, 1), None => (0, std::env::var("SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(300u64)) };
    for seed in from..from + n {
        match simulator::run(seed, &catalogue, None, n == 1) { Ok(r) => println!("{seed} {} {} {}", r.steps, r.acknowledged, r.crashes), Err(e) => println!("FAIL {e}") }
    }
}
