//! The command line: turns arguments into options and events into output.
//!
//! Standard output carries only payload or `--json` lines (and help, if the user asks for it). Everything for
//! people goes to standard error.

mod args;
mod clipboard;
mod console;
mod diagnosis;
mod hardening;
mod json;
mod lines;
mod manual;
mod misuse;
mod printable;
mod progress;
mod prompts;
mod screen;
mod server_args;
#[cfg(test)]
mod tests;
mod text;
mod typed;
mod validate;
mod values;

use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::error::ErrorKind;

use crate::app::event::Front;
use crate::app::options::{Common, Payload};
use crate::app::outcome::{Failure, Summary};
use crate::app::receiving::Target;
use crate::app::wording::os_errors::explain;
use crate::app::{self, options};
use args::{Cli, Command};
use console::{Console, Shown};
use prompts::Input;

/// What the command line asks for.
enum Task {
    Send(options::SendOptions),
    Receive(options::ReceiveOptions),
    Demo(options::DemoOptions),
    Chat(Common),
    Check(Common),
    List(Common),
    Serve(options::ServeOptions),
    Plot(options::PlotOptions),
    Print(Text),
}

/// A text about the program itself, for standard output.
enum Text {
    ManPage,
    Completions(clap_complete::Shell),
}

impl Text {
    fn print(&self) -> std::io::Result<()> {
        let out = &mut std::io::stdout().lock();
        match self {
            Text::ManPage => manual::write_man_page(out),
            Text::Completions(shell) => manual::write_completions(*shell, out),
        }
    }
}

impl Task {
    fn from_command(command: Command) -> Result<Task, Failure> {
        Ok(match command {
            Command::Sender(args) => Task::Send(validate::sender(args)?),
            Command::Receiver(args) => Task::Receive(validate::receiver(args)?),
            Command::Demo(args) => Task::Demo(validate::demo(args)?),
            Command::Chat(args) => Task::Chat(validate::chat(args)?),
            Command::Check(args) => Task::Check(validate::check(args)?),
            Command::List(args) => Task::List(validate::check(args)?),
            Command::Server(args) => Task::Serve(args.into_options()),
            Command::Plot(args) => Task::Plot(validate::plot(args)),
            Command::Man => Task::Print(Text::ManPage),
            Command::Completions { shell } => Task::Print(Text::Completions(shell)),
        })
    }

    /// Refuses to write what a peer sends unchanged to a terminal.
    fn spare_terminal(self) -> Result<Task, Failure> {
        match &self {
            Task::Receive(options)
                if options.destination == Target::Stdout && std::io::stdout().is_terminal() =>
            {
                Err(Failure::usage(
                    "with --output - what arrives would act on this terminal",
                    "send it on: p2pcopy receiver --output - > FILE; a message is shown without --output",
                ))
            }
            _ => Ok(self),
        }
    }

    /// The source of answers. It is not standard input if that is the payload.
    fn input(&self) -> Input {
        match self {
            Task::Send(options) if matches!(options.payload, Payload::Stdin | Payload::StdinText) => {
                Input::Terminal
            }
            _ => Input::Stdin,
        }
    }

    async fn run(self, front: &mut dyn Front) -> Result<Summary, Failure> {
        match self {
            Task::Send(options) => app::send(options, front).await,
            Task::Receive(options) => app::receive(options, front).await,
            Task::Demo(options) => app::demo(options, front).await,
            Task::Chat(common) => app::chat(common, front).await,
            Task::Check(common) => app::check(common, front).await,
            Task::List(common) => app::list(common, front).await,
            Task::Serve(options) => app::serve(options, front).await,
            Task::Plot(options) => app::plot(&options, front),
            Task::Print(text) => match text.print() {
                Ok(()) => Ok(Summary::default()),
                Err(error) => Err(Failure::file("write", Path::new("standard output"), &error)),
            },
        }
    }
}

/// Runs the command that the arguments name and returns its exit code. The first argument is the program's
/// name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    install_panic_hook();
    hardening::keep_memory_private();
    hardening::keep_own_permissions();
    crate::system::outlive_file_limit();
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let command = arguments.get(1).and_then(|word| word.to_str()).map(str::to_owned);
    // A script with a wrong command line waits for a last JSON line, too. It gets none if files would go to
    // standard output.
    let options: Vec<_> = arguments.iter().take_while(|word| *word != "--").collect();
    let json = options.iter().any(|word| *word == "--json") && !puts_files_on_stdout(&options);
    let task = match Cli::from_arguments(arguments) {
        Ok(cli) => {
            let shown = cli.command.shown();
            let task = Task::from_command(cli.command).and_then(Task::spare_terminal);
            task.map(|task| (task, shown))
        }
        // Help and version are not failures.
        Err(error) if !error.use_stderr() => {
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
                let _ = error.print();
            }
            Err(misuse::failure(&error, command.as_deref()))
        }
    };
    let (outcome, mut console) = match task {
        Ok((task, shown)) => {
            let mut console = Console::of_process(shown, task.input());
            (run_task(task, &mut console), console)
        }
        Err(failure) => {
            let shown = Shown {
                json,
                ..Shown::default()
            };
            (Err(failure), Console::of_process(shown, Input::Stdin))
        }
    };
    match outcome {
        Ok(summary) => ExitCode::from(summary.exit_code()),
        Err(failure) => {
            console.failed(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Whether the command line contains `--output -` in any spelling. The command line may be wrong.
fn puts_files_on_stdout(words: &[&OsString]) -> bool {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let is_short = |word: &str| word.starts_with('-') && !word.starts_with("--");
    let names_it = |word: &str| word == "--output" || is_short(word) && word.ends_with('o');
    let holds_it = |word: &str| {
        word == "--output=-" || is_short(word) && (word.ends_with("o-") || word.ends_with("o=-"))
    };
    words.iter().any(|word| holds_it(word)) || words.windows(2).any(|two| names_it(&two[0]) && two[1] == "-")
}

fn run_task(task: Task, front: &mut dyn Front) -> Result<Summary, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            let (what, next) = explain(&error);
            Failure::other(format!("cannot start: {what}"), next)
        })?;
    let outcome = runtime.block_on(task.run(front));
    // A name lookup may still hang in a thread of the runtime. Nobody waits for its answer.
    runtime.shutdown_background();
    outcome
}

/// Makes a fault of this program end it with two lines and code 1, and never with a backtrace.
fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        // eprintln would panic if standard error is closed.
        let _ = writeln!(std::io::stderr(), "{}", panic_message(info));
        std::process::exit(1);
    }));
}

fn panic_message(info: &std::panic::PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let what = payload.downcast_ref::<&str>().copied();
    let what = what
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown");
    let place = info
        .location()
        .map(|place| format!(" at {}:{}", place.file(), place.line()))
        .unwrap_or_default();
    format!(
        "\nerror: internal fault{place}: {}\nnext: please report this line and what you did",
        printable::printable(what)
    )
}
