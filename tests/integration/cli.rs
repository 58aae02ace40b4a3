//! The binary itself: exit codes and which stream carries what, as scripts see them.

use std::process::{Command, Output, Stdio};

fn p2pcopy(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_p2pcopy"))
        .env("P2PCOPY_NO_PORT_MAPPING", "1")
        .args(arguments)
        .env_remove("P2PCOPY_STUN")
        .env_remove("P2PCOPY_NTP")
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts")
}

#[test]
fn help_version_man_page_and_completions_go_to_standard_output_and_succeed() {
    for arguments in [
        &["--help"][..],
        &["sender", "--help"],
        &["help", "receiver"],
        &["--version"],
        &["man"],
        &["completions", "bash"],
    ] {
        let output = p2pcopy(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(
            !output.stdout.is_empty() && output.stderr.is_empty(),
            "{arguments:?}"
        );
    }
}

#[test]
fn usage_errors_exit_2_with_nothing_on_standard_output() {
    for arguments in [
        &[][..],
        &["sender"],
        &["sender", "a", "-"],
        &["receiver", "--limit", "fast"],
        &["receiver", "--output", "-", "--json"],
        &["copy"],
    ] {
        let output = p2pcopy(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{arguments:?}"
        );
        assert!(!output.stderr.contains(&0x1b), "{arguments:?}");
    }
}

#[test]
fn a_usage_error_is_an_event_too_where_events_were_asked_for() {
    for arguments in [
        &["sender", "--json"][..],
        &["receiver", "--json", "--limit", "fast"],
        &["sender", "--json", "a", "b", "--name", "c"],
    ] {
        let output = p2pcopy(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let line = String::from_utf8(output.stdout).expect("JSON is UTF-8");
        assert!(
            line.starts_with(r#"{"event":"failed","code":2,"#),
            "{arguments:?}: {line}"
        );
    }
}

#[test]
fn a_usage_error_writes_nothing_where_files_would_go() {
    for output in [
        &["--output", "-"][..],
        &["--output=-"],
        &["-o", "-"],
        &["-o-"],
        &["-qo-"],
        &["-qo", "-"],
        &["-o=-"],
    ] {
        let arguments = [&["receiver", "--json", "--limit", "fast"], output].concat();
        let output = p2pcopy(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{arguments:?}"
        );
    }
}

#[test]
fn a_failure_is_one_cause_and_one_next_step() {
    for arguments in [
        &["sender", "a", "b", "--name", "c"][..],
        &["sender", "--fil", "a"],
        &["receiver", "--limit", "fast"],
        &["copy"],
    ] {
        let output = p2pcopy(arguments);
        let text = String::from_utf8(output.stderr).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            matches!(lines[..], [cause, next] if cause.starts_with("error: ") && next.starts_with("next: ")),
            "{text}"
        );
    }
}

#[test]
fn a_question_that_nobody_can_answer_is_a_usage_error() {
    let output = Command::new(env!("CARGO_BIN_EXE_p2pcopy"))
        .env("P2PCOPY_NO_PORT_MAPPING", "1")
        .arg("receiver")
        // The discard port: nobody answers.
        .env("P2PCOPY_STUN", "127.0.0.1:9")
        .env("P2PCOPY_NTP", "127.0.0.1:9")
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("\nnext: ") && text.contains("--peer"), "{text}");
}

#[test]
fn servers_in_the_environment_are_checked_like_arguments() {
    let output = Command::new(env!("CARGO_BIN_EXE_p2pcopy"))
        .env("P2PCOPY_NO_PORT_MAPPING", "1")
        .args(["check"])
        .env("P2PCOPY_STUN", "a.example:99999")
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("a.example:99999"));
}

#[test]
fn an_output_that_is_a_file_is_told_before_anything_is_asked() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    for file in [file, concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml/")] {
        let output = p2pcopy(&["receiver", "--output", file]);
        let told = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(6), "{told}");
        assert!(
            told.contains("is a file") && !told.contains("--overwrite"),
            "{told}"
        );
        assert!(!told.contains("Using local port"), "{told}");
    }
}

#[test]
fn a_damaged_peer_address_is_told_before_anything_is_asked() {
    for (peer, cause) in [("foo", "not an address"), ("203.0.113.7:4300/3mJr", "damaged")] {
        let output = p2pcopy(&["receiver", "--peer", peer]);
        let told = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(
            told.contains(cause) && !told.contains("Using local port"),
            "{told}"
        );
    }
}

/// Runs it in a directory of its own that holds `g`, a file of the user's, and `old`, an earlier trace.
fn beside_files(arguments: &[&str], check: impl Fn(&std::path::Path, Option<i32>, &str)) {
    let place = tempfile::tempdir().expect("a place for files");
    let put = |name: &str, text: &str| {
        std::fs::write(place.path().join(name), text).expect("room for a file");
    };
    put("g", "a diary");
    put("old", "{\"time_s\":0.1}\n");
    let output = Command::new(env!("CARGO_BIN_EXE_p2pcopy"))
        .env("P2PCOPY_NO_PORT_MAPPING", "1")
        .args(arguments)
        .current_dir(place.path())
        // The discard port: nobody answers.
        .env("P2PCOPY_STUN", "127.0.0.1:9")
        .env("P2PCOPY_NTP", "127.0.0.1:9")
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts");
    let told = String::from_utf8(output.stderr).expect("text");
    let content = std::fs::read_to_string(place.path().join("g")).expect("it is still there");
    assert_eq!(content, "a diary", "{arguments:?}");
    check(place.path(), output.status.code(), &told);
}

#[test]
fn a_trace_never_destroys_another_file() {
    for (arguments, code) in [
        (&["sender", "g", "--trace", "g"][..], 2),
        (&["receiver", "--trace", "g"], 6),
        (&["sender", "old", "--trace", "g"], 6),
        (&["sender", "old", "--trace", "old"], 2),
        (&["sender", ".", "--trace", "old"], 2),
        (&["receiver", "--trace", "nowhere/t"], 6),
        (&["plot", "old", "--output", "g"], 2),
    ] {
        beside_files(arguments, |place, exit, told| {
            assert_eq!(exit, Some(code), "{arguments:?}: {told}");
            assert!(!told.contains("Using local port"), "{told}");
            let old = std::fs::read_to_string(place.join("old")).expect("it is still there");
            assert!(!old.is_empty(), "{arguments:?}");
        });
    }
    // An earlier trace beside what is sent is replaced, and a new one is made, before anything is asked.
    for arguments in [
        ["sender", "g", "--trace", "old"],
        ["sender", "g", "--trace", "new"],
    ] {
        beside_files(&arguments, |place, _, told| {
            assert!(told.contains("Using local port"), "{told}");
            let trace = place.join(arguments[3]);
            assert_eq!(trace.metadata().expect("it is there").len(), 0);
        });
    }
}

#[test]
fn a_demo_ends_when_one_of_its_sides_cannot_begin() {
    beside_files(&["demo", "old", "--trace", "g"], |_, exit, told| {
        assert_eq!(exit, Some(6), "{told}");
    });
}

#[test]
fn an_output_directory_that_cannot_be_made_is_told_before_anything_is_asked() {
    for (output, cause) in [
        ("stick/photos", "there is no directory stick"),
        ("g/photos", "g is a file"),
    ] {
        beside_files(&["receiver", "--output", output], |place, exit, told| {
            assert_eq!(exit, Some(2), "{told}");
            assert!(
                told.contains(cause) && !told.contains("Using local port"),
                "{told}"
            );
            assert!(!place.join("stick").exists());
        });
    }
    beside_files(&["receiver", "--output", "new.img/"], |place, _, told| {
        assert!(told.contains("Using local port"), "{told}");
        assert!(
            !place.join("new.img").exists(),
            "nothing is made before the user agrees"
        );
    });
}

#[test]
fn what_is_wrong_with_a_pattern_or_a_message_is_told_before_anything_is_asked() {
    for (arguments, cause) in [
        (
            &["sender", "g", "--exclude", "[a"][..],
            "unclosed character class",
        ),
        (&["sender", "g", "--exclude", "g"], "leaves out everything"),
        (&["sender", "--text", "-"], "no message"),
    ] {
        beside_files(arguments, |_, exit, told| {
            assert_eq!(exit, Some(2), "{told}");
            assert!(
                told.contains(cause) && !told.contains("Using local port"),
                "{told}"
            );
        });
    }
}

/// Root could read the dump. Every user can read the limits of a process, so the test looks at these.
#[cfg(target_os = "linux")]
#[test]
fn a_run_that_holds_keys_leaves_no_core_dump() {
    // The test raises the limit as far as it may.
    let script = "ulimit -Sc unlimited || ulimit -Sc $(ulimit -Hc); exec \"$0\" receiver";
    let mut child = Command::new("sh")
        .env("P2PCOPY_NO_PORT_MAPPING", "1")
        .args(["-c", script, env!("CARGO_BIN_EXE_p2pcopy")])
        .env("P2PCOPY_STUN", "127.0.0.1:9")
        .env("P2PCOPY_NTP", "127.0.0.1:9")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // It says something only after it has begun.
    let mut first = [0];
    std::io::Read::read_exact(child.stderr.as_mut().expect("piped"), &mut first).expect("a line");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id()));
    let status = std::os::unix::fs::MetadataExt::uid(
        &std::fs::metadata(format!("/proc/{}/limits", child.id())).expect("it runs"),
    );
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    let limits = limits.expect("it runs");
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .expect("a limit");
    // The hard limit is lowered too, so the test can fail wherever it was not 0 before.
    let limits: Vec<&str> = core.split_whitespace().skip(4).take(2).collect();
    assert_eq!(limits, ["0", "0"], "{core}");
    // The files of a process that must not be dumped belong to root, whichever user runs it.
    assert_eq!(status, 0);
}

/// What is sent may hold escape codes, which must not reach a terminal as they are.
#[cfg(unix)]
#[test]
fn what_a_peer_sends_is_not_written_to_a_terminal_as_it_is() {
    use rustix::fs::{Mode, OFlags};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&keyboard).expect("ours");
    unlockpt(&keyboard).expect("ours");
    let name = ptsname(&keyboard, Vec::new()).expect("it has a name");
    let terminal = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("ours");
    let output = Command::new(env!("CARGO_BIN_EXE_p2pcopy"))
        .env("P2PCOPY_NO_PORT_MAPPING", "1")
        .args([
            "receiver",
            "--yes",
            "--output",
            "-",
            "--peer",
            "127.0.0.1:9",
            "--timeout",
            "1s",
        ])
        .env("P2PCOPY_STUN", "127.0.0.1:9")
        .env("P2PCOPY_NTP", "127.0.0.1:9")
        .stdin(Stdio::null())
        .stdout(terminal)
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("terminal"));
}
