//! What a source asks for, and which items it gives.

use super::*;

fn value(text: &str) -> Value {
    Value::parse(text.as_bytes(), JsonLimits::default()).unwrap()
}

fn source(dataset: Dataset, parameters: &str, most: u64) -> Source {
    let resource = Str::from("arn:aws:states:::s3:anything");
    let reader = ItemReader { resource, parameters: None, dataset, max_items: None };
    Source::of_reader(&reader, value(parameters), most)
}

/// All that the source gives, reads with their answers among it.
fn told(mut source: Source, objects: &[(&str, &str)]) -> Result<Vec<String>, ReadError> {
    let mut told = Vec::new();
    loop {
        match source.advance()? {
            Next::Item(Item { key: Some(key), value, .. }) => told.push(format!("{key}={value}")),
            Next::Item(Item { value, source, .. }) => told.push(format!("{value} of {source}")),
            Next::Read(Read { resource, parameters }) => {
                let asked = format!("{} {parameters}", resource.rsplit(':').next().unwrap());
                let found = objects.iter().find(|(name, _)| asked == *name);
                let body = found.unwrap_or_else(|| panic!("nobody expects {asked}")).1;
                assert_eq!(source.advance(), Ok(Next::Waiting));
                source.answer(Bytes::from(body.to_owned()))?;
            }
            Next::Waiting => panic!("nothing was asked for"),
            Next::End => return Ok(told),
        }
    }
}

const JSON: Format = Format::Json { pointer: None };

#[test]
fn an_array_gives_its_items_and_an_object_its_members() {
    let array = Source::of_data(value("[7,8]")).unwrap();
    assert_eq!(array.total(), Some(2));
    assert_eq!(told(array, &[]).unwrap(), ["7 of STATE_DATA", "8 of STATE_DATA"]);
    assert_eq!(told(Source::of_data(value(r#"{"a":1,"b":2}"#)).unwrap(), &[]).unwrap(), ["a=1", "b=2"]);
    assert!(Source::of_data(value("7")).is_none());
}

#[test]
fn an_object_is_read_once_and_gives_no_more_items_than_wanted() {
    let objects = [(r#"getObject {"Bucket":"b","Key":"k"}"#, "[1,2,3]")];
    let parameters = r#"{"Bucket":"b","Key":"k"}"#;
    let two = told(source(Dataset::Object(JSON), parameters, 2), &objects).unwrap();
    assert_eq!(two, ["1 of S3://b/k", "2 of S3://b/k"]);
    assert_eq!(told(source(Dataset::Object(JSON), parameters, 0), &objects).unwrap().len(), 3);
}

#[test]
fn the_total_is_known_when_the_last_item_was_given() {
    let mut source = source(Dataset::Object(JSON), "{}", 0);
    assert!(matches!(source.advance(), Ok(Next::Read(_))));
    source.answer(Bytes::from_static(b"[1]")).unwrap();
    assert!(matches!(source.advance(), Ok(Next::Item(_))) && source.total().is_none());
    assert_eq!((source.advance(), source.total()), (Ok(Next::End), Some(1)));
}

#[test]
fn a_listing_gives_its_entries_page_by_page() {
    let objects = [
        (
            r#"listObjectsV2 {"Bucket":"b"}"#,
            r#"{"Contents":[{"Key":"x","ETag":"e","Size":1,"Owner":0}],"NextContinuationToken":"t"}"#,
        ),
        (r#"listObjectsV2 {"Bucket":"b","ContinuationToken":"t"}"#, r#"{"Contents":[{"Key":"y"}]}"#),
    ];
    let entries = told(source(Dataset::Listing, r#"{"Bucket":"b"}"#, 0), &objects).unwrap();
    assert_eq!(entries, [r#"{"Etag":"e","Key":"x","Size":1} of S3://b"#, r#"{"Key":"y"} of S3://b"#]);
}

#[test]
fn a_listing_that_never_ends_is_given_up() {
    let page = Bytes::from_static(br#"{"Contents":[],"NextContinuationToken":"t"}"#);
    for dataset in [Dataset::Listing, Dataset::Listed(JSON)] {
        let mut source = source(dataset, r#"{"Bucket":"b"}"#, 0);
        source.pages = PAGES_MAX - 2;
        let mut read = 0;
        let end = loop {
            assert!(matches!(source.advance(), Ok(Next::Read(_))), "an empty page has no items");
            if let Err(end) = source.answer(page.clone()) {
                break end;
            }
            read += 1;
        };
        assert_eq!(end, ReadError::TooMany { what: "pages of a listing", most: PAGES_MAX });
        assert_eq!(read, 2);
    }
}

#[test]
fn a_page_and_a_manifest_are_no_longer_than_they_may_be() {
    for (dataset, bytes) in [(Dataset::Listing, PAGE_BYTES_MAX), (Dataset::Inventory, MANIFEST_BYTES_MAX)] {
        let mut source = source(dataset, "{}", 0);
        assert!(matches!(source.advance(), Ok(Next::Read(_))));
        let refused = source.answer(Bytes::from(vec![b' '; bytes + 1]));
        assert!(matches!(refused, Err(ReadError::TooLong { bytes: most, .. }) if most == bytes));
    }
}

#[test]
fn load_and_flatten_gives_the_items_of_all_listed_objects() {
    let objects = [
        (r#"listObjectsV2 {"Bucket":"b"}"#, r#"{"Contents":[{"Key":"f/"},{"Key":"f/1"},{"Key":"f/2"}]}"#),
        (r#"getObject {"Bucket":"b","Key":"f/1"}"#, "[1]"),
        (r#"getObject {"Bucket":"b","Key":"f/2"}"#, "[2,3]"),
    ];
    let items = told(source(Dataset::Listed(JSON), r#"{"Bucket":"b"}"#, 0), &objects).unwrap();
    assert_eq!(items, ["1 of S3://b/f/1", "2 of S3://b/f/2", "3 of S3://b/f/2"]);
}

#[test]
fn an_inventory_gives_the_rows_of_its_files() {
    let objects = [
        (
            r#"getObject {"Bucket":"b","Key":"manifest.json"}"#,
            r#"{"destinationBucket":"arn:aws:s3:::inv","fileFormat":"CSV","fileSchema":"Bucket, Key",
                "files":[{"key":"d/1.csv"}]}"#,
        ),
        (r#"getObject {"Bucket":"inv","Key":"d/1.csv"}"#, "\"b\",\"x\"\n\"b\",\"y\"\n"),
    ];
    let parameters = r#"{"Bucket":"b","Key":"manifest.json"}"#;
    let rows = told(source(Dataset::Inventory, parameters, 0), &objects).unwrap();
    assert_eq!(
        rows,
        [
            r#"{"Bucket":"b","Key":"x"} of S3://inv/d/1.csv"#,
            r#"{"Bucket":"b","Key":"y"} of S3://inv/d/1.csv"#
        ]
    );
}

#[test]
fn an_athena_manifest_gives_the_items_of_its_files() {
    let objects = [
        (r#"getObject {"Bucket":"b","Key":"m.csv"}"#, "s3://b/o/1\n\ns3://c/o/2\n"),
        (r#"getObject {"Bucket":"b","Key":"o/1"}"#, "{\"n\":1}\n"),
        (r#"getObject {"Bucket":"c","Key":"o/2"}"#, ""),
    ];
    let dataset = Dataset::Athena(Format::JsonLines);
    let items = told(source(dataset, r#"{"Bucket":"b","Key":"m.csv"}"#, 0), &objects).unwrap();
    assert_eq!(items, [r#"{"n":1} of S3://b/o/1"#]);
}

#[test]
fn what_is_no_listing_and_no_manifest_is_refused() {
    let refused = |dataset, asked: &str, body| {
        let answer = told(source(dataset, "{}", 0), &[(asked, body)]);
        assert!(matches!(answer, Err(ReadError::Malformed { .. })), "{body}: {answer:?}");
    };
    refused(Dataset::Listing, "listObjectsV2 {}", r#"{"Contents":1}"#);
    refused(Dataset::Listing, "listObjectsV2 {}", "<xml/>");
    refused(Dataset::Inventory, "getObject {}", r#"{"files":[]}"#);
    refused(Dataset::Inventory, "getObject {}", r#"{"fileSchema":"a","destinationBucket":"b","files":[{}]}"#);
    refused(Dataset::Athena(JSON), "getObject {}", "http://b/k");
}
