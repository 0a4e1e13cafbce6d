//! `scheduler-stub auth`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use executor::config::units::Span;
use trust::{Secret, TlsFlags};

use super::{Exit, say};
use crate::auth::{AuthConfig, AuthStub, Faults, Issuer, KeyRights, Roles};

const MANUAL: &str = "\
ROLES
  A role is arn:aws:iam::ACCOUNT:role/NAME or qcs::cam::uin/UIN:roleName/NAME. Those that --role
  names exist and trust the executor; keys of any other are refused, as they are of a role that
  nobody has made in the console.

RIGHTS
  Front doors ask what an access key may do where its own file does not say it. A line of
  --rights is KEY RIGHTS MACHINE…, as in `AKID1 read,start orders-* bills`: rights are read, start
  and manage, * is any text. Without the file no key has a right.

KEYS
  They are made under the first key of --secret-file. Whoever has the same file can tell from an id
  and its token what the secret key is, as servers do that stand in for a cloud.

FAULTS
  --latency, --jitter, --error-rate and --skew make the service slow, unreliable, and wrong about
  the time. Which calls fail follows from --seed.

SIGNALS
  SIGINT, SIGTERM: calls under way are answered, then the process ends with 0.";

/// The options of `scheduler-stub auth`.
#[derive(Debug, Args)]
#[command(after_help = MANUAL)]
pub(super) struct AuthOptions {
    /// Where to listen. Port 0 takes any free port
    #[arg(long, value_name = "ADDRESS:PORT", env = "MYRIAD_AUTH_LISTEN", default_value = "127.0.0.1:7350")]
    listen: SocketAddr,
    /// A role that may be assumed; * is any text. Repeat, or separate by commas
    #[arg(long, value_name = "ROLE", env = "MYRIAD_AUTH_ROLES", value_delimiter = ',', required = true)]
    role: Vec<String>,
    /// How long keys are good, unless asked for something else
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    lifetime: Span,
    /// The longest that keys may be asked for
    #[arg(long, value_name = "DURATION", default_value = "12h")]
    lifetime_max: Span,
    /// What access keys may do, a line `KEY RIGHTS MACHINE…` each [default: nothing]
    #[arg(long, value_name = "FILE", env = "MYRIAD_AUTH_RIGHTS")]
    rights: Option<PathBuf>,
    /// Keys under which keys are made, a line `ID KEY` each [default: one of this process]
    #[arg(long, value_name = "FILE", env = "MYRIAD_AUTH_SECRET_FILE")]
    secret_file: Option<PathBuf>,
    /// How long each call takes at least
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    latency: Span,
    /// How much longer a call takes at most
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    jitter: Span,
    /// The part of calls that fail, from 0 to 1
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = rate)]
    error_rate: f64,
    /// By how many seconds the service's clock is ahead; negative: behind
    #[arg(long, value_name = "SECONDS", default_value_t = 0, allow_negative_numbers = true)]
    skew: i32,
    /// Draws which calls fail and how long they take
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    tls: TlsFlags,
    /// Listen where other machines can reach it, without TLS
    #[arg(long)]
    allow_plaintext: bool,
    /// What is logged: error, warn, info, debug, trace, or target=level
    #[arg(long, default_value = "info", env = "MYRIAD_LOG_LEVEL")]
    log_level: String,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().map_err(|error| error.to_string())?;
    (0.0..=1.0).contains(&rate).then_some(rate).ok_or_else(|| "a rate is from 0 to 1".to_owned())
}

impl AuthOptions {
    fn config(&self) -> Result<AuthConfig, String> {
        let trust = super::trust(&self.tls).map_err(|error| error.to_string())?;
        let listen = self.listen;
        if !listen.ip().is_loopback() && !self.allow_plaintext && trust.is_none() {
            return Err(format!(
                "--listen {listen}: other machines could reach it, and keys would not be encrypted; listen on 127.0.0.1, \
                 give it certificates (--tls-cert), or accept that with --allow-plaintext"
            ));
        }
        let (Span(lifetime), Span(lifetime_max)) = (self.lifetime, self.lifetime_max);
        if lifetime > lifetime_max || lifetime.is_zero() {
            return Err("--lifetime has to be more than nothing, and at most --lifetime-max".to_owned());
        }
        let secret = match &self.secret_file {
            Some(file) => Secret::read(file).map_err(|error| format!("--secret-file: {error}"))?,
            None => Secret::from_key(&trust::draw_key()),
        };
        let rights = match &self.rights {
            Some(file) => std::fs::read_to_string(file)
                .map_err(|error| error.to_string())
                .and_then(|text| KeyRights::parse(&text))
                .map_err(|why| format!("--rights {}: {why}", file.display()))?,
            None => KeyRights::default(),
        };
        Ok(AuthConfig {
            listen,
            roles: Roles::new(self.role.clone(), lifetime, lifetime_max),
            rights,
            issuer: Issuer::new(secret),
            faults: Faults {
                latency: self.latency.0,
                jitter: self.jitter.0,
                errors: self.error_rate,
                skew_ms: i64::from(self.skew) * 1_000,
                seed: self.seed,
            },
            trust,
        })
    }
}

/// Runs until a signal.
pub(super) async fn run(options: AuthOptions) -> Exit {
    let usage = |message: &str| {
        eprintln!("error: {message}");
        Exit::Usage
    };
    let config = match options.config() {
        Ok(config) => config,
        Err(message) => return usage(&message),
    };
    if let Err(message) =
        telemetry::logs::init(telemetry::logs::Format::Human, &options.log_level, telemetry::logs::LINES)
    {
        return usage(&message);
    }
    let mut signals = match super::signals() {
        Ok(signals) => signals,
        Err(exit) => return exit,
    };
    let trust = config.trust.clone();
    let stub = match AuthStub::start(config) {
        Ok(stub) => stub,
        Err(error) => {
            eprintln!("error: {error}");
            return Exit::Internal;
        }
    };
    say(&format!("auth listens on {}", stub.address()));
    let fresh = async {
        match trust {
            Some(trust) => trust.keep_fresh().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = fresh => {}
        _ = signals.asked_to_end() => {}
    }
    stub.shut_down().await;
    Exit::Ok
}
