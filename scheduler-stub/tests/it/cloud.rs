//! The stub of the clouds, called by the node's own integrations with keys of the stub of the authorization service.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use executor::clock::{Clock, ManualClock};
use futures_util::future::LocalBoxFuture;
use scheduler_stub::auth::{AuthConfig, AuthStub, Faults, Issuer, KeyRights, Roles};
use scheduler_stub::cloud::{CloudConfig, CloudStub, OAuthClient};
use scheduler_stub::quickstart::functions;
use serde_json::{Value, json};
use tasks::http::{ClientOptions, Egress, NameSources};
use tasks::http_invoke::{Connection, ConnectionSettings, Connections};
use tasks::tencent::TencentSettings;
use tasks::{
    Answer, CredentialSource, Failure, IntegrationSettings, Integrations, LambdaSettings, Origin, Request,
};
use token_cache::providers::{
    AuthService, AuthServiceSettings, ClientAuthentication, OAuth, OAuthClient as Client, Routes,
};
use token_cache::{CredentialError, CredentialKey, Credentials, Now, Settings, TokenCache};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tonic::transport::Endpoint;
use trust::Secret;

const CONNECTION: &str = "arn:aws:events:local:000000000000:connection/carrier/1";
const AWS_ROLE: &str = "arn:aws:iam::000000000000:role/a";
const TENCENT_ROLE: &str = "qcs::cam::uin/1:roleName/b";
const API: &str = "qrn:qcs:asw:ap-guangzhou:1300000000:sdk:json:qcloud";

struct Source(Arc<TokenCache>);

impl CredentialSource for Source {
    fn get<'a>(
        &'a self,
        key: &'a CredentialKey,
    ) -> LocalBoxFuture<'a, Result<Arc<Credentials>, CredentialError>> {
        Box::pin(self.0.get(key))
    }

    fn replace<'a>(
        &'a self,
        key: &'a CredentialKey,
        refused: &'a Arc<Credentials>,
    ) -> LocalBoxFuture<'a, Arc<Credentials>> {
        Box::pin(self.0.replace(key, refused))
    }

    fn now_ms(&self) -> u64 {
        Clock::System.now_ms()
    }
}

struct World {
    integrations: Integrations,
    auth: AuthStub,
    cloud: CloudStub,
    /// The cloud's.
    clock: ManualClock,
}

/// How long jobs take.
const JOB_TIME: Duration = Duration::from_secs(20);

fn issuer(key: u8) -> Issuer {
    Issuer::new(Secret::from_key(&[key; 32]))
}

/// A node's integrations; the cloud knows the keys of `issuer`.
fn world(issuer_of_cloud: Issuer) -> World {
    let listen = "127.0.0.1:0".parse().expect("an address");
    let hour = Duration::from_secs(3_600);
    let auth = AuthConfig {
        listen,
        roles: Roles::new(vec![AWS_ROLE.to_owned(), TENCENT_ROLE.to_owned()], hour, hour),
        rights: KeyRights::default(),
        issuer: issuer(7),
        faults: Faults::default(),
        trust: None,
    };
    let auth = AuthStub::start(auth).expect("it starts");
    let clock = ManualClock::at_ms(Clock::System.now_ms());
    let cloud = CloudConfig {
        listen,
        issuer: issuer_of_cloud,
        client: Some(OAuthClient { id: "us".to_owned(), secret: "hidden".to_owned().into() }),
        functions: functions::call,
        job_time: JOB_TIME,
        clock: Clock::Manual(clock.clone()),
    };
    let cloud = CloudStub::start(cloud).expect("it starts");
    let url = format!("http://{}", cloud.address());
    let tls = tasks::http::tls(None).expect("TLS");
    let carrier = Client {
        token_url: format!("{url}/oauth/token"),
        client_id: "us".to_owned(),
        client_secret: "hidden".to_owned().into(),
        authentication: ClientAuthentication::Basic,
        parameters: Vec::new(),
    };
    let now: Now = Arc::new(|| Clock::System.now_ms());
    let transport = tasks::http::transport(&tls).expect("a client");
    let clients = watch::channel(Arc::new([(Arc::from("oauth:carrier"), carrier)].into())).1;
    let oauth = OAuth::new(transport, clients, Arc::clone(&now));
    let endpoint = Endpoint::from_shared(format!("http://{}", auth.address())).expect("a URL");
    let channels = vec![trust::channel_lazy(&endpoint, None)];
    let service =
        AuthService::new(channels, AuthServiceSettings::default(), Arc::clone(&now), &Handle::current());
    let routes = Routes::default().and("oauth:", Arc::new(oauth)).and("", Arc::new(service));
    let cache =
        TokenCache::new(Arc::new(routes), Settings::default(), now, Handle::current(), Arc::default());
    let settings = ConnectionSettings {
        hosts: vec!["127.0.0.1".to_owned()],
        insecure: true,
        oauth: Some("oauth:carrier".into()),
        ..ConnectionSettings::default()
    };
    let connection = Connection::new(CONNECTION, settings).expect("a connection");
    let connections = Connections::new([(CONNECTION.to_owned(), connection)]).expect("connections");
    let settings = IntegrationSettings {
        client: ClientOptions {
            egress: Egress::new(vec![Egress::network("127.0.0.1").expect("a network")], false),
            calls_max: 8,
            target_calls_max: 8,
            target_waiting_max: 8,
            names: NameSources::default(),
            tls,
        },
        connections: watch::channel(Arc::new(connections)).1,
        lambda: Some(LambdaSettings {
            endpoint: Some(url.parse().expect("a URL")),
            region: "us-east-1".into(),
        }),
        tencent: Some(Arc::new(TencentSettings {
            endpoint: Some(url.parse().expect("a URL")),
            ..TencentSettings::default()
        })),
        default_roles: (AWS_ROLE.into(), TENCENT_ROLE.into()),
    };
    let source: Rc<dyn CredentialSource> = Rc::new(Source(cache));
    World { integrations: Integrations::new(&settings, &source).expect("integrations"), auth, cloud, clock }
}

impl World {
    async fn ask(&self, role: &str, resource: &str, input: Value) -> Result<Value, Failure> {
        let input = asl::Payload::from_checked(input.to_string().into());
        let origin = Origin {
            names: Rc::new(("arn:aws:states:local:0:execution:m:e", "a")),
            machine_arn: "arn:aws:states:local:0:stateMachine:m".into(),
            role_arn: role.into(),
            machine_role_arn: role.into(),
        };
        let request = Request { resource: resource.into(), input, origin };
        let integration = self.integrations.find(resource).expect("it is served");
        match integration.begin(&request).await? {
            Answer::Output(output) => Ok(serde_json::from_str(output.text()).expect("JSON")),
            Answer::Submitted(_) => panic!("nothing here submits jobs"),
        }
    }

    async fn tencent(&self, call: &str, input: Value) -> Value {
        self.ask("", &format!("{API}:{call}"), input).await.expect(call)
    }
}

const FUNCTION: &str = "arn:aws:lambda:local:000000000000:function";

#[tokio::test]
async fn functions_and_apis_serve_who_has_keys_of_a_role() {
    let world = world(issuer(7));
    let parcel = json!({ "city": "Oslo", "value": 80 });
    let insured = world.ask("", &format!("{FUNCTION}:insure-parcel"), parcel).await.expect("an output");
    assert_eq!(insured["premium"], 1);
    let failure = world.ask("", &format!("{FUNCTION}:insure-parcel"), json!({ "value": 20_000 })).await;
    assert_eq!(failure.expect_err("too much").error, "TooValuable");
    let failure = world.ask("", &format!("{FUNCTION}:nobody"), json!({})).await;
    assert_eq!(failure.expect_err("none").error, "Lambda.ResourceNotFoundException");
    let frames = world.tencent("scf:Invoke/ocr-frames", json!({})).await;
    assert_eq!(frames[0]["text"], "Welcome");
    let rate = json!({
        "ApiEndpoint": format!("http://{}/api/rates", world.cloud.address()), "Method": "GET",
        "QueryParameters": { "city": "Oslo", "grams": 1000 }, "Authentication": { "ConnectionArn": CONNECTION },
    });
    let rate = world.ask("", "arn:aws:states:::http:invoke", rate).await.expect("a rate");
    assert_eq!(rate["ResponseBody"]["price"], 7);
    assert_eq!(world.auth.issued(), 2, "keys of two roles, whatever was called");
    world.cloud.shut_down().await;
}

#[tokio::test]
async fn jobs_go_on_until_they_have_ended_and_captions_stay_with_their_video() {
    let world = world(issuer(7));
    let media = json!({
        "InputInfo": { "Type": "COS", "CosInputInfo": { "Bucket": "b", "Region": "r", "Object": "/talk.mp4" } },
        "OutputDir": "/out/", "MediaProcessTask": { "TranscodeTaskSet": [ { "Definition": 1010 } ] },
    });
    let begun = world.tencent("mps:audioSeparate", media).await;
    let task = json!({ "TaskId": begun["Response"]["TaskId"] });
    let seen = world.tencent("mps:DescribeTaskDetail", task.clone()).await;
    assert_eq!(seen["Response"]["Status"], "WAITING");
    world.clock.advance(JOB_TIME);
    let ended = world.tencent("mps:checkMpsJob", task).await;
    let output = &ended["Response"]["WorkflowTask"]["MediaProcessResultSet"][0]["TranscodeTask"]["Output"];
    assert_eq!(output["Path"], "/out/talk_0.mp3");
    for (url, status) in [("cos://b/out/talk_0.mp3", 2), ("cos://b/talk.txt", 3)] {
        let begun = world.tencent("asr:generalASR", json!({ "EngineModelType": "16k_en", "Url": url })).await;
        world.clock.advance(JOB_TIME);
        let ended =
            world.tencent("asr:checkASR", json!({ "TaskId": begun["Response"]["Data"]["TaskId"] })).await;
        assert_eq!(ended["Response"]["Data"]["Status"], status, "{url}");
    }
    let captions =
        json!({ "FileId": "f", "AddSubtitles": [ { "Name": "n", "Format": "vtt", "Content": "eA==" } ] });
    let stored = world.tencent("vod:ModifyMediaInfo", captions).await;
    let asked = world.tencent("vod:DescribeMediaInfos", json!({ "FileIds": ["f", "g"] })).await;
    let response = &asked["Response"];
    assert_eq!(
        response["MediaInfoSet"][0]["SubtitleInfo"]["SubtitleSet"],
        stored["Response"]["AddedSubtitleSet"]
    );
    assert_eq!(response["NotExistFileIdSet"], json!(["g"]));
    let refused = world.tencent("mps:DescribeTaskDetail", json!({ "TaskId": "nobody's" })).await;
    assert_eq!(refused["Response"]["Error"]["Code"], "InvalidParameterValue.TaskId");
}

#[tokio::test]
async fn keys_that_another_authority_has_issued_or_of_another_cloud_open_no_door() {
    let strange = world(issuer(8));
    let invoke = format!("{FUNCTION}:insure-parcel");
    let failure = strange.ask("", &invoke, json!({ "value": 1 })).await.expect_err("whose keys are these");
    assert_eq!(failure.error, "Lambda.AWSLambdaException");
    assert!(failure.cause.contains("Error Code: UnrecognizedClientException"), "{}", failure.cause);
    let envelope = strange.tencent("asr:CreateRecTask", json!({})).await;
    assert_eq!(envelope["Response"]["Error"]["Code"], "AuthFailure.SecretIdNotFound");
    let world = world(issuer(7));
    let failure =
        world.ask(TENCENT_ROLE, &invoke, json!({ "value": 1 })).await.expect_err("of another cloud");
    assert_eq!(failure.error, "Lambda.AWSLambdaException");
    assert!(failure.cause.contains("Error Code: UnrecognizedClientException"), "{}", failure.cause);
    let failure = world.ask(AWS_ROLE, &format!("{API}:scf:Invoke/ocr-frames"), json!({})).await;
    assert_eq!(failure.expect_err("of another cloud").error, "AuthFailure.SecretIdNotFound");
    let open = json!({ "ApiEndpoint": format!("http://{}/api/rates?city=Oslo", world.cloud.address()), "Method": "GET" });
    let failure = world.ask("", "arn:aws:states:::http:invoke", open).await.expect_err("no token");
    assert_eq!(failure.error, "States.Http.StatusCode.401");
}

#[tokio::test]
async fn a_request_that_never_comes_whole_does_not_keep_the_stub_from_ending() {
    let world = world(issuer(7));
    let mut stream = TcpStream::connect(world.cloud.address()).await.expect("a connection");
    let head = b"POST /oauth/token HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n";
    stream.write_all(head).await.expect("sent");
    // It is said when the body is waited for.
    let mut told = [0; 25];
    stream.read_exact(&mut told).await.expect("an answer");
    assert!(told.starts_with(b"HTTP/1.1 100"), "{told:?}");
    tokio::time::pause();
    world.cloud.shut_down().await;
    let mut told = Vec::new();
    stream.read_to_end(&mut told).await.expect("an answer");
    assert!(told.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&told));
}
