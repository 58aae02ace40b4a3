//! The desktop's clipboard. The system's own program for it does the work.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Stdio};

/// Puts text on the clipboard of the desktop this program runs on. False if no clipboard can be reached. Over
/// ssh the desktop belongs to another machine, and only the terminal can reach it (OSC 52).
pub(crate) fn copy(text: &str) -> bool {
    programs(&|name| std::env::var_os(name))
        .iter()
        .any(|words| feed(words, text).is_ok())
}

/// Whether the user sits at another machine.
pub(crate) fn is_over_ssh() -> bool {
    over_ssh(&|name| std::env::var_os(name))
}

/// Reads a variable of the environment.
type Variable<'a> = &'a dyn Fn(&str) -> Option<std::ffi::OsString>;

fn is_set(variable: Variable<'_>, name: &str) -> bool {
    variable(name).is_some_and(|value| value.as_os_str() != OsStr::new(""))
}

fn over_ssh(variable: Variable<'_>) -> bool {
    is_set(variable, "SSH_CONNECTION") || is_set(variable, "SSH_TTY")
}

/// The programs that may work here, the likeliest first.
fn programs(variable: Variable<'_>) -> &'static [&'static [&'static str]] {
    let set = |name| is_set(variable, name);
    if over_ssh(variable) {
        &[]
    } else if cfg!(windows) {
        &[&["clip.exe"]]
    } else if cfg!(target_vendor = "apple") {
        &[&["/usr/bin/pbcopy"]]
    } else if set("WAYLAND_DISPLAY") {
        &[&["wl-copy"], &["xclip", "-selection", "clipboard"]]
    } else if set("DISPLAY") {
        &[
            &["xclip", "-selection", "clipboard"],
            &["xsel", "--clipboard", "--input"],
        ]
    } else {
        &[]
    }
}

fn feed(words: &[&str], text: &str) -> std::io::Result<()> {
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let input = child.stdin.take();
    let written = input
        .ok_or_else(|| std::io::ErrorKind::BrokenPipe.into())
        .and_then(|mut input| input.write_all(text.as_bytes()));
    // Each of these programs leaves a copy of itself that serves the text, and ends at once.
    if child.wait()?.success() {
        written
    } else {
        Err(std::io::ErrorKind::Other.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_ssh_no_clipboard_of_this_machine_is_touched() {
        let variables =
            |name: &str| matches!(name, "SSH_CONNECTION" | "DISPLAY" | "WAYLAND_DISPLAY").then(|| "1".into());
        assert!(programs(&variables).is_empty());
    }

    #[cfg(not(any(windows, target_vendor = "apple")))]
    #[test]
    fn without_a_desktop_there_is_no_clipboard() {
        assert!(programs(&|_| None).is_empty());
        assert!(programs(&|name| (name == "DISPLAY").then(String::new).map(Into::into)).is_empty());
        assert_eq!(
            programs(&|name| (name == "WAYLAND_DISPLAY").then(|| "wayland-0".into()))[0],
            ["wl-copy"]
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_program_that_is_missing_or_fails_is_no_success() {
        assert!(feed(&["/nonexistent/clip"], "text").is_err());
        assert!(feed(&["false"], "text").is_err());
        assert!(feed(&["cat"], "text").is_ok());
    }
}
