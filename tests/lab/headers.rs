//! What a queue reads and writes in an IP header: whose packet it is, and its ECN field (RFC 3168, section 5).

use std::hash::{DefaultHasher, Hash, Hasher};

const TCP: u8 = 6;
const UDP: u8 = 17;
/// The ECN field: not capable, and marked. ECT(1) and ECT(0) are between them.
const NOT_ECT: u8 = 0;
const CE: u8 = 3;

/// Hashes of the addresses, the protocol and the ports, and of the source address alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) flow: u64,
    pub(crate) host: u64,
}

/// Whose packet this is. All that is neither IPv4 nor IPv6 is one flow, and so are all fragments between two hosts.
pub(crate) fn origin(packet: &[u8]) -> Origin {
    let Some(&first) = packet.first() else {
        return Origin::default();
    };
    let (protocol, addresses, header) = match first >> 4 {
        4 => {
            let whole = packet
                .get(6..8)
                .is_some_and(|word| word[0] & 0x3f == 0 && word[1] == 0);
            let protocol = packet.get(9).copied().filter(|_| whole);
            (protocol, packet.get(12..20), usize::from(first & 0xf) * 4)
        }
        6 => (packet.get(6).copied(), packet.get(8..40), 40),
        _ => (None, None, 0),
    };
    let ports = packet
        .get(header..header + 4)
        .filter(|_| matches!(protocol, Some(TCP | UDP)));
    let source = addresses.map(|both| &both[..both.len() / 2]);
    Origin {
        flow: hash((protocol, addresses, ports)),
        host: hash(source),
    }
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Marks a packet as one that met congestion. False if its sender does not know ECN; then nothing is changed.
pub(crate) fn mark(packet: &mut [u8]) -> bool {
    // The low bits of the second byte of IPv4; of IPv6 they are four bits higher.
    let shift = match packet.first().map(|first| first >> 4) {
        Some(4) if packet.len() >= 20 => 0,
        Some(6) if packet.len() >= 40 => 4,
        _ => return false,
    };
    let before = packet[1];
    if before >> shift & CE == NOT_ECT {
        return false;
    }
    packet[1] |= CE << shift;
    if shift == 0 {
        let sum = u16::from_be_bytes([packet[10], packet[11]]);
        let sum = patched(sum, u16::from(before), u16::from(packet[1]));
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    true
}

/// A header checksum after one of its words has changed (RFC 1624, section 3, equation 3). The word's other byte is the
/// same before and after, so it may be left out of both.
fn patched(sum: u16, before: u16, after: u16) -> u16 {
    let wide = u32::from(!sum) + u32::from(!before) + u32::from(after);
    let once = (wide & 0xffff) + (wide >> 16);
    !((once & 0xffff) + (once >> 16)) as u16
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A UDP packet with this ECN field. The last byte of the source, and the source port, are given.
    pub(crate) fn packet(version: u8, ecn: u8, host: u8, port: u16, length: usize) -> Vec<u8> {
        let mut packet = vec![0; length];
        let header = match version {
            4 => {
                packet[..20].copy_from_slice(&[
                    0x45, ecn, 0, 0, 0x12, 0x34, 0x40, 0, 64, UDP, 0, 0, 10, 0, 0, host, 203, 0, 113, 7,
                ]);
                packet[2..4].copy_from_slice(&(length as u16).to_be_bytes());
                let sum = !folded(&packet[..20]);
                packet[10..12].copy_from_slice(&sum.to_be_bytes());
                20
            }
            _ => {
                packet[..8].copy_from_slice(&[0x60, ecn << 4 | 0x0b, 0xcd, 0xef, 0, 0, UDP, 64]);
                packet[8..40].fill(0x20);
                packet[23] = host;
                40
            }
        };
        packet[header..header + 2].copy_from_slice(&port.to_be_bytes());
        packet
    }

    /// The sum of RFC 1071; all ones over a header whose checksum is right.
    fn folded(header: &[u8]) -> u16 {
        let words = header.chunks_exact(2);
        let sum: u32 = words
            .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
            .sum();
        let once = (sum & 0xffff) + (sum >> 16);
        ((once & 0xffff) + (once >> 16)) as u16
    }

    #[test]
    fn a_mark_changes_the_ecn_field_and_keeps_the_checksum_right() {
        for version in [4, 6] {
            for ecn in 0..=3 {
                // All checksums there can be, among them those whose patch carries over.
                for id in (0..=u16::MAX).step_by(if version == 4 { 1 } else { 0x4000 }) {
                    let mut marked = packet(version, ecn, 1, 9, 60);
                    if version == 4 {
                        marked[4..6].copy_from_slice(&id.to_be_bytes());
                        marked[10..12].fill(0);
                        let sum = !folded(&marked[..20]);
                        marked[10..12].copy_from_slice(&sum.to_be_bytes());
                    }
                    let mut expected = marked.clone();
                    assert_eq!(mark(&mut marked), ecn != 0);
                    if ecn != 0 {
                        expected[1] |= if version == 4 { 3 } else { 0x30 };
                    }
                    if version == 4 {
                        assert_eq!(folded(&marked[..20]), 0xffff, "{version} {ecn} {id}");
                        expected[10..12].copy_from_slice(&marked[10..12]);
                    }
                    assert_eq!(marked, expected, "{version} {ecn} {id}");
                }
            }
        }
    }

    #[test]
    fn flows_are_told_apart_by_ports_and_hosts_and_broken_packets_are_no_trouble() {
        for version in [4, 6] {
            let of = |host, port| origin(&packet(version, 2, host, port, 60));
            assert_eq!(of(1, 9), of(1, 9));
            assert_ne!(of(1, 9).flow, of(1, 10).flow);
            assert_eq!(of(1, 9).host, of(1, 10).host);
            assert_ne!(of(1, 9).host, of(2, 9).host);
            for length in 0..60 {
                let mut cut = packet(version, 2, 1, 9, 60);
                cut.truncate(length);
                origin(&cut);
                mark(&mut cut);
            }
        }
    }
}
