//! Standard outputs that take nothing.

use std::process::Command;

use super::{Running, place_with_a_file, run, start, verdict};

#[test]
fn an_output_that_takes_nothing_is_told_and_nothing_is_said_to_be_kept() {
    for (output, cause) in [(">/dev/full", "full"), ("1</dev/null", "not open for this")] {
        let (place, _) = place_with_a_file();
        let mut receiver = Command::new("sh");
        let script = format!("exec \"$0\" receiver --yes --output - {output}");
        receiver.args(["-c", &script, env!("CARGO_BIN_EXE_p2pcopy")]);
        let mut ends = [
            start(&["sender", "vm.img"], place.path()),
            run(receiver, place.path()),
        ];
        let [a, b] = [ends[0].address(), ends[1].address()];
        ends[0].enter(&b);
        ends[1].enter(&a);
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
