//! Files that another program holds. Only Windows lets a program lock others out.

use std::fs::File;
use std::os::windows::fs::OpenOptionsExt;
use std::time::Duration;

use p2pcopy::parts::transfer::LocalError;

use super::*;

const OVERWRITE: Setup = Setup {
    conflicts: Conflicts::Overwrite,
    ..UPDATE
};

/// Holds a file so that nobody else can open it.
fn hold(path: &Path) -> File {
    File::options().read(true).share_mode(0).open(path).unwrap()
}

/// Lets go after as long as an antivirus program needs.
fn let_go_soon(holder: File) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        drop(holder);
    })
}

#[test]
fn what_is_held_for_a_moment_is_sent_and_replaced() {
    let p = place();
    let file = p.src.join("vm.img");
    let content = write(&file, 1, MIB + 7);
    write(&p.out.join("vm.img"), 2, 9);
    let holders = [&file, &p.out.join("vm.img")].map(|path| let_go_soon(hold(path)));
    send(&[file], &p.out, OVERWRITE).unwrap();
    assert!(fs::read(p.out.join("vm.img")).unwrap() == content);
    assert_eq!(names(&p.out), ["vm.img"]);
    for holder in holders {
        holder.join().unwrap();
    }
}

#[test]
fn what_is_held_for_good_is_left_out_and_all_else_arrives() {
    let p = place();
    let tree = p.src.join("t");
    fs::create_dir(&tree).unwrap();
    write(&tree.join("a"), 1, 10);
    let content = write(&tree.join("held"), 2, 20);
    let holder = hold(&tree.join("held"));
    let outcome = send(std::slice::from_ref(&tree), &p.out, UPDATE).unwrap();
    assert_eq!(outcome.missing, [Path::new("t/held")]);
    assert_eq!(names(&p.out.join("t")), ["a"]);
    drop(holder);
    send(&[tree], &p.out, UPDATE).unwrap();
    assert!(fs::read(p.out.join("t/held")).unwrap() == content);
}

/// Before two people wait.
#[test]
fn a_file_alone_that_is_held_is_told_at_once() {
    let p = place();
    let file = p.src.join("vm.img");
    write(&file, 1, 10);
    let _holder = hold(&file);
    match scan(&[file], &ScanOptions::default()) {
        // ERROR_SHARING_VIOLATION.
        Err(TransferError::Local(LocalError::Io { error, .. })) => assert_eq!(error.raw_os_error(), Some(32)),
        other => panic!("{:?}", other.err()),
    }
}

#[test]
fn a_name_that_is_held_is_told_and_all_that_came_is_kept() {
    let p = place();
    let file = p.src.join("vm.img");
    let content = write(&file, 1, MIB + 7);
    write(&p.out.join("vm.img"), 2, 9);
    let holder = hold(&p.out.join("vm.img"));
    match send(std::slice::from_ref(&file), &p.out, OVERWRITE) {
        Err(Fault::Receiver(TransferError::Local(LocalError::Io { error, .. }))) => {
            // ERROR_ACCESS_DENIED: Windows says no more of a name that is to be replaced.
            assert_eq!(error.raw_os_error(), Some(5));
        }
        other => panic!("{other:?}"),
    }
    drop(holder);
    let again = send(&[file], &p.out, OVERWRITE).unwrap();
    assert_eq!(again.sent, 0);
    assert!(fs::read(p.out.join("vm.img")).unwrap() == content);
}
