//! The man page and the shell completions, generated from clap's description of the command line.

use std::io::{self, Write};

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::args::Cli;

/// Writes a completion script for a shell.
pub(super) fn write_completions(shell: Shell, out: &mut dyn Write) -> io::Result<()> {
    // The generators panic if writing fails, so they write to memory.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::reviewed_command(), "p2pcopy", &mut script);
    out.write_all(&script)
}

/// Writes p2pcopy(1): one page with a section for each command. Options that commands share are listed once.
pub(super) fn write_man_page(out: &mut dyn Write) -> io::Result<()> {
    let mut program = Cli::reviewed_command();
    program.build();
    let page = Man::new(program.clone());
    page.render_title(out)?;
    page.render_name_section(out)?;
    write_heading("SYNOPSIS", out)?;
    for command in commands(&program) {
        write_usage(command.clone(), out)?;
    }
    page.render_description_section(out)?;
    write_literal(program.get_after_help(), out)?;
    for command in commands(&program) {
        write_heading(&command.get_name().to_uppercase(), out)?;
        write_command(command, out)?;
    }
    if let Some(sender) = program.find_subcommand("sender") {
        write_options(&only(sender, Options::Shared), out)?;
    }
    page.render_version_section(out)
}

/// The program's commands, in the order of the help.
fn commands(program: &Command) -> Vec<&Command> {
    let mut commands: Vec<&Command> = program
        .get_subcommands()
        .filter(|command| command.get_name() != "help")
        .collect();
    commands.sort_by_key(|command| command.get_display_order());
    commands
}

fn write_command(command: &Command, out: &mut dyn Write) -> io::Result<()> {
    if let Some(about) = command.get_about() {
        let mut text = Roff::new();
        text.text([roman(about.to_string())]);
        text.to_writer(out)?;
    }
    write_options(&only(command, Options::Own), out)?;
    write_literal(command.get_after_help(), out)
}

/// Which options of a command to show: common options have a heading in the help.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Options {
    Own,
    Shared,
}

/// The command with some of its options hidden, and without the headings of the page's main sections.
fn only(command: &Command, which: Options) -> Command {
    command.clone().mut_args(|argument| {
        let shared = argument.get_help_heading().is_some();
        let hidden =
            argument.is_hide_set() || shared != (which == Options::Shared) || argument.get_id() == "help";
        argument.hide(hidden)
    })
}

/// Writes options and arguments. clap_mangen begins them with a main heading; here it becomes a second-level
/// heading or none.
fn write_options(command: &Command, out: &mut dyn Write) -> io::Result<()> {
    let mut text = Vec::new();
    Man::new(command.clone()).render_options_section(&mut text)?;
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        if !line.starts_with(b".SH OPTIONS") {
            out.write_all(line)?;
        }
    }
    Ok(())
}

fn write_heading(name: &str, out: &mut dyn Write) -> io::Result<()> {
    let mut text = Roff::new();
    text.control("SH", [name]);
    text.to_writer(out)
}

/// Writes the usage in one line, as in the help.
fn write_usage(mut command: Command, out: &mut dyn Write) -> io::Result<()> {
    let usage = command.render_usage().to_string();
    let mut text = Roff::new();
    text.text([roman(usage.trim_start_matches("Usage: "))]);
    text.control("br", []);
    text.to_writer(out)
}

/// Writes text that keeps its lines and columns: examples and lists.
fn write_literal(literal: Option<&clap::builder::StyledStr>, out: &mut dyn Write) -> io::Result<()> {
    let Some(literal) = literal else {
        return Ok(());
    };
    let mut text = Roff::new();
    text.control("PP", []);
    text.control("nf", []);
    for line in literal.to_string().lines() {
        text.text([roman(line)]);
    }
    text.control("fi", []);
    text.to_writer(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn man_page() -> String {
        let mut page = Vec::new();
        write_man_page(&mut page).unwrap();
        // Roff escapes hyphens and quotes. This removes the escapes.
        String::from_utf8(page)
            .unwrap()
            .replace("\\-", "-")
            .replace("\\*(Aq", "'")
    }

    /// What users can type: commands, and long options with the command that accepts them.
    fn words() -> Vec<(String, String)> {
        let mut program = Cli::reviewed_command();
        program.build();
        let found: Vec<(String, String)> = commands(&program)
            .into_iter()
            .flat_map(|command| {
                let options = command
                    .get_arguments()
                    .filter(|argument| !argument.is_hide_set())
                    .filter_map(|argument| argument.get_long().map(|long| format!("--{long}")));
                options.map(|option| (command.get_name().to_owned(), option))
            })
            .collect();
        assert!(
            found.contains(&("sender".into(), "--exclude".into())),
            "{found:?}"
        );
        found
    }

    #[test]
    fn the_man_page_names_every_command_and_every_option() {
        let page = man_page();
        for (command, option) in words() {
            assert!(
                page.contains(&format!(".SH {}\n", command.to_uppercase())),
                "{command}"
            );
            assert!(
                option == "--help" || page.contains(&option),
                "{option} of {command}"
            );
        }
        for part in [
            "p2pcopy sender [OPTIONS]",
            "tar c dir | p2pcopy sender",
            "Exit codes:",
            "P2PCOPY_SERVER",
        ] {
            assert!(page.contains(part), "{part}");
        }
    }

    #[test]
    fn an_option_that_commands_share_is_described_once() {
        let page = man_page();
        assert_eq!(page.matches("Local UDP port").count(), 1);
        assert_eq!(page.matches(".SH OUTPUT\n").count(), 1);
    }

    #[test]
    fn completions_of_every_shell_name_every_option() {
        for shell in [
            Shell::Bash,
            Shell::Zsh,
            Shell::Fish,
            Shell::PowerShell,
            Shell::Elvish,
        ] {
            let mut script = Vec::new();
            write_completions(shell, &mut script).unwrap();
            let script = String::from_utf8(script).unwrap();
            for (command, option) in words() {
                assert!(script.contains(&command), "{shell}: {command}");
                assert!(
                    script.contains(option.trim_start_matches('-')),
                    "{shell}: {option}"
                );
            }
        }
    }

    #[test]
    fn an_output_that_is_closed_is_an_error() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        assert!(write_man_page(&mut Closed).is_err());
        assert!(write_completions(Shell::Bash, &mut Closed).is_err());
    }
}
