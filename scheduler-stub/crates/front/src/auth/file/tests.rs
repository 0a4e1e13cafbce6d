//! What a credentials file may hold, and what is told of one that is wrong.

use super::*;

const SECRET: &str = "made-up-secret-0123456789";

fn written(folder: &tempfile::TempDir, text: &str) -> PathBuf {
    let path = folder.path().join("credentials.toml");
    std::fs::write(&path, text).expect("written");
    path
}

fn read_text(text: &str) -> Result<Ring, Error> {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("secret"), format!("{SECRET}\r\n")).expect("written");
    std::fs::write(folder.path().join("empty"), "\n").expect("written");
    read(&written(&folder, text))
}

/// A key with other lines instead of those of the same name, and with more.
fn with(lines: &str) -> String {
    let secret = format!("secret = '{SECRET}'");
    let usual = ["id = 'AKIA1'", &secret, "account = '123456789012'"];
    let begins =
        |usual: &str| lines.lines().any(|line| line.starts_with(usual.split(' ').next().unwrap_or("")));
    let kept: Vec<&str> = usual.into_iter().filter(|usual| !begins(usual)).collect();
    let grant = if lines.contains("grant") { "" } else { "[[key.grant]]\nrights = ['read']\n" };
    format!("[[key]]\n{}\n{lines}\n{grant}", kept.join("\n"))
}

#[test]
fn a_whole_file_is_read() {
    let text = format!(
        "[[key]]\nid = 'AKIA1'\nsecret = {{ file = 'secret' }}\naccount = '123456789012'\napis = ['asw']\n\
         token = 'tokenized=='\nexpires = 2027-01-31T01:00:00+01:00\nrate = 100\nonce = true\nask = true\n\
         [[key.grant]]\nrights = ['read', 'start']\nmachines = ['orders-*', 'bill']\n\
         [[key.grant]]\nrights = ['manage']\n{}",
        with("id = 'AKID_2-x.y'")
    );
    let ring = read_text(&text).expect("a file");
    let key = ring.get("AKIA1").expect("a key");
    assert_eq!((key.secret.as_str(), &*key.account, &key.apis), (SECRET, "123456789012", &vec![Api::Asw]));
    assert!(key.token == Some(TokenHash::of("tokenized==")) && key.once && key.ask && ring.asks());
    assert_eq!(key.expires, Some(1_801_353_600), "2027-01-31T00:00:00Z");
    assert_eq!(key.rate.as_ref().map(|rate| rate.per_second()), Some(100));
    assert!(key.may(Right::Start, Some("orders-1")) && !key.may(Right::Start, Some("x")));
    assert!(key.may(Right::Manage, None), "a grant that names no machines is one on all");
    let other = ring.get("AKID_2-x.y").expect("a key");
    assert_eq!((other.apis.len(), other.expires, other.once, other.ask), (2, None, false, false));
    assert_eq!(ring.len(), 2);
}

#[test]
fn what_is_wrong_is_told_with_line_and_column_and_what_to_do() {
    for (lines, place, part) in [
        ("id = ''", "line 4, column 6", "AccessKeyId"),
        ("id = 'a/b'", "line 4, column 6", "AccessKeyId"),
        ("account = '12-34'", "line 4, column 11", "write digits"),
        ("account = 1234", "line 4, column 11", "expected a string"),
        ("secret = 'short'", "line 4, column 10", "too short"),
        ("secret = 'with blanks in it, and long'", "line 4, column 10", "no blanks"),
        ("secret = { file = 'empty' }", "line 4, column 10", "holds no secret"),
        ("secret = { env = 'MYRIAD_NO_SUCH_VARIABLE' }", "line 4, column 10", "is not set"),
        ("secret = { fiel = 'x' }", "line 4, column 10", "{ file = \"PATH\" }"),
        ("apis = []", "line 5, column 8", "names none"),
        ("apis = ['sfn', 'states']", "line 5, column 16", "\"asw\""),
        ("expires = 2027-01-31", "line 5, column 11", "2027-01-31T00:00:00Z"),
        ("expires = 2027-01-31T00:00:00", "line 5, column 11", "2027-01-31T00:00:00Z"),
        ("rate = 0", "line 5, column 8", "calls a second"),
        ("rate = 5000000000", "line 5, column 8", "calls a second"),
        ("onec = true", "line 5, column 1", "onec"),
        ("[[key.grant]]\nrights = ['write']", "line 6, column 11", "\"manage\""),
        ("[[key.grant]]\nrights = []", "line 6, column 10", "names none"),
        ("[[key.grant]]\nrights = ['read']\nmachines = []", "line 7, column 12", "for all"),
        ("[[key.grant]]\nrights = ['read']\nmachines = ['']", "line 7, column 13", "not empty"),
        ("[[key.grant]]\nrights = ['read']\nmachines = ['arn:aws:x']", "line 7, column 13", "not its ARN"),
        ("[[key.grant]]\nmachines = ['a']", "line 5, column 1", "missing field `rights`"),
        ("grant = []", "line 2, column 6", "it may nothing"),
    ] {
        let error = read_text(&with(lines)).expect_err(lines);
        let told = error.to_string();
        assert!(matches!(error, Error::Credentials { .. }), "{told}");
        assert!(
            told.contains(place) && told.contains(part) && told.contains("credentials.toml"),
            "{lines}: {told}"
        );
    }
    let twice = read_text(&format!("{}{}", with(""), with(""))).expect_err("twice").to_string();
    assert!(twice.contains("line 9, column 6: key 2") && twice.contains("line 2, column 6"), "{twice}");
    let none = read_text("").expect_err("no key").to_string();
    assert!(none.contains("no key"), "{none}");
}

#[test]
fn a_file_that_is_not_there_may_be_there_later() {
    let error = read_text(&with("secret = { file = '/no/such' }")).expect_err("no file");
    let told = error.to_string();
    assert!(told.contains("line 4, column 10") && told.contains("/no/such"), "{told}");
    assert!(matches!(error, Error::CredentialsUnreadable { .. }));
    let error = read(Path::new("/no/such")).expect_err("no file");
    assert!(matches!(error, Error::CredentialsUnreadable { .. }), "{error}");
}

#[test]
fn a_file_that_is_too_long_is_not_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = written(&folder, &"#".repeat(usize::try_from(FILE_BYTES_MAX).expect("small") + 1));
    let told = read(&path).expect_err("too long").to_string();
    assert!(told.contains("at most 4194304"), "{told}");
}

#[test]
fn a_secret_shows_in_no_message_wherever_somebody_has_written_it() {
    for text in [
        with("secret = 'hunter2'"),
        with("secret = { file = { x = 'hunter2' } }"),
        with("secret = ['hunter2']"),
        with("account = 'hunter2'"),
        with("id = 'hunter2/'"),
        with("once = 'hunter2'"),
        with("rate = 'hunter2'"),
        with("expires = 'hunter2'"),
        with("apis = 'hunter2'"),
        with("apis = ['hunter2']"),
        with("grant = 'hunter2'"),
        with("token = 'hunter2 and more'"),
        with("secret = \"hunter2\\q\""),
        with("secret = \"hunter2"),
        "key = 'hunter2'".to_owned(),
        "hunter2 hunter2".to_owned(),
    ] {
        let error = read_text(&text).expect_err(&text);
        let told = format!("{error} {error:?}");
        assert!(!told.contains("hunter2"), "{text}: {told}");
    }
}
