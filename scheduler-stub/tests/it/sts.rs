//! An STS of both vendors: it knows the node's own keys, verifies its requests as they do, and issues keys that the stub of the
//! clouds knows.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use executor::clock::Clock;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proto::auth::v1::Credentials;
use scheduler_stub::auth::{Issued, Issuer};
use tokio::net::TcpListener;
use zeroize::Zeroizing;

/// The node's own keys, of both vendors.
pub const OWN: (&str, &str) = ("AKIDNODE", "the-secret-of-the-node");
/// 2099-01-01T00:00:00Z, in seconds.
const EXPIRES: u64 = 4_070_908_800;

struct Sts {
    issuer: Issuer,
    issued: AtomicU64,
}

/// Keys that are good for as long as anybody runs this.
pub fn issue(issuer: &Issuer, role: &str, number: u64) -> Credentials {
    let issued = Issued { role: role.to_owned(), session: "s".to_owned(), expires_at_ms: EXPIRES * 1_000 };
    issuer.issue(&issued, number, Clock::System.now_ms())
}

/// Starts one; it ends with the test's runtime.
pub async fn start(issuer: Issuer) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let sts = Arc::new(Sts { issuer, issued: AtomicU64::new(1) });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let sts = Arc::clone(&sts);
            tokio::spawn(async move {
                let service = service_fn(move |request| Arc::clone(&sts).answer(request));
                // It ends with an error when the node has gone.
                drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
            });
        }
    });
    address
}

fn own(claim: &sign::Claim) -> Option<Zeroizing<String>> {
    (claim.id == OWN.0 && claim.service == "sts").then(|| OWN.1.to_owned().into())
}

impl Sts {
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, hyper::Error> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let (method, headers) = (&parts.method, &parts.headers);
        let received = sign::Received { method, target, headers, body: &body };
        let text = std::str::from_utf8(&body).expect("a text");
        let told = if headers.contains_key("x-tc-action") {
            self.tencent(&received, text)
        } else {
            self.aws(&received, text)
        };
        let (status, text) =
            told.map_or_else(|why| (StatusCode::FORBIDDEN, why), |text| (StatusCode::OK, text));
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        Ok(response)
    }

    fn next(&self, role: &str) -> Credentials {
        issue(&self.issuer, role, self.issued.fetch_add(1, Ordering::SeqCst))
    }

    fn tencent(&self, received: &sign::Received<'_>, body: &str) -> Result<String, String> {
        let now = Clock::System.now_ms() / 1_000;
        sign::tc3::verify(received, now, own).map_err(|error| error.to_string())?;
        let asked: serde_json::Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
        let keys = self.next(asked["RoleArn"].as_str().unwrap_or_default());
        let told =
            serde_json::json!({ "TmpSecretId": keys.id, "TmpSecretKey": keys.secret, "Token": keys.token });
        let told = serde_json::json!({ "Response": { "Credentials": told, "ExpiredTime": EXPIRES, "RequestId": "r" } });
        Ok(told.to_string())
    }

    fn aws(&self, received: &sign::Received<'_>, body: &str) -> Result<String, String> {
        let now = Clock::System.now_ms() / 1_000;
        sign::sigv4::verify(received, now, own).map_err(|error| error.to_string())?;
        let role = body.split('&').find_map(|pair| pair.strip_prefix("RoleArn=")).unwrap_or_default();
        let keys = self.next(&role.replace("%3A", ":").replace("%2F", "/"));
        Ok(format!(
            "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>\
             <AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey><SessionToken>{}</SessionToken>\
             <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>",
            keys.id, keys.secret, keys.token
        ))
    }
}
