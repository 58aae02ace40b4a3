//! Two programs, each of this system or of another: what arrives, and what both users are told.
//!
//! They are this tree's, unless `P2PCOPY_SENDER` and `P2PCOPY_RECEIVER` name commands to run in their place, such as
//! `packaging/wine target/x86_64-pc-windows-gnu/release/p2pcopy.exe`. `P2PCOPY_SCALE` (1) multiplies sizes and counts.

mod disks;
mod ends;
#[cfg(unix)]
mod signals;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ends::{End, Running, connect, content, files, place, read, scale, succeed, succeeded, write};
#[cfg(unix)]
use ends::{Ended, OWN, introduce};

#[test]
fn a_file_arrives_whatever_way_datagrams_are_sent() {
    for (sender, receiver) in [(false, false), (true, true), (true, false), (false, true)] {
        let place = place();
        let bytes = content(1, 5_000_001);
        write(&place.path().join("vm.img"), &bytes);
        let mut send = vec!["sender", "vm.img"];
        let mut receive = vec!["receiver", "--yes", "--output", "here"];
        fs::create_dir(place.path().join("here")).expect("a new place");
        send.extend(sender.then_some("--no-offload"));
        receive.extend(receiver.then_some("--no-offload"));
        let ends = succeed(&send, &receive, place.path());
        assert_eq!(files(&place.path().join("here")), [("vm.img".to_owned(), bytes)]);
        for end in &ends {
            assert!(end.said.contains("Done: "), "{}", end.said);
            assert!(end.stdout.is_empty());
        }
    }
}

#[test]
fn a_tree_with_odd_names_arrives_with_its_times() {
    let place = place();
    let tree = place.path().join("tree");
    // A path of more than 260 characters, the limit of old calls of Windows; Wine has it still where it tells a path.
    let wine = !cfg!(windows) && (End::Sender.is_windows() || End::Receiver.is_windows());
    let long = "l".repeat(if wine { 40 } else { 120 });
    let names = [
        "plain.txt".to_owned(),
        "with a space and 'quotes'".to_owned(),
        "größe/ÅÄÖ.txt".to_owned(),
        "日本語/写真.jpg".to_owned(),
        "emoji \u{1f600}.png".to_owned(),
        ".hidden/.deeper".to_owned(),
        format!("{long}/{long}/{long}.txt"),
        "percent %TEMP% and $HOME".to_owned(),
        "empty".to_owned(),
    ];
    let old = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    for (i, name) in names.iter().enumerate() {
        let bytes = if name == "empty" {
            Vec::new()
        } else {
            content(i as u64, 1_000 * i + 1)
        };
        write(&tree.join(name), &bytes);
    }
    for i in 0..200 * scale() {
        write(
            &tree.join(format!("many/{}/file {i}", i % 10)),
            &content(i as u64, i % 5_000),
        );
    }
    fs::File::options()
        .write(true)
        .open(tree.join("plain.txt"))
        .and_then(|file| file.set_modified(old))
        .expect("its own file");
    fs::create_dir(place.path().join("here")).expect("a new place");
    succeed(
        &["sender", "tree"],
        &["receiver", "--yes", "--output", "here"],
        place.path(),
    );
    let arrived = place.path().join("here/tree");
    assert_eq!(files(&arrived), files(&tree));
    let time = fs::metadata(arrived.join("plain.txt"))
        .and_then(|m| m.modified())
        .expect("it is there");
    assert_eq!(time, old);
}

#[test]
fn what_a_killed_sender_had_sent_is_not_sent_again() {
    let place = place();
    let bytes = content(7, 40_000_000);
    write(&place.path().join("vm.img"), &bytes);
    fs::create_dir(place.path().join("here")).expect("a new place");
    let receive = ["receiver", "--yes", "--output", "here", "--json"];
    let [mut sender, mut receiver] =
        connect(&["sender", "vm.img", "--limit", "4MB/s"], &receive, place.path());
    // Whole blocks of it have come then, however slow the machine is, and most of it has not.
    while percent(&sender.wait_for("ETA")) < 20 {}
    sender.child.kill().expect("our own child");
    receiver.child.kill().expect("our own child");
    drop(sender.end());
    drop(receiver.end());
    assert!(!place.path().join("here/vm.img").exists());
    let [_, receiver] = succeed(&["sender", "vm.img"], &receive, place.path());
    let told = String::from_utf8(receiver.stdout).expect("JSON is UTF-8");
    let resumed = told
        .lines()
        .find(|line| line.contains("\"resumed\""))
        .unwrap_or_else(|| panic!("{told}"));
    assert!(resumed.contains("\"total\":40000000"), "{resumed}");
    assert_eq!(files(&place.path().join("here")), [("vm.img".to_owned(), bytes)]);
}

#[test]
fn a_stream_passes_from_pipe_to_pipe_unchanged() {
    let place = place();
    let bytes = content(3, 3_000_000 * scale());
    let mut receiver = Running::start(
        End::Receiver,
        &["receiver", "--yes", "--output", "-"],
        place.path(),
    );
    let address = receiver.address();
    let mut sender = Running::start(
        End::Sender,
        &["sender", "--file", "-", "--name", "s", "--peer", &address],
        place.path(),
    );
    let peer = sender.address();
    receiver.enter(&peer);
    let mut input = sender.input.take().expect("piped");
    // Line ends of other systems must not be touched either.
    input
        .write_all(b"a\r\nb\n\x1a")
        .and_then(|()| input.write_all(&bytes))
        .expect("it reads its input");
    drop(input);
    let [_, receiver] = succeeded([sender, receiver].map(Running::end));
    assert_eq!(receiver.stdout, [b"a\r\nb\n\x1a".as_slice(), &bytes].concat());
}

#[test]
fn an_update_sends_what_differs_and_replaces_the_old_file() {
    let place = place();
    let mut bytes = content(5, 8 << 20);
    write(&place.path().join("here/vm.img"), &bytes);
    bytes[5 << 20] ^= 1;
    write(&place.path().join("vm.img"), &bytes);
    let [_, receiver] = succeed(
        &["sender", "vm.img"],
        &["receiver", "--yes", "--update", "--output", "here", "--json"],
        place.path(),
    );
    let told = String::from_utf8(receiver.stdout).expect("JSON is UTF-8");
    let last = told.lines().last().expect("events");
    assert!(last.contains("\"finished\""), "{last}");
    let reused = last
        .split_once("\"reused\":")
        .and_then(|(_, rest)| rest.split(',').next());
    let reused: usize = reused.and_then(|number| number.parse().ok()).expect("a number");
    // All but what the changed byte stands in: a block at most.
    assert!((7 << 20..8 << 20).contains(&reused), "{last}");
    assert_eq!(files(&place.path().join("here")), [("vm.img".to_owned(), bytes)]);
}

#[test]
fn a_file_that_is_there_already_stays_and_the_new_one_takes_another_name() {
    let place = place();
    write(&place.path().join("vm.img"), b"new");
    write(&place.path().join("here/vm.img"), b"old");
    succeed(
        &["sender", "vm.img"],
        &["receiver", "--yes", "--output", "here"],
        place.path(),
    );
    let expected = [
        ("vm (1).img".to_owned(), b"new".to_vec()),
        ("vm.img".to_owned(), b"old".to_vec()),
    ];
    assert_eq!(files(&place.path().join("here")), expected);
}

#[test]
fn a_large_file_arrives() {
    let place = place();
    let bytes = content(2, 20_000_000 * scale());
    write(&place.path().join("vm.img"), &bytes);
    fs::create_dir(place.path().join("here")).expect("a new place");
    succeed(
        &["sender", "vm.img"],
        &["receiver", "--yes", "--output", "here"],
        place.path(),
    );
    assert_eq!(files(&place.path().join("here")), [("vm.img".to_owned(), bytes)]);
}

/// How much a line of progress says is done.
fn percent(line: &str) -> u32 {
    let (number, _) = line.split_once('%').expect("a share");
    number.trim().parse().expect("a number")
}

/// An absolute path of this system, as the sender's system writes it.
fn as_the_sender_writes(path: &Path) -> String {
    let path = path.to_str().expect("a plain path").to_owned();
    if cfg!(unix) && End::Sender.is_windows() {
        // Wine's drive for all of this system.
        format!("Z:{}", path.replace('/', "\\"))
    } else {
        path
    }
}

#[test]
fn a_path_with_its_drive_is_sent_and_a_pattern_stands_for_what_matches() {
    let place = place();
    for name in ["a.jpg", "B.JPG", "c.png"] {
        write(&place.path().join("photos").join(name), name.as_bytes());
    }
    let mut expected = vec![("c.png".to_owned(), b"c.png".to_vec())];
    let picture = as_the_sender_writes(&place.path().join("photos/c.png"));
    let mut send = vec!["sender", &picture];
    // Of Windows alone: the shells of other systems do it themselves.
    let pattern = as_the_sender_writes(&place.path().join("photos/*.jpg"));
    if End::Sender.is_windows() {
        send.push(&pattern);
        for name in ["a.jpg", "B.JPG"] {
            expected.push((name.to_owned(), name.as_bytes().to_vec()));
        }
        expected.sort();
    }
    fs::create_dir(place.path().join("here")).expect("a new place");
    succeed(&send, &["receiver", "--yes", "--output", "here"], place.path());
    assert_eq!(files(&place.path().join("here")), expected);
}

#[test]
fn dots_and_blanks_at_the_end_of_a_typed_name_are_no_part_of_it_on_windows() {
    let place = place();
    let (sent, output) = (End::Sender.is_windows(), End::Receiver.is_windows());
    write(&place.path().join("vm.img"), b"content");
    let name = if sent { "vm.img. " } else { "vm.img" };
    let directory = if output { "here. ." } else { "here" };
    succeed(
        &["sender", name],
        &["receiver", "--yes", "--output", directory],
        place.path(),
    );
    assert_eq!(
        files(&place.path().join("here")),
        [("vm.img".to_owned(), b"content".to_vec())]
    );
}

#[test]
fn what_can_be_no_path_of_windows_is_told_before_anybody_waits() {
    let place = place();
    write(&place.path().join("vm.img"), b"content");
    let tell = |end: End, arguments: &[&str], part: &str| {
        if end.is_windows() {
            let ended = Running::start(end, arguments, place.path()).end();
            assert!(ended.said.contains(part), "{arguments:?}: {}", ended.said);
            assert!(!ended.said.contains("os error"), "{}", ended.said);
        }
    };
    tell(End::Sender, &["sender", "my files\""], "backslash");
    tell(
        End::Sender,
        &["sender", "vm.img", "NUL"],
        "neither a file nor a directory",
    );
    tell(
        End::Sender,
        &["sender", "vm.img", "con"],
        "neither a file nor a directory",
    );
    for (output, part) in [
        ("my files\" --yes", "backslash"),
        ("NUL", "device"),
        ("CON", "device"),
        ("aux\\new", "device"),
        ("back 12:30", "colon"),
    ] {
        tell(End::Receiver, &["receiver", "--output", output], part);
    }
}

/// A tree of this system's, received by whatever the receiver is.
#[cfg(unix)]
fn receive_from_here(names: &[&str], directory: &Path) -> [Ended; 2] {
    for name in names {
        write(&directory.join("tree").join(name), name.as_bytes());
    }
    fs::create_dir(directory.join("here")).expect("a new place");
    let mut sender = Command::new(OWN);
    sender.args(["sender", "tree"]);
    introduce([
        Running::of(sender, directory),
        Running::start(
            End::Receiver,
            &["receiver", "--yes", "--output", "here"],
            directory,
        ),
    ])
    .map(Running::end)
}

#[cfg(unix)]
#[test]
fn names_that_windows_gives_a_meaning_to_have_none_where_they_arrive() {
    let place = place();
    let names = ["con.txt", "dot.", "c:x", "a?b", "file:stream", "<a>|b*\"c"];
    let ends = receive_from_here(&names, place.path());
    succeeded(ends);
    let arrived: Vec<String> = files(&place.path().join("here/tree"))
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let expected = if End::Receiver.is_windows() {
        ["_a__b__c", "_con.txt", "a_b", "c_x", "dot_", "file_stream"]
    } else {
        ["<a>|b*\"c", "a?b", "c:x", "con.txt", "dot.", "file:stream"]
    };
    assert_eq!(arrived, expected);
}

#[cfg(unix)]
#[test]
fn two_names_that_are_one_over_there_are_told_and_none_is_lost() {
    let place = place();
    let ends = receive_from_here(&["README", "Readme"], place.path());
    let arrived = files(&place.path().join("here")).len();
    assert!(ends[1].succeeded() && arrived == 2, "{}", ends[1].said);
    let is_told = ends[1].said.contains("it is stored under another");
    assert_eq!(is_told, End::Receiver.is_windows(), "{}", ends[1].said);
}

/// A link to a directory, as its system makes one without further rights: on Windows a junction.
fn link(target: &Path, link: &Path) {
    #[cfg(unix)]
    std::os::unix::fs::symlink(target, link).expect("a new name");
    #[cfg(windows)]
    {
        let mut shell = Command::new("cmd");
        shell.args(["/c", "mklink", "/J"]).arg(link).arg(target);
        assert!(shell.status().expect("the system's shell").success());
    }
}

#[test]
fn a_link_to_a_directory_is_told_and_not_followed() {
    // Wine shows a link of the system below as what it leads to, and no program there can tell.
    if cfg!(unix) && End::Sender.is_windows() {
        return;
    }
    let place = place();
    let tree = place.path().join("tree");
    write(&place.path().join("elsewhere/private"), b"private");
    write(&tree.join("file"), b"content");
    link(&place.path().join("elsewhere"), &tree.join("link"));
    fs::create_dir(place.path().join("here")).expect("a new place");
    let [sender, _] = succeed(
        &["sender", "tree"],
        &["receiver", "--yes", "--output", "here"],
        place.path(),
    );
    assert_eq!(
        files(&place.path().join("here/tree")),
        [("file".to_owned(), b"content".to_vec())]
    );
    assert!(sender.said.contains("link: "), "{}", sender.said);
}

#[test]
fn a_file_that_nobody_may_write_arrives_and_is_replaced_all_the_same() {
    let place = place();
    for bytes in [b"one".as_slice(), b"two"] {
        let path = place.path().join("vm.img");
        if path.exists() {
            set_read_only(&path, false);
        }
        write(&path, bytes);
        set_read_only(&path, true);
        fs::create_dir_all(place.path().join("here")).expect("a place");
        succeed(
            &["sender", "vm.img"],
            &["receiver", "--yes", "--overwrite", "--output", "here"],
            place.path(),
        );
        let arrived = place.path().join("here/vm.img");
        assert_eq!(read(&arrived), bytes);
        assert!(
            fs::metadata(&arrived)
                .expect("it is there")
                .permissions()
                .readonly()
        );
    }
    // Windows removes no read-only file with its directory.
    set_read_only(&place.path().join("vm.img"), false);
    set_read_only(&place.path().join("here/vm.img"), false);
}

fn set_read_only(path: &Path, read_only: bool) {
    let mut permissions = fs::metadata(path).expect("it is there").permissions();
    permissions.set_readonly(read_only);
    fs::set_permissions(path, permissions).expect("our own file");
}
