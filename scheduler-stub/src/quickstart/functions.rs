//! The functions that the example workflows call, as workers and as functions of the stub clouds: small, deterministic stand-ins
//! for a shop, an office and an editor of films. What they answer depends on their input alone, so that every run shows the same successes
//! and failures.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::cloud::NO_FUNCTION;

/// Error name and cause.
pub type Failure = (&'static str, String);

/// Runs the function that a task names, by Lambda name or ARN, or by QRN.
///
/// # Errors
/// What the function fails with; an unknown function fails as Lambda does.
pub fn call(function: &str, input: &Value) -> Result<Value, Failure> {
    match short_name(function) {
        "validate-order" => Ok(validate_order(input)),
        "price-line" => price_line(input),
        "reserve-stock" => reserve_stock(input),
        "charge-card" => charge_card(input),
        "book-courier" => Ok(json!({ "carrier": "courier", "days": 1, "city": input["city"] })),
        "release-stock" => Ok(json!({ "released": true, "orderId": input["orderId"] })),
        "request-approval" => Ok(json!({ "requestId": format!("req-{:08x}", digest(input)) })),
        "look-for-approval" => look_for_approval(input),
        "escalate-approval" => {
            Ok(json!({ "decision": "approved", "by": "board", "rounds": input["rounds"] }))
        }
        "insure-parcel" => insure_parcel(input),
        "audio-urls" => audio_urls(input),
        "ocr-frames" => Ok(json!([{ "at": 1.2, "text": "Welcome" }, { "at": 3.9, "text": "Agenda" }])),
        "merge-captions" => Ok(merge_captions(input)),
        other => Err((NO_FUNCTION, format!("there is no function {other}"))),
    }
}

/// `reserve-stock`: what remains of an ARN or QRN.
fn short_name(function: &str) -> &str {
    if let Some((_, name)) = function.split_once(":function:") {
        return name.split(':').next().unwrap_or(name);
    }
    if let Some((_, call)) = function.split_once("scf:Invoke/") {
        return call.split('/').next().unwrap_or(call);
    }
    function
}

/// A number that depends on the input alone (FNV-1a of its text).
fn digest(input: &Value) -> u32 {
    input
        .to_string()
        .bytes()
        .fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

fn validate_order(input: &Value) -> Value {
    let lines = input["items"].as_array().map_or(0, Vec::len);
    let ok = lines > 0 && input["card"]["token"].is_string();
    json!({ "ok": ok, "lines": lines })
}

fn price_line(input: &Value) -> Result<Value, Failure> {
    let item = &input["item"];
    match (item["unitPrice"].as_f64(), item["quantity"].as_f64()) {
        (Some(price), Some(quantity)) => {
            let total = (price * quantity * 100.0).round() / 100.0;
            Ok(json!({ "sku": item["sku"], "total": total }))
        }
        _ => Err(("PriceUnknown", format!("no unit price or quantity for {}", item["sku"]))),
    }
}

fn reserve_stock(input: &Value) -> Result<Value, Failure> {
    let quantity = input["quantity"].as_u64().unwrap_or_default();
    if quantity > 99 {
        return Err(("OutOfStock", format!("{quantity} of {} are not there", input["sku"])));
    }
    let number = digest(input);
    Ok(json!({ "reservation": format!("r-{number:08x}"), "warehouse": number % 3 + 1 }))
}

fn charge_card(input: &Value) -> Result<Value, Failure> {
    let prices = input["prices"].as_array().map(Vec::as_slice).unwrap_or_default();
    let cents = prices.iter().filter_map(Value::as_f64).sum::<f64>();
    let amount = (cents * 100.0).round() / 100.0;
    let limit = input["card"]["limit"].as_f64().unwrap_or_default();
    if amount > limit {
        return Err(("CardDeclined", format!("{amount} is above the card's limit of {limit}")));
    }
    Ok(json!({ "amount": amount, "authorisation": format!("auth-{:08x}", digest(input)) }))
}

fn look_for_approval(input: &Value) -> Result<Value, Failure> {
    let round = input["round"].as_u64().unwrap_or_default() + 1;
    let amount = input["amount"].as_f64().ok_or(("BadRequest", "amount is no number".to_owned()))?;
    let decision = match round {
        1 if amount < 500.0 => "approved",
        2 if amount < 1_000.0 => "rejected",
        _ => "pending",
    };
    Ok(json!({ "round": round, "decision": decision, "by": "manager" }))
}

fn insure_parcel(input: &Value) -> Result<Value, Failure> {
    let value = input["value"].as_u64().ok_or(("BadRequest", "value is no whole number".to_owned()))?;
    if value > 10_000 {
        return Err(("TooValuable", format!("a parcel worth {value} is sent in person")));
    }
    Ok(json!({ "policy": format!("p-{:08x}", digest(input)), "premium": value.div_ceil(100) }))
}

/// Where the sound is that a media processing task has written.
fn audio_urls(input: &Value) -> Result<Value, Failure> {
    let bucket = input["bucket"].as_str().ok_or(("BadRequest", "bucket is no text".to_owned()))?;
    let results = input["task"]["MediaProcessResultSet"].as_array().map(Vec::as_slice).unwrap_or_default();
    let paths = results.iter().filter_map(|result| result["TranscodeTask"]["Output"]["Path"].as_str());
    Ok(paths.map(|path| format!("cos://{bucket}{path}")).collect())
}

/// One file of captions of what was said and what was shown.
fn merge_captions(input: &Value) -> Value {
    let part = |name: &str| input[name].as_array().cloned().unwrap_or_default();
    let (speech, frames) = (part("speech"), part("frames"));
    let said = speech.iter().filter_map(|part| part["Result"].as_str().map(str::to_owned));
    let shown = frames.iter().map(|frame| format!("[{}]  {}", frame["at"], frame["text"]));
    let lines: Vec<String> = said.chain(shown).collect();
    let content = BASE64_STANDARD.encode(format!("WEBVTT\n\n{}\n", lines.join("\n")));
    let subtitle =
        json!({ "Name": "captions", "Language": input["language"], "Format": "vtt", "Content": content });
    json!({ "captions": lines.len(), "format": "vtt", "subtitles": [subtitle] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_function_leads_to_its_name() {
        for (function, name) in [
            ("reserve-stock", "reserve-stock"),
            ("arn:aws:lambda:local:000000000000:function:charge-card", "charge-card"),
            ("arn:aws:lambda:local:000000000000:function:charge-card:$LATEST", "charge-card"),
            (
                "qrn:qcs:asw:ap-guangzhou:1:sdk:json:qcloud:scf:Invoke/ocr-frames/$DEFAULT/default",
                "ocr-frames",
            ),
            ("qrn:qcs:asw:ap-guangzhou:1:sdk:json:qcloud:scf:Invoke/audio-urls", "audio-urls"),
        ] {
            assert_eq!(short_name(function), name);
        }
    }

    #[test]
    fn an_unknown_function_fails_as_lambda_does() {
        let (error, _) = call("nobody", &Value::Null).expect_err("unknown");
        assert_eq!(error, "Lambda.ResourceNotFoundException");
    }
}
