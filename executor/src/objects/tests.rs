//! Objects in a real folder: what is read, listed and written, and what is refused.

use std::os::unix::fs::symlink;

use tempfile::TempDir;

use asl::value::Map;

use super::*;

const GET: &str = "arn:aws:states:::s3:getObject";
const LIST: &str = "arn:aws:states:::s3:listObjectsV2";

/// A folder with a bucket `b` that has these files.
fn folder(files: &[&str]) -> (TempDir, Objects) {
    let root = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(root.path().join("b")).expect("a bucket");
    for file in files {
        let path = root.path().join("b").join(file);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        std::fs::write(path, file).expect("a file");
    }
    let objects = Objects::open(root.path()).expect("a folder");
    (root, objects)
}

fn get(objects: &Objects, key: &str) -> Result<String, String> {
    let parameters = Value::object([("Bucket", Value::from("b")), ("Key", Value::from(key))]);
    read(objects, GET, &parameters.to_json_string())
}

fn read(objects: &Objects, resource: &str, parameters: &str) -> Result<String, String> {
    let body = objects.read(resource, parameters.as_bytes()).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(body.to_vec()).expect("UTF-8"))
}

/// The keys of all pages, and how many pages there are.
fn keys(objects: &Objects, parameters: &[(&str, Value)]) -> (Vec<String>, usize) {
    let (mut keys, mut pages, mut token) = (Vec::new(), 0, None::<Value>);
    loop {
        let mut asked: Map = [(Str::from("Bucket"), Value::from("b"))].into_iter().collect();
        parameters.iter().for_each(|(name, value)| drop(asked.insert(*name, value.clone())));
        token.take().map(|token| asked.insert("ContinuationToken", token));
        let page = read(objects, LIST, &Value::from(asked).to_json_string()).expect("a page");
        let page = Value::parse(page.as_bytes(), LIMITS).expect("JSON");
        let entries = page.get("Contents").and_then(Value::as_array).expect("entries");
        let key = |entry: &Value| entry.get("Key").and_then(Value::as_str).expect("a key").to_owned();
        assert_eq!(page.get("KeyCount").and_then(Value::as_u64), Some(entries.len() as u64));
        keys.extend(entries.iter().map(key));
        pages += 1;
        token = page.get("NextContinuationToken").cloned();
        assert_eq!(page.get("IsTruncated").and_then(Value::as_bool), Some(token.is_some()));
        if token.is_none() {
            return (keys, pages);
        }
    }
}

const LIMITS: JsonLimits = JsonLimits { depth: JsonLimits::DEPTH, bytes: 4 << 20 };

fn object(key: &str, body: &str) -> ResultObject {
    ResultObject { key: key.into(), body: Bytes::copy_from_slice(body.as_bytes()) }
}

#[test]
fn an_object_is_the_file_below_its_bucket() {
    let (_root, objects) = folder(&["a.csv", "x/y/z"]);
    assert_eq!(get(&objects, "a.csv").as_deref(), Ok("a.csv"));
    assert_eq!(get(&objects, "x/y/z").as_deref(), Ok("x/y/z"));
}

#[test]
fn what_is_missing_is_named() {
    let (_root, objects) = folder(&["a"]);
    for key in ["c", "x/c", "a/c"] {
        let cause = get(&objects, key).expect_err(key);
        assert!(cause.starts_with("The specified key does not exist") && cause.contains(key), "{cause}");
    }
    let cause = read(&objects, GET, r#"{"Bucket":"no","Key":"a"}"#).expect_err("no bucket");
    assert!(cause.starts_with("The specified bucket does not exist") && cause.contains("'no'"), "{cause}");
    assert!(get(&objects, "").is_err());
    let folder = get(&folder(&["x/y"]).1, "x").expect_err("a folder");
    assert!(folder.contains("'b/x' is no regular file"), "{folder}");
}

#[test]
fn names_that_lead_elsewhere_are_refused_for_reading_and_writing() {
    let (root, objects) = folder(&["a"]);
    std::fs::write(root.path().join("outside"), "secret").expect("a file");
    let long = "k".repeat(1_025);
    let names = [
        "../outside",
        "x/../../outside",
        "..",
        ".",
        "./a",
        "/a",
        "/etc/passwd",
        "x//a",
        "a/",
        "a\0b",
        &long,
        ".myriad-1",
    ];
    for key in names {
        let cause = get(&objects, key).expect_err(key);
        assert!(cause.contains("cannot be the name of a file") && cause.len() < 500, "{cause}");
        let written = objects.write("b", &[object(key, "evil")]).expect_err(key);
        assert!(matches!(written, ObjectError::Name { .. }), "{written}");
    }
    for bucket in ["..", ".", "", "b/x", "/", "b\0"] {
        let parameters = Value::object([("Bucket", Value::from(bucket)), ("Key", Value::from("a"))]);
        for resource in [GET, LIST] {
            let mut parameters = parameters.as_object().expect("an object").clone();
            if resource == LIST {
                parameters = [(Str::from("Bucket"), Value::from(bucket))].into_iter().collect();
            }
            let cause =
                read(&objects, resource, &Value::from(parameters).to_json_string()).expect_err(bucket);
            assert!(cause.contains("cannot be the name of a file"), "{cause}");
        }
        assert!(objects.write(bucket, &[object("a", "evil")]).is_err());
    }
    assert_eq!(std::fs::read_to_string(root.path().join("outside")).expect("a file"), "secret");
}

#[test]
fn no_symbolic_link_is_followed() {
    let (root, objects) = folder(&["real/a"]);
    let outside = tempfile::tempdir().expect("a directory");
    std::fs::write(outside.path().join("secret"), "secret").expect("a file");
    let bucket = root.path().join("b");
    symlink(outside.path(), bucket.join("out")).expect("a link");
    symlink(outside.path().join("secret"), bucket.join("file")).expect("a link");
    symlink("real", bucket.join("inside")).expect("a link");
    symlink(outside.path(), root.path().join("linked")).expect("a link");
    for key in ["out/secret", "file", "inside/a"] {
        let cause = get(&objects, key).expect_err(key);
        assert!(cause.contains("is a symbolic link"), "{cause}");
    }
    let cause = read(&objects, GET, r#"{"Bucket":"linked","Key":"secret"}"#).expect_err("a link");
    assert!(cause.contains("'linked' is a symbolic link"), "{cause}");
    let written = objects.write("b", &[object("out/new", "evil")]).expect_err("a link");
    assert!(matches!(written, ObjectError::Link(_)), "{written}");
    assert!(!outside.path().join("new").exists());
    // A link in the place of the file is replaced, not followed.
    objects.write("b", &[object("file", "new")]).expect("written");
    assert_eq!(std::fs::read_to_string(outside.path().join("secret")).expect("a file"), "secret");
    assert_eq!(get(&objects, "file").as_deref(), Ok("new"));
    assert_eq!(keys(&objects, &[]).0, ["file", "real/a"], "links are no objects");
}

#[test]
fn an_object_beyond_its_bound_is_refused_before_it_is_read() {
    let (root, objects) = folder(&[]);
    let file = File::create(root.path().join("b/large")).expect("a file");
    file.set_len(OBJECT_BYTES_MAX as u64 + 1).expect("a sparse file");
    let cause = get(&objects, "large").expect_err("too long");
    assert!(cause.contains("67108865 bytes; at most 67108864 are read"), "{cause}");
    file.set_len(1 << 40).expect("a sparse file");
    assert!(get(&objects, "large").is_err());
}

#[test]
fn keys_are_listed_in_the_order_of_their_bytes_at_any_depth() {
    let files = ["a/b", "a.txt", "a/b.txt", "a-b/c", "ab", "a0", "a/c/d", "b", "Z"];
    let (root, objects) = folder(&files);
    std::fs::create_dir(root.path().join("b/empty")).expect("a folder");
    std::fs::write(root.path().join("b/.myriad-0"), "unfinished").expect("a file");
    let mut expected = files.map(str::to_owned).to_vec();
    expected.sort_unstable();
    for most in 1..=files.len() as u64 + 1 {
        let (keys, pages) = keys(&objects, &[("MaxKeys", Value::from(most))]);
        assert_eq!(keys, expected, "pages of {most}");
        assert_eq!(pages as u64, (files.len() as u64).div_ceil(most), "pages of {most}");
    }
    for prefix in ["a", "a/", "a/b", "a/c/", "a-", "b/", "nothing", "Z"] {
        let below: Vec<_> = expected.iter().filter(|key| key.starts_with(prefix)).cloned().collect();
        assert_eq!(
            keys(&objects, &[("Prefix", prefix.into()), ("MaxKeys", Value::from(2_u64))]).0,
            below,
            "{prefix}"
        );
    }
    assert_eq!(keys(&objects, &[("StartAfter", "a/b".into())]).0, expected[4..]);
}

#[test]
fn a_page_has_a_thousand_keys_at_most_and_a_bounded_length() {
    let (root, objects) = folder(&[]);
    let long = |letter: &str| letter.repeat(240);
    let deep = root.path().join("b").join(long("d")).join(long("e")).join(long("f")).join(long("g"));
    std::fs::create_dir_all(&deep).expect("folders");
    for number in 0..1_001 {
        std::fs::write(root.path().join(format!("b/{number:04}")), "").expect("a file");
        std::fs::write(deep.join(format!("{number:04}")), "").expect("a file");
    }
    let (short, pages) = keys(&objects, &[("Prefix", "0".into())]);
    assert_eq!((short.len(), pages), (1_000, 1));
    let (all, pages) = keys(&objects, &[("MaxKeys", Value::from(5_000_u64))]);
    assert_eq!(all.len(), 2_002);
    assert!(all.is_sorted() && pages > 3, "long keys make shorter pages: {pages}");
}

#[test]
fn an_entry_tells_size_time_and_a_tag_that_changes_with_them() {
    let (root, objects) = folder(&["a"]);
    let entry = || {
        let page = read(&objects, LIST, r#"{"Bucket":"b"}"#).expect("a page");
        Value::parse(page.as_bytes(), LIMITS).expect("JSON").pointer("/Contents/0").expect("an entry").clone()
    };
    let before = entry();
    assert_eq!(before.get("Size").and_then(Value::as_u64), Some(1));
    assert!(
        before.get("LastModified").and_then(Value::as_i64).is_some_and(|seconds| seconds > 1_600_000_000)
    );
    std::fs::write(root.path().join("b/a"), "longer").expect("a file");
    assert_ne!(entry().get("ETag"), before.get("ETag"));
}

#[test]
fn what_is_written_is_there_as_a_whole_and_leaves_nothing_beside_it() {
    let (root, objects) = folder(&["old"]);
    let objects_written =
        [object("run/1/SUCCEEDED_0.json", "[1]"), object("run/1/manifest.json", "{}"), object("old", "new")];
    objects.write("b", &objects_written).expect("written");
    assert_eq!(get(&objects, "run/1/SUCCEEDED_0.json").as_deref(), Ok("[1]"));
    assert_eq!(get(&objects, "old").as_deref(), Ok("new"));
    let left = std::fs::read_dir(root.path().join("b/run/1")).expect("a folder").count();
    assert_eq!(left, 2);
    let absent = objects.write("absent", &[object("a", "")]).expect_err("no bucket");
    assert!(matches!(absent, ObjectError::NoBucket(_)), "{absent}");
    let taken = objects.write("b", &[object("run/1", "")]).expect_err("a folder");
    assert!(taken.to_string().starts_with("'b/run/1' cannot be written"), "{taken}");
    assert_eq!(
        std::fs::read_dir(root.path().join("b/run")).expect("a folder").count(),
        1,
        "it leaves nothing"
    );
    let through = objects.write("b", &[object("old/a", "")]).expect_err("a file");
    assert!(through.to_string().contains("b/old"), "{through}");
}

#[test]
fn what_is_not_served_is_refused_rather_than_passed_over() {
    let (_root, objects) = folder(&["a"]);
    for (resource, parameters, part) in [
        (GET, r#"{"Bucket":"b","Key":"a","VersionId":"1"}"#, "VersionId of getObject"),
        (LIST, r#"{"Bucket":"b","Delimiter":"/"}"#, "Delimiter of listObjectsV2"),
        (LIST, r#"{"Bucket":"b","MaxKeys":-1}"#, "MaxKeys must be a number"),
        (LIST, r#"{"Bucket":"b","Prefix":7}"#, "Prefix must be a text"),
        (GET, r#"{"Bucket":"b"}"#, "Key must be a text"),
        ("arn:aws:states:::s3:headObject", "{}", "s3:headObject"),
    ] {
        let cause = read(&objects, resource, parameters).expect_err(parameters);
        assert!(cause.contains(part), "{cause}");
    }
}
