//! What every command line of ours keeps to.

use clap::Command;

/// The longest line of a manual: as much as is shown where the terminal is unknown.
const LINE_CHARS_MAX: usize = 100;

/// What is wrong with the manual of a command line: lines that would be broken, options that are not explained. Panics
/// where the command line contradicts itself, as `clap` does.
#[must_use]
pub fn faults(command: &Command) -> Vec<String> {
    command.clone().debug_assert();
    let mut faults = Vec::new();
    for one in command.get_subcommands().chain([command]) {
        let manual = one.get_after_help().map(ToString::to_string).unwrap_or_default();
        let long = manual.lines().filter(|line| line.chars().count() > LINE_CHARS_MAX);
        faults.extend(long.map(|line| format!("{}: too long: {line}", one.get_name())));
        let options = one.get_arguments().filter(|option| option.get_id() != "help");
        let bare = options.filter(|option| option.get_help().is_none_or(|help| help.to_string().is_empty()));
        faults.extend(bare.map(|option| format!("{}: no help: {}", one.get_name(), option.get_id())));
    }
    faults
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command};

    use super::*;

    #[test]
    fn long_lines_and_options_without_help_are_found() {
        let bad = Command::new("a").arg(Arg::new("quiet").long("quiet"));
        let bad = bad.subcommand(Command::new("b").after_help("x".repeat(101)));
        assert_eq!(faults(&bad).len(), 2, "{:?}", faults(&bad));
        let good = Command::new("a").arg(Arg::new("quiet").long("quiet").help("Say nothing"));
        assert_eq!(faults(&good.after_help("x".repeat(100))), Vec::<String>::new());
    }
}
