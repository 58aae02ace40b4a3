//! PCP and its predecessor NAT-PMP: one request and one answer, at UDP port 5351 of the router.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// The port of routers (RFC 6887, section 19.5).
pub(crate) const PORT: u16 = 5351;
/// The protocol number of UDP.
const UDP: u8 = 17;

/// A router's answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer<T> {
    /// It granted the request for this many seconds.
    Granted(T, u32),
    /// It refused the request, or it speaks another version.
    Refused,
}

/// A PCP MAP request (RFC 6887, sections 7.1 and 11.1). A lifetime of 0 deletes.
pub(crate) fn pcp_request(
    nonce: [u8; 12],
    client: Ipv4Addr,
    port: u16,
    suggested: u16,
    lifetime: u32,
) -> Vec<u8> {
    let mut out = vec![2, 1, 0, 0];
    out.extend(lifetime.to_be_bytes());
    out.extend(client.to_ipv6_mapped().octets());
    out.extend(nonce);
    out.extend([UDP, 0, 0, 0]);
    out.extend(port.to_be_bytes());
    out.extend(suggested.to_be_bytes());
    out.extend(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().octets());
    out
}

/// Reads the answer to such a request; `None` for everything else.
pub(crate) fn pcp_answer(datagram: &[u8], nonce: [u8; 12], port: u16) -> Option<Answer<SocketAddr>> {
    match datagram {
        // A router that only supports NAT-PMP answers with its version and "unsupported" (RFC 6886, section
        // 3.5).
        [0, _, _, 1, ..] => return Some(Answer::Refused),
        [2, 0x81, _, 0, ..] => {}
        [2, 0x81, _, _, ..] => return Some(Answer::Refused),
        _ => return None,
    }
    let body = datagram.get(24..60)?;
    let internal = u16::from_be_bytes([body[16], body[17]]);
    if body[..12] != nonce || body[12] != UDP || internal != port {
        return None;
    }
    let external = u16::from_be_bytes([body[18], body[19]]);
    let ip: [u8; 16] = body[20..36].try_into().ok()?;
    let ip = Ipv6Addr::from(ip).to_ipv4_mapped()?;
    let lifetime = u32::from_be_bytes(datagram[4..8].try_into().ok()?);
    (external != 0).then(|| Answer::Granted(SocketAddr::from((ip, external)), lifetime))
}

/// NAT-PMP's request for the outside address (RFC 6886, section 3.2).
pub(crate) const PMP_ADDRESS: [u8; 2] = [0, 0];

/// Reads the answer to [`PMP_ADDRESS`].
pub(crate) fn pmp_address(datagram: &[u8]) -> Option<Answer<Ipv4Addr>> {
    match datagram {
        [0, 128, 0, 0, _, _, _, _, a, b, c, d] => Some(Answer::Granted(Ipv4Addr::new(*a, *b, *c, *d), 0)),
        [0, 128, ..] => Some(Answer::Refused),
        _ => None,
    }
}

/// A NAT-PMP request to map a UDP port (RFC 6886, section 3.3). To delete, lifetime and suggested port are 0.
pub(crate) fn pmp_request(port: u16, suggested: u16, lifetime: u32) -> Vec<u8> {
    let mut out = vec![0, 1, 0, 0];
    out.extend(port.to_be_bytes());
    out.extend(suggested.to_be_bytes());
    out.extend(lifetime.to_be_bytes());
    out
}

/// Reads the answer to such a request: the outside port.
pub(crate) fn pmp_answer(datagram: &[u8], port: u16) -> Option<Answer<u16>> {
    match datagram {
        [0, 129, 0, 0, _, _, _, _, i, j, e, f, a, b, c, d] if u16::from_be_bytes([*i, *j]) == port => {
            let external = u16::from_be_bytes([*e, *f]);
            let lifetime = u32::from_be_bytes([*a, *b, *c, *d]);
            (external != 0).then_some(Answer::Granted(external, lifetime))
        }
        [0, 129, x, y, ..] if (*x, *y) != (0, 0) => Some(Answer::Refused),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NONCE: [u8; 12] = [7; 12];

    fn granted() -> Vec<u8> {
        let mut answer = vec![2, 0x81, 0, 0, 0, 0, 0, 120, 0, 0, 0, 9];
        answer.extend([0; 12]);
        answer.extend(NONCE);
        answer.extend([UDP, 0, 0, 0]);
        answer.extend(4300u16.to_be_bytes());
        answer.extend(61_000u16.to_be_bytes());
        answer.extend(Ipv4Addr::new(203, 0, 113, 7).to_ipv6_mapped().octets());
        answer
    }

    #[test]
    fn a_request_has_the_layout_of_the_rfc() {
        let request = pcp_request(NONCE, Ipv4Addr::new(192, 168, 1, 5), 4300, 4301, 120);
        assert_eq!(request.len(), 60);
        assert_eq!(request[..8], [2, 1, 0, 0, 0, 0, 0, 120]);
        assert_eq!(request[18..24], [0xff, 0xff, 192, 168, 1, 5]);
        assert_eq!(request[36..44], [17, 0, 0, 0, 0x10, 0xcc, 0x10, 0xcd]);
        assert_eq!(
            pmp_request(4300, 4301, 120),
            [0, 1, 0, 0, 0x10, 0xcc, 0x10, 0xcd, 0, 0, 0, 120]
        );
    }

    #[test]
    fn an_answer_counts_only_for_its_own_request() {
        let at = "203.0.113.7:61000".parse().unwrap();
        assert_eq!(
            pcp_answer(&granted(), NONCE, 4300),
            Some(Answer::Granted(at, 120))
        );
        assert_eq!(pcp_answer(&granted(), [8; 12], 4300), None);
        assert_eq!(pcp_answer(&granted(), NONCE, 4301), None);
        let mut refused = granted();
        refused[3] = 2;
        assert_eq!(pcp_answer(&refused, NONCE, 4300), Some(Answer::Refused));
        assert_eq!(pcp_answer(&[0, 129, 0, 1], NONCE, 4300), Some(Answer::Refused));
        let mapped = [0, 129, 0, 0, 0, 0, 0, 9, 0x10, 0xcc, 0xee, 0x48, 0, 0, 0, 120];
        assert_eq!(pmp_answer(&mapped, 4300), Some(Answer::Granted(61_000, 120)));
        assert_eq!(pmp_answer(&mapped, 4301), None);
        let address = [0, 128, 0, 0, 0, 0, 0, 9, 203, 0, 113, 7];
        assert_eq!(
            pmp_address(&address),
            Some(Answer::Granted(Ipv4Addr::new(203, 0, 113, 7), 0))
        );
    }

    proptest! {
        #[test]
        fn nonsense_is_no_grant(datagram in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = (pmp_address(&datagram), pmp_answer(&datagram, 4300));
            let granted = matches!(pcp_answer(&datagram, NONCE, 4300), Some(Answer::Granted(..)));
            prop_assert!(!granted);
        }
    }
}
