//! A command line that clap refuses. It is reported like every other failure: one cause, one next step.

use clap::error::{Error, ErrorKind};

use super::args::Cli;
use crate::app::outcome::Failure;

/// What is wrong with the command line, and where its use is explained. `command` is its first word.
pub(super) fn failure(error: &Error, command: Option<&str>) -> Failure {
    let known = command.filter(|name| Cli::reviewed_command().find_subcommand(name).is_some());
    let next = match known {
        Some(name) => format!("p2pcopy {name} --help lists what it takes"),
        None => "run p2pcopy sender FILE on one computer and p2pcopy receiver on the other; p2pcopy --help tells more".into(),
    };
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Failure::usage("no command was given", next);
    }
    // The message has paragraphs: the cause, perhaps with a list below it, then a tip, the usage and a
    // pointer to the help.
    let told = error.to_string();
    let mut paragraphs = told
        .split("\n\n")
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    let cause = paragraphs.next().unwrap_or_default();
    let tip = paragraphs.find_map(|paragraph| paragraph.strip_prefix("tip: ").map(str::to_owned));
    Failure::usage(
        cause.strip_prefix("error: ").unwrap_or(&cause),
        tip.map_or(next.clone(), |tip| format!("{tip}; {next}")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(arguments: &[&str]) -> [String; 2] {
        let all = [&["p2pcopy"], arguments].concat();
        let error = Cli::from_arguments(all.into_iter().map(Into::into)).expect_err("it cannot be meant");
        let failure = failure(&error, arguments.first().copied());
        [failure.to_string(), failure.next_step().to_owned()]
    }

    #[test]
    fn the_cause_and_the_tip_are_kept_and_the_help_is_named() {
        let [cause, next] = told(&["sender", "--fil", "x"]);
        assert_eq!(cause, "unexpected argument '--fil' found");
        assert!(
            next.contains("'--file'") && next.ends_with("p2pcopy sender --help lists what it takes"),
            "{next}"
        );
        let [cause, next] = told(&["receiver", "--limit", "fast"]);
        assert!(cause.contains("'fast' is not a rate: write 20mbit"), "{cause}");
        assert_eq!(next, "p2pcopy receiver --help lists what it takes");
        let [cause, _] = told(&["receiver", "--limit", "-5MB/s"]);
        assert!(cause.contains("'-5MB/s' is not a rate: write 20mbit"), "{cause}");
        let [cause, next] = told(&["copy"]);
        assert!(
            cause.contains("'copy'") && next.contains("p2pcopy --help"),
            "{cause} {next}"
        );
        for arguments in [&["sender", "--text", "a", "b"][..], &["check", "--ttl"], &[]] {
            let lines = told(arguments);
            assert!(
                lines.iter().all(|line| !line.is_empty() && !line.contains('\n')),
                "{lines:?}"
            );
        }
    }
}
