//! What a shell gives a receiver: its mask of permissions, and its standard output.

use std::process::Command;

#[cfg(target_os = "linux")]
use super::{Running, place_with_a_file};
use super::{introduce, run, start, verdict};

/// A receiver that a shell starts with these words around: what comes before it, and what comes after its arguments.
fn receiver_in_a_shell(before: &str, after: &str) -> Command {
    let mut receiver = Command::new("sh");
    let script = format!("{before} exec \"$0\" receiver --yes --output {after}");
    receiver.args(["-c", &script, env!("CARGO_BIN_EXE_p2pcopy")]);
    receiver
}

#[test]
fn umask_holds_and_nobody_else_may_write_what_a_peer_sent() {
    use std::os::unix::fs::PermissionsExt;
    let place = tempfile::tempdir().expect("a place for files");
    let at = |path: &str| place.path().join(path);
    std::fs::create_dir(at("tree")).expect("a directory");
    for (name, mode) in [("tree/open", 0o666), ("tree/run", 0o777), ("tree/own", 0o600)] {
        std::fs::write(at(name), name).expect("room for a few bytes");
        std::fs::set_permissions(at(name), PermissionsExt::from_mode(mode)).expect("our own");
    }
    std::fs::set_permissions(at("tree"), PermissionsExt::from_mode(0o777)).expect("our own");
    let receives = |umask: &str, out: &str| {
        let receiver = receiver_in_a_shell(&format!("umask {umask};"), out);
        let ends = introduce([
            start(&["sender", "tree"], place.path()),
            run(receiver, place.path()),
        ]);
        for end in ends {
            assert_eq!(end.end().status.code(), Some(0));
        }
        ["tree", "tree/open", "tree/run", "tree/own"].map(|path| {
            let found = at(out).join(path).metadata().expect("it arrived");
            found.permissions().mode() & 0o7777
        })
    };
    let narrow = receives("077", "narrow");
    assert_eq!(
        narrow.map(|mode| format!("{mode:o}")),
        ["700", "600", "700", "600"]
    );
    let without_own = receives("0377", "without_own");
    assert_eq!(without_own, narrow, "it counts for the group and for others");
    let wide = receives("000", "wide");
    assert_eq!(wide.map(|mode| format!("{mode:o}")), ["755", "644", "755", "600"]);
}

/// What the program says that a shell runs with these words around its arguments.
fn in_a_shell(before: &str, arguments: &str) -> (Option<i32>, String) {
    let mut command = Command::new("sh");
    let script = format!("{before} exec \"$0\" {arguments}");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_p2pcopy")]);
    let place = tempfile::tempdir().expect("a place");
    let end = run(command, place.path()).end();
    (end.status.code(), verdict(&end))
}

#[test]
fn what_a_shell_gives_that_is_of_no_use_is_told_before_anybody_waits() {
    for option in ["--file", "--text"] {
        let (code, told) = in_a_shell("", &format!("sender {option} - < ."));
        assert!(
            code == Some(2) && told.contains("standard input is a directory"),
            "{told}"
        );
    }
    let (code, told) = in_a_shell("", "sender --file - 0>output");
    assert!(code == Some(6) && told.contains("opened only to read"), "{told}");
    let gone = "mkdir gone; cd gone; rmdir ../gone;";
    for arguments in ["receiver", "receiver --output new", "sender .", "sender file"] {
        let (code, told) = in_a_shell(gone, arguments);
        assert!(
            code == Some(6) && told.contains("the current directory has been removed"),
            "{arguments}: {told}"
        );
    }
    let (code, told) = in_a_shell("ulimit -n 20;", "receiver");
    assert!(
        code == Some(1) && told.contains("no more than 20 are allowed") && told.contains("ulimit"),
        "{told}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_takes_nothing_is_told_and_nothing_is_said_to_be_kept() {
    for (output, cause) in [(">/dev/full", "full"), ("1</dev/null", "opened only to read")] {
        let (place, _) = place_with_a_file();
        let receiver = receiver_in_a_shell("", &format!("- {output}"));
        let ends = introduce([
            start(&["sender", "vm.img"], place.path()),
            run(receiver, place.path()),
        ]);
        let [sender, receiver] = ends.map(Running::end);
        let told = verdict(&receiver);
        assert_eq!(
            [sender.status.code(), receiver.status.code()],
            [Some(6); 2],
            "{told}"
        );
        assert!(
            told.contains("write standard output") && told.contains(cause),
            "{told}"
        );
        assert!(!told.contains("kept"), "{told}");
    }
}
