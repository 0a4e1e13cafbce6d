//! `scheduler-stub cloud`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use executor::clock::Clock;
use executor::config::units::Span;
use trust::Secret;
use zeroize::Zeroizing;

use super::{Exit, say};
use crate::auth::Issuer;
use crate::cloud::{CloudConfig, CloudStub, OAuthClient};
use crate::quickstart::functions;

const MANUAL: &str = "\
WHAT IT PLAYS
  AWS Lambda      POST /2015-03-31/functions/NAME/invocations, signed with SigV4
  Tencent Cloud   API 3.0, signed with TC3: scf:InvokeFunction, mps:ProcessMedia and
                  DescribeTaskDetail, asr:CreateRecTask and DescribeTaskStatus, vod:ModifyMediaInfo
                  and DescribeMediaInfos
  A carrier       POST /oauth/token, and GET /api/rates?city=CITY&grams=GRAMS with a token of it
  The functions are those of the quick start's examples.

KEYS
  Requests to both clouds have to be signed with keys that `scheduler-stub auth` has issued with the
  same --secret-file; others are refused as the vendor refuses them.

EXAMPLE
  echo \"1 $(openssl rand -hex 32)\" > keys && chmod 600 keys
  scheduler-stub auth  --secret-file keys --role '*'
  scheduler-stub cloud --secret-file keys
  scheduler-stub serve --node http://127.0.0.1:7400
  executor serve --store memory \\
                 --credentials auth --auth-service http://127.0.0.1:7350 \\
                 --lambda-endpoint http://127.0.0.1:7360 \\
                 --tencent-endpoint http://127.0.0.1:7360 --egress-allow 127.0.0.1 \\
                 --default-role arn:aws:iam::000000000000:role/demo \\
                 --default-role qcs::cam::uin/1:roleName/demo

SIGNALS
  SIGINT, SIGTERM: requests under way are answered, then the process ends with 0.";

/// The options of `scheduler-stub cloud`.
#[derive(Debug, Args)]
#[command(after_help = MANUAL)]
pub(super) struct CloudOptions {
    /// Where to listen, in plain HTTP. Port 0 takes any free port
    #[arg(long, value_name = "ADDRESS:PORT", env = "MYRIAD_CLOUD_LISTEN", default_value = "127.0.0.1:7360")]
    listen: SocketAddr,
    /// Keys under which keys were made, a line `ID KEY` each: that of `scheduler-stub auth`
    #[arg(long, value_name = "FILE", env = "MYRIAD_AUTH_SECRET_FILE")]
    secret_file: PathBuf,
    /// Who may have tokens of the carrier
    #[arg(long, value_name = "NAME", default_value = "myriad")]
    client: String,
    /// The secret of --client [default: none, and nobody gets a token]
    #[arg(long, value_name = "FILE")]
    client_secret_file: Option<PathBuf>,
    /// How long a job of the media and speech services takes
    #[arg(long, value_name = "DURATION", default_value = "2s")]
    job_time: Span,
    /// Listen where other machines can reach it
    #[arg(long)]
    allow_plaintext: bool,
    /// What is logged: error, warn, info, debug, trace, or target=level
    #[arg(long, default_value = "info", env = "MYRIAD_LOG_LEVEL")]
    log_level: String,
}

impl CloudOptions {
    fn config(&self) -> Result<CloudConfig, String> {
        let listen = self.listen;
        if !listen.ip().is_loopback() && !self.allow_plaintext {
            return Err(format!(
                "--listen {listen}: other machines could reach it, and nothing is encrypted; listen on 127.0.0.1, or accept \
                 that with --allow-plaintext"
            ));
        }
        let secret = Secret::read(&self.secret_file).map_err(|error| format!("--secret-file: {error}"))?;
        let client = self.client_secret_file.as_ref().map(|file| {
            let text = std::fs::read_to_string(file).map(Zeroizing::new);
            let text = text.map_err(|error| format!("--client-secret-file {}: {error}", file.display()))?;
            let secret = Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned());
            Ok::<_, String>(OAuthClient { id: self.client.clone(), secret })
        });
        Ok(CloudConfig {
            listen,
            issuer: Issuer::new(secret),
            client: client.transpose()?,
            functions: functions::call,
            job_time: self.job_time.0,
            clock: Clock::System,
        })
    }
}

/// Runs until a signal.
pub(super) async fn run(options: CloudOptions) -> Exit {
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
    let stub = match CloudStub::start(config) {
        Ok(stub) => stub,
        Err(error) => {
            eprintln!("error: {error}");
            return Exit::Internal;
        }
    };
    say(&format!("cloud listens on {}", stub.address()));
    signals.asked_to_end().await;
    stub.shut_down().await;
    Exit::Ok
}
