//! Diagnostics as people see them.

use asl::Dialect;
use asl::definition::{MachineType, Style, render};

use crate::check::compile;

#[test]
fn diagnostics_are_drawn_under_their_source() {
    let text = "{\n  \"StartAt\": \"\u{5f00}\u{59cb}\",\n  \"States\": {\n    \"\u{5f00}\u{59cb}\": \
    {\"Type\": \"Pass\", \"Next\": \"\u{7ed3}\u{675f}\"},\n    \
                \"Z\": {\"Type\": \"Succeed\"}\n  }\n}\n";
    let found = compile(text, Dialect::Tcsl, MachineType::Standard);
    let drawn = render(text.as_bytes(), &found, "flow.json", Style::Plain);
    let expected = "\
error[MISSING_TRANSITION_TARGET]: Missing 'Next' target: \u{7ed3}\u{675f}
 --> flow.json:4:36
  |
4 |     \"\u{5f00}\u{59cb}\": {\"Type\": \"Pass\", \"Next\": \"\u{7ed3}\u{675f}\"},
  |                                      ^^^^^^ /States/\u{5f00}\u{59cb}/Next

warning[MISSING_TRANSITION_TARGET]: State \"Z\" is not reachable.
 --> flow.json:5:5
  |
5 |     \"Z\": {\"Type\": \"Succeed\"}
  |     ^^^ /States/Z

1 error, 1 warning
";
    assert_eq!(drawn, expected);
    let colour = render(text.as_bytes(), &found, "flow.json", Style::Colour);
    assert!(colour.contains("\u{1b}[1;31m^^^^^^\u{1b}[0m"));
}

#[test]
fn a_long_line_is_cut_around_the_place() {
    let text = format!("{{\"Comment\":\"{}\",\"StartAt\":\"S\",\"States\":{{}}}}", "x".repeat(5_000));
    let found = compile(&text, Dialect::Asl, MachineType::Standard);
    let drawn = render(text.as_bytes(), &found, "f", Style::Plain);
    assert!(drawn.lines().all(|line| line.chars().count() < 150), "{drawn}");
    let source = drawn.lines().nth(3).expect("a source line");
    let carets = drawn.lines().nth(4).expect("a caret line");
    let under: String =
        source.chars().skip(carets.find('^').expect("carets")).take("\"States\"".len()).collect();
    assert_eq!(under, "\"States\"");
}

#[test]
fn nothing_of_a_definition_reaches_the_terminal_as_a_control_character() {
    let text = "{\"StartAt\":\"\u{9b}31m\",\"States\":{\"\\u001b[31m\":{\"Type\":\"Succeed\"}}}";
    let found = compile(text, Dialect::Asl, MachineType::Standard);
    let drawn = render(text.as_bytes(), &found, "a\u{1b}b", Style::Plain);
    assert!(!drawn.chars().any(|c| c.is_control() && c != '\n'), "{drawn:?}");
}

#[test]
fn long_names_paths_and_functions_do_not_flood_the_terminal() {
    let long = "x".repeat(200_000);
    for text in [
        format!("{{\"StartAt\":\"S\",\"States\":{{\"S\":{{\"Type\":\"Pass\",\"Next\":\"{long}\"}}}}}}"),
        format!("{{\"StartAt\":\"{long}\",\"States\":{{\"{long}\":{{\"Type\":\"Pass\",\"Nxt\":1}}}}}}"),
        format!(
            "{{\"StartAt\":\"S\",\"States\":{{\"S\":{{\"Type\":\"Succeed\",\"InputPath\":\"$.{long}[\"}}}}}}"
        ),
    ] {
        let found = compile(&text, Dialect::Asl, MachineType::Standard);
        let drawn = render(text.as_bytes(), &found, "f", Style::Plain);
        assert!(!found.is_empty() && drawn.lines().all(|line| line.chars().count() < 800), "{}", drawn.len());
    }
}
