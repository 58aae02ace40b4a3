//! The mark on files that came from elsewhere. The desktop asks the user before it runs a marked file.

use std::fs::File;

/// What browsers write beside a file from the internet. 3 is URLZONE_INTERNET (urlmon.h).
#[cfg(windows)]
const ZONE: &[u8] = b"[ZoneTransfer]\r\nZoneId=3\r\n";

/// Marks an open file as received, with the stream `Zone.Identifier` on Windows and the attribute
/// `com.apple.quarantine` on macOS. Linux has no such mark. A file system that cannot keep the mark leaves
/// the file without one.
pub(crate) fn mark_received(file: &File) {
    #[cfg(windows)]
    let _ = super::windows::write_stream(file, "Zone.Identifier", ZONE);
    #[cfg(target_vendor = "apple")]
    {
        use rustix::fs::{XattrFlags, fsetxattr};
        let _ = fsetxattr(
            file,
            c"com.apple.quarantine",
            quarantine(seconds()).as_bytes(),
            XattrFlags::empty(),
        );
    }
    #[cfg(not(any(windows, target_vendor = "apple")))]
    let _ = file;
}

/// The fields that LaunchServices reads: flags (0081: downloaded, not yet approved by the user), seconds
/// since 1970 in hexadecimal, the program, and an identifier that may be missing.
#[cfg(any(target_vendor = "apple", test))]
fn quarantine(seconds: u64) -> String {
    format!("0081;{seconds:08x};p2pcopy;")
}

#[cfg(target_vendor = "apple")]
#[expect(clippy::disallowed_methods, reason = "the mark says when the file came")]
fn seconds() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::SystemTime::UNIX_EPOCH)
        .map_or(0, |age| age.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quarantine_has_the_fields_in_their_order() {
        assert_eq!(quarantine(0x65a0_b0c0), "0081;65a0b0c0;p2pcopy;");
    }

    #[test]
    fn marking_leaves_the_content_alone() {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, b"content").unwrap();
        mark_received(&file);
        assert_eq!(file.metadata().unwrap().len(), 7);
    }
}
