//! `bench http` on the command line.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bench::error::Error;
use bench::http::{self, Found, Mode, Own};
use bench::suite::{self, StoreKind};
use clap::Args;
use sign::Keys;
use zeroize::Zeroizing;

use crate::{duration, observed_cli};

/// Where the secret is: arguments can be seen by everybody on the machine.
const SECRET: &str = "AWS_SECRET_ACCESS_KEY";
const KEY_ID: &str = "AWS_ACCESS_KEY_ID";

#[derive(Debug, Args)]
pub struct Options {
    /// A door that is open already. Calls are signed with the key of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY where both are
    /// set [default: a store, a node and a scheduler of the bench's own]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// What is started
    #[arg(long, value_enum, default_value_t = Mode::Standard)]
    mode: Mode,
    /// Connections, each with one call on its way
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4_096))]
    connections: u16,
    /// How long calls are made, for example 20s
    #[arg(long, default_value = "20s", value_parser = duration)]
    duration: Duration,
    /// Bytes of each input
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(..=65_536))]
    payload: u32,
    /// Region that signatures name
    #[arg(long, default_value = "local")]
    region: String,
    /// Which store; without --url
    #[arg(long, value_enum, default_value_t = StoreKind::Redis, conflicts_with = "url")]
    store: StoreKind,
    /// Threads of the door; without --url
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64), conflicts_with = "url")]
    threads: u16,
    /// Where the store's directory is made, on a real disk; without --url
    #[arg(long, default_value = ".", conflicts_with = "url")]
    dir: PathBuf,
    /// Also append the figures to perf/http.jsonl, if no call failed
    #[arg(long, conflicts_with = "url")]
    record: bool,
}

pub async fn run(options: Options) -> Result<ExitCode, Error> {
    let settings = http::Settings {
        url: options.url.clone().unwrap_or_default(),
        mode: options.mode,
        connections: usize::from(options.connections),
        duration: options.duration,
        payload_bytes: options.payload as usize,
        keys: keys(std::env::var(KEY_ID).ok(), std::env::var(SECRET).ok()),
        region: options.region,
    };
    let found: Found = if options.url.is_some() {
        http::run(&settings, BTreeMap::new).await?
    } else {
        let cluster = observed_cli::settings(options.store, options.dir)?;
        Own::start(&cluster, usize::from(options.threads)).await?.run(settings).await?
    };
    print!("{}", found.table());
    let shortcomings = found.shortcomings();
    for told in &shortcomings {
        eprintln!("bench: {told}");
    }
    if !shortcomings.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    if options.record {
        suite::write_json(&PathBuf::from("perf/http.jsonl"), &[found], true)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Of the environment, as AWS's clients take them.
fn keys(id: Option<String>, secret: Option<String>) -> Option<Keys> {
    Some(Keys { id: id?, secret: Zeroizing::new(secret?), token: None })
}
