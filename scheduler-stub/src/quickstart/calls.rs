//! The examples whose tasks the node does itself: the clouds that it calls, and a run of each sample.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use executor::clock::Clock;
use executor::config::{CredentialKind, IntegrationOptions};
use futures_util::future::try_join_all;
use proto::executor::v1::{DescribeExecutionResponse, ExecutionStatus};
use tempfile::TempDir;
use trust::{Secret, Trust};
use zeroize::Zeroizing;

use super::examples::{CALLING, Example};
use super::functions;
use crate::auth::{AuthConfig, AuthStub, Faults, Issuer, KeyRights, Roles};
use crate::cli::say;
use crate::client::Client;
use crate::cloud::{CloudConfig, CloudStub, OAuthClient};
use crate::error::Error;
use crate::timeline;

/// What machines without a role act as.
const ROLES: [&str; 2] = ["arn:aws:iam::000000000000:role/quickstart", "qcs::cam::uin/1:roleName/quickstart"];
/// The connection of the parcel example.
const CONNECTION: &str = "arn:aws:events:local:000000000000:connection/carrier/1";
/// Who the node is towards the carrier.
const CLIENT: &str = "quickstart";
/// Where the samples say that the carrier is: where `scheduler-stub cloud` listens unless told otherwise.
const CARRIER: &str = "http://127.0.0.1:7360";
/// How long keys are good.
const LIFETIME: Duration = Duration::from_secs(3_600);
/// How long jobs take: the node asks more than once.
const JOB_TIME: Duration = Duration::from_millis(1_500);
/// How long a sample may take, and how often it is looked at.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The stubs.
pub(super) struct Clouds {
    auth: AuthStub,
    cloud: CloudStub,
    /// The connection and its secret, which the node reads at start.
    files: TempDir,
}

impl fmt::Display for Clouds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (stubs), keys from {}", self.cloud.address(), self.auth.address())
    }
}

impl Clouds {
    /// Starts them.
    ///
    /// # Errors
    /// A port or a file cannot be had.
    pub fn start(trust: Option<Trust>) -> Result<Self, Error> {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let issuer = Issuer::new(Secret::from_key(&trust::draw_key()));
        let roles = Roles::new(ROLES.map(str::to_owned).into(), LIFETIME, LIFETIME);
        let (faults, secret) = (Faults::default(), drawn());
        let auth = AuthStub::start(AuthConfig {
            listen,
            roles,
            rights: KeyRights::default(),
            issuer: issuer.clone(),
            faults,
            trust,
        })?;
        let cloud = CloudStub::start(CloudConfig {
            listen,
            issuer,
            client: Some(OAuthClient { id: CLIENT.to_owned(), secret: secret.clone() }),
            functions: functions::call,
            job_time: JOB_TIME,
            clock: Clock::System,
        })?;
        let files = files(&secret, cloud.address());
        let files = files.map_err(|error| Error::unavailable(format!("no temporary files: {error}")))?;
        Ok(Self { auth, cloud, files })
    }

    /// How a node reaches them.
    pub fn integrations(&self) -> IntegrationOptions {
        let cloud = format!("http://{}", self.cloud.address());
        IntegrationOptions {
            connections: Some(self.files.path().join("connections.toml")),
            egress_allow: vec![self.cloud.address().ip().to_string()],
            lambda_endpoint: Some(cloud.clone()),
            tencent_endpoint: Some(cloud),
            credentials: vec![CredentialKind::Auth],
            auth_service: vec![format!("http://{}", self.auth.address())],
            default_role: ROLES.map(str::to_owned).into(),
            ..IntegrationOptions::default()
        }
    }

    /// Runs every sample of the machines, and says how each ended and what its history tells of its tasks. False: one has not ended in time.
    ///
    /// # Errors
    /// A start was refused, or the scheduler has gone.
    pub async fn tour(&self, client: &Client, machines: &[String]) -> Result<bool, Error> {
        say("The node calls services itself, signed with temporary keys:\n");
        let wrong = |error: serde_json::Error| Error::invalid("BadExample", error.to_string());
        let carrier = format!("http://{}", self.cloud.address());
        let mut samples = Vec::new();
        for (example, machine) in CALLING.iter().zip(machines) {
            for input in example.inputs().map_err(wrong)? {
                let input = input.replace(CARRIER, &carrier).into();
                samples.push(sample(client.clone(), example, machine, input));
            }
        }
        let ended = try_join_all(samples).await?;
        ended.iter().for_each(|ended| say(&format!("  {ended}")));
        let keys = self.auth.issued();
        say(&format!("\nThe authorization service has issued {keys} sets of keys for all of them.\n"));
        Ok(ended.iter().all(|ended| ended.status != ExecutionStatus::Running))
    }

    /// Ends them.
    pub async fn shut_down(self) {
        self.cloud.shut_down().await;
        self.auth.shut_down().await;
    }
}

/// A secret of this process.
fn drawn() -> Zeroizing<String> {
    let key = trust::draw_key();
    Zeroizing::new(key.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The file of connections, and that of its secret, in a directory that nobody else can read.
fn files(secret: &str, cloud: SocketAddr) -> std::io::Result<TempDir> {
    let files = tempfile::Builder::new().prefix("myriad-").tempdir()?;
    let secret_file = files.path().join("carrier.secret");
    std::fs::write(&secret_file, secret)?;
    let text = format!(
        "[[connection]]\narn = \"{CONNECTION}\"\nhosts = [\"{}\"]\ninsecure = true\n\n\
         [connection.oauth]\ntoken-url = \"http://{cloud}/oauth/token\"\n\
         client-id = \"{CLIENT}\"\nclient-secret = {{ file = {:?} }}\n",
        cloud.ip(),
        secret_file.display().to_string()
    );
    std::fs::write(files.path().join("connections.toml"), text)?;
    Ok(files)
}

/// How a sample ended.
struct Ended {
    name: &'static str,
    status: ExecutionStatus,
    took: Duration,
    /// Its output, or its error and cause.
    told: String,
    /// Its tasks, as its history tells them.
    tasks: String,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, status, took, told, tasks } = self;
        let status = status.as_str_name().trim_start_matches("EXECUTION_STATUS_");
        write!(f, "{name:<14} {status:<10} {:>6} ms  {told}\n    {tasks}", took.as_millis())
    }
}

async fn sample(mut client: Client, example: &Example, machine: &str, input: Bytes) -> Result<Ended, Error> {
    let failed =
        |status: tonic::Status| Error::unavailable(format!("{}: {}", example.name, status.message()));
    let began = Instant::now();
    let execution = client.start(machine, "", input).await.map_err(failed)?.execution_arn;
    let seen = loop {
        let seen = client.describe(&execution).await.map_err(failed)?;
        let running =
            seen.summary.as_ref().is_none_or(|summary| summary.status() == ExecutionStatus::Running);
        if !running || began.elapsed() > PATIENCE {
            break seen;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    let took = began.elapsed();
    let tasks = timeline::tasks(&client.history(&execution).await.map_err(failed)?);
    let DescribeExecutionResponse { summary, output, error, cause, .. } = seen;
    let status = summary.map_or(ExecutionStatus::Running, |summary| summary.status());
    let told = match status {
        ExecutionStatus::Succeeded => String::from_utf8_lossy(&output.unwrap_or_default()).into_owned(),
        _ => format!("{}: {}", error.unwrap_or_default(), cause.unwrap_or_default()),
    };
    Ok(Ended { name: example.name, status, took, told, tasks })
}
