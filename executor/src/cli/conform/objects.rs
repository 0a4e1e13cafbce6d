//! The objects that a case's `setup` put into S3, for the readers of distributed Maps.

use std::collections::{BTreeMap, HashMap};

use asl::{Str, Timestamp, Value};
use bytes::Bytes;

/// Bodies by bucket and key; keys in S3's order.
#[derive(Debug)]
pub(super) struct Objects {
    buckets: HashMap<String, BTreeMap<String, Bytes>>,
    put_at: Timestamp,
}

impl Objects {
    /// From a case's `setup`; `now` is when they were put.
    pub(super) fn new(setup: Option<&Value>, now: Timestamp) -> Self {
        let mut objects = Self { buckets: HashMap::new(), put_at: now };
        for call in setup.and_then(Value::as_array).unwrap_or_default() {
            let is = |name: &str, value: &str| call.get(name).and_then(Value::as_str) == Some(value);
            let Some(parameters) =
                call.get("params").filter(|_| is("service", "s3") && is("op", "put_object"))
            else {
                continue;
            };
            let text = |name: &str| parameters.get(name).and_then(Value::as_str).unwrap_or_default();
            let body = Bytes::copy_from_slice(text("Body").as_bytes());
            objects
                .buckets
                .entry(text("Bucket").to_owned())
                .or_default()
                .insert(text("Key").to_owned(), body);
        }
        objects
    }

    /// What a reader gets: an object's bytes, or a whole listing.
    pub(super) fn read(&self, resource: &str, parameters: &Value) -> Result<Bytes, Str> {
        let text = |name: &str| parameters.get(name).and_then(Value::as_str).unwrap_or_default();
        let bucket = self.buckets.get(text("Bucket")).ok_or("The specified bucket does not exist")?;
        if resource.ends_with(":s3:listObjectsV2") {
            let entries = bucket.iter().filter(|(key, _)| key.starts_with(text("Prefix")));
            let listing =
                Value::object([("Contents", Value::array(entries.map(|entry| self.listed(entry))))]);
            return Ok(Bytes::from(listing.to_json()));
        }
        Ok(bucket.get(text("Key")).cloned().ok_or("The specified key does not exist.")?)
    }

    fn listed(&self, (key, body): (&String, &Bytes)) -> Value {
        let size = u64::try_from(body.len()).unwrap_or(u64::MAX);
        let tag = format!("\"{:032x}\"", u128::from(size));
        Value::object([
            ("Key", Value::from(key.as_str())),
            ("ETag", Value::from(tag)),
            ("LastModified", Value::from(self.put_at.0.div_euclid(1_000))),
            ("Size", Value::from(size)),
            ("StorageClass", Value::from("STANDARD")),
        ])
    }
}

#[cfg(test)]
mod tests {
    use asl::value::JsonLimits;

    use super::*;

    fn value(text: &str) -> Value {
        Value::parse(text.as_bytes(), JsonLimits::default()).unwrap()
    }

    #[test]
    fn objects_of_the_setup_are_read_and_listed_by_prefix() {
        let put = |key: &str| {
            format!(
                r#"{{"service":"s3","op":"put_object","params":{{"Bucket":"b","Key":"{key}","Body":"[1]"}}}}"#
            )
        };
        let setup = value(&format!("[{},{},{}]", put("x/2"), put("x/1"), put("y")));
        let objects = Objects::new(Some(&setup), Timestamp(5_000));
        let get = |resource: &str, parameters: &str| {
            let body = objects.read(resource, &value(parameters));
            body.map(|body| String::from_utf8(body.to_vec()).unwrap()).map_err(String::from)
        };
        let object = "arn:aws:states:::s3:getObject";
        assert_eq!(get(object, r#"{"Bucket":"b","Key":"y"}"#).as_deref(), Ok("[1]"));
        assert!(get(object, r#"{"Bucket":"b","Key":"z"}"#).is_err());
        assert!(get(object, r#"{"Bucket":"c","Key":"y"}"#).is_err());
        let listing = get("arn:aws:states:::s3:listObjectsV2", r#"{"Bucket":"b","Prefix":"x/"}"#).unwrap();
        let listing = value(&listing);
        assert_eq!(listing.pointer("/Contents/0/Key").and_then(Value::as_str), Some("x/1"));
        assert_eq!(listing.pointer("/Contents/1/LastModified").and_then(Value::as_i64), Some(5));
        assert_eq!(listing.pointer("/Contents/2"), None);
    }
}
