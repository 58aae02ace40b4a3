//! What two people and an operator see who use a server.

use std::net::UdpSocket;
use std::time::Duration;

use super::{Running, both_end_well, place_with_a_file, server, start, verdict};

#[test]
fn a_server_says_what_it_does_before_it_asks_for_its_address() {
    let place = tempfile::tempdir().expect("a place");
    // The discard port: nobody answers.
    let arguments = ["server", "--listen", "0.0.0.0:0", "--stun", "127.0.0.1:9"];
    let server = start(&arguments, place.path());
    let said = server.told("Listening at UDP port ");
    assert!(said.ends_with("; asking for the public address"), "{said}");
    server.told("no STUN server told the outside address");
    server.told("Clients use: --server ");
}

#[test]
fn who_hides_its_address_is_reached_by_way_of_the_server_and_nobody_looks_for_another() {
    let (place, content) = place_with_a_file();
    let (_server, word) = server(&[], place.path());
    let sender = start(
        &["sender", "vm.img", "--server", &word, "--relay", "only"],
        place.path(),
    );
    let code = sender.address();
    let receiver = start(
        &["receiver", &code, "--server", &word, "--yes", "--output", "-"],
        place.path(),
    );
    for end in [&sender, &receiver] {
        end.told("(relayed by the server");
        end.told("The server relays at most");
    }
    let next = receiver.lines.recv().expect("it says more");
    assert!(!next.contains("direct path"), "{next}");
    both_end_well(sender, receiver, &content);
}

#[test]
fn of_two_who_type_the_same_code_one_receives_and_the_other_is_told() {
    let (place, content) = place_with_a_file();
    let (_server, word) = server(&[], place.path());
    let sender = start(&["sender", "vm.img", "--server", &word], place.path());
    let code = sender.address();
    let arguments = ["receiver", &code, "--server", &word, "--yes", "--output", "-"];
    let mut both = [(); 2]
        .map(|()| start(&arguments, place.path()))
        .map(Running::end);
    both.sort_by_key(|end| end.status.code());
    let [lucky, other] = both;
    assert_eq!(lucky.stdout, content);
    assert_eq!(other.status.code(), Some(3));
    assert!(
        verdict(&other).contains("nobody waits with this code"),
        "{other:?}"
    );
    assert!(sender.end().status.success());
}

#[test]
fn a_server_that_was_given_up_is_asked_no_more() {
    let place = tempfile::tempdir().expect("a place");
    // It takes what comes, and never answers.
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let word = silent.local_addr().expect("bound").to_string();
    let waits = start(&["receiver", "--server", &word], place.path());
    waits.told("swap addresses instead");
    waits.address();
    silent.set_nonblocking(true).expect("a mode");
    let mut space = [0; 2048];
    while silent.recv(&mut space).is_ok() {}
    silent.set_nonblocking(false).expect("a mode");
    silent
        .set_read_timeout(Some(Duration::from_secs(3)))
        .expect("a time");
    assert!(
        silent.recv(&mut space).is_err(),
        "it would show a code there to nobody"
    );
}
