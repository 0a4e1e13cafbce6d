//! A carrier's JSON API behind OAuth 2.0: `POST /oauth/token` (client credentials), `GET /api/rates?city=…&grams=…` (bearer token).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::json;
use zeroize::Zeroizing;

use super::server::{Answer, Received};
use crate::auth::{Issued, Issuer};

/// How long a token is good.
const TOKEN_LIFETIME: Duration = Duration::from_secs(3_600);
/// In the place of a role, so that keys of a role are no token of a client.
const CLIENT: &str = "client:";
/// Heavier parcels are not taken.
const GRAMS_MAX: u64 = 30_000;

/// Who may have tokens.
#[derive(Clone)]
pub struct OAuthClient {
    /// Its name.
    pub id: String,
    /// Its secret.
    pub secret: Zeroizing<String>,
}

impl std::fmt::Debug for OAuthClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OAuthClient").field("id", &self.id).finish_non_exhaustive()
    }
}

pub(super) struct Web {
    client: Option<OAuthClient>,
    issuer: Issuer,
    tokens: AtomicU64,
}

impl Web {
    pub fn new(client: Option<OAuthClient>, issuer: Issuer) -> Self {
        Self { client, issuer, tokens: AtomicU64::new(0) }
    }

    pub fn answer(&self, received: &Received, now_ms: u64) -> Answer {
        match (&received.method, received.path.as_str()) {
            (&Method::POST, "/oauth/token") => self.token(received, now_ms),
            (&Method::GET, "/api/rates") if self.is_known(received, now_ms) => rates(&pairs(&received.query)),
            (&Method::GET, "/api/rates") => {
                refused(StatusCode::UNAUTHORIZED, "a token of POST /oauth/token is needed")
            }
            _ => refused(
                StatusCode::NOT_FOUND,
                "here are POST /oauth/token and GET /api/rates, and two clouds' APIs",
            ),
        }
    }

    fn token(&self, received: &Received, now_ms: u64) -> Answer {
        let form = pairs(&String::from_utf8_lossy(&received.body));
        if value(&form, "grant_type") != Some("client_credentials") {
            return Answer::new(StatusCode::BAD_REQUEST, json!({ "error": "unsupported_grant_type" }));
        }
        let basic = basic(received.header("authorization"));
        let said = basic.or_else(|| {
            Some((value(&form, "client_id")?.to_owned(), value(&form, "client_secret")?.to_owned()))
        });
        let known = |(id, secret): &(String, String)| {
            let client = self.client.as_ref();
            client.is_some_and(|client| client.id == *id && client.secret.as_str() == secret)
        };
        let Some((id, _)) = said.filter(known) else {
            return Answer::new(StatusCode::UNAUTHORIZED, json!({ "error": "invalid_client" }));
        };
        let lifetime_ms = u64::try_from(TOKEN_LIFETIME.as_millis()).unwrap_or(u64::MAX);
        let expires_at_ms = now_ms.saturating_add(lifetime_ms);
        let issued = Issued { role: format!("{CLIENT}{id}"), session: String::new(), expires_at_ms };
        let number = self.tokens.fetch_add(1, Ordering::Relaxed) + 1;
        let keys = self.issuer.issue(&issued, number, now_ms);
        let token = format!("{}.{}", keys.id, keys.token);
        let told =
            json!({ "access_token": token, "token_type": "Bearer", "expires_in": TOKEN_LIFETIME.as_secs() });
        Answer::new(StatusCode::OK, told).with("cache-control", "no-store")
    }

    fn is_known(&self, received: &Received, now_ms: u64) -> bool {
        let token = received.header("authorization").strip_prefix("Bearer ");
        let parts = token.and_then(|token| token.split_once('.'));
        let issued = parts.and_then(|(id, token)| self.issuer.open(id, token, now_ms));
        issued.is_some_and(|(issued, _)| issued.role.starts_with(CLIENT))
    }
}

/// What it costs to send a parcel there.
fn rates(query: &[(String, String)]) -> Answer {
    let Some(city) = value(query, "city").filter(|city| !city.is_empty()) else {
        return refused(StatusCode::BAD_REQUEST, "city is missing");
    };
    match value(query, "grams").map_or(Ok(500), str::parse::<u64>) {
        Err(_) => refused(StatusCode::BAD_REQUEST, "grams is no number"),
        Ok(grams) if grams > GRAMS_MAX => {
            refused(StatusCode::UNPROCESSABLE_ENTITY, "the parcel is too heavy")
        }
        Ok(grams) => {
            let days = city.len() % 3 + 1;
            let rate = json!({ "city": city, "grams": grams, "price": 3 + grams / 250, "days": days });
            Answer::new(StatusCode::OK, rate)
        }
    }
}

fn refused(status: StatusCode, why: &str) -> Answer {
    Answer::new(status, json!({ "message": why }))
}

/// User and password, form-encoded as RFC 6749 wants them.
fn basic(authorization: &str) -> Option<(String, String)> {
    let pair = BASE64_STANDARD.decode(authorization.strip_prefix("Basic ")?).ok()?;
    let pair = String::from_utf8(pair).ok()?;
    let (user, password) = pair.split_once(':')?;
    Some((decoded(user), decoded(password)))
}

fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// The pairs of a form or a query.
fn pairs(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

fn value<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn rates_depend_on_city_and_weight_and_what_cannot_be_sent_is_refused() {
        let asked = |query: &str| {
            let Answer { status, body, .. } = rates(&pairs(query));
            (status.as_u16(), body)
        };
        let (status, rate) = asked("city=S%C3%A3o+Paulo&grams=1000");
        assert_eq!(
            (status, &rate["city"], &rate["price"]),
            (200, &Value::from("São Paulo"), &Value::from(7))
        );
        for (query, status) in [("", 400), ("city=Oslo&grams=x", 400), ("city=Oslo&grams=30001", 422)] {
            assert_eq!(asked(query).0, status, "{query}");
        }
    }
}
