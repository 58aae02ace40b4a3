//! Extended attributes of an entry, in the form in which they are sent: those that users set (`user.`) and
//! the POSIX access control lists. Attributes that give rights to programs or belong to the system
//! (`security.`, `trusted.`) are never sent.
//!
//! ```text
//! for each, in the order of the names: name: length 8, bytes | value: length 16, bytes
//! ```

use std::collections::BTreeMap;

use crate::protocol::codec::Reader;
use crate::transfer::error::Malformed;
use crate::transfer::manifest::door;

/// Most bytes that all attributes of an entry may take. Most file systems hold less per file.
pub(crate) const MAX_ATTRIBUTES: usize = 16 << 10;

/// Most attributes of an entry.
const MAX_COUNT: usize = 64;

/// Names of attributes that users set begin with this: xattr(7).
const USERS: &[u8] = b"user.";

/// The access control list of a file or directory, and the one that new files in a directory get: acl(5).
const ACCESS_LISTS: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];

/// The name of the field in error messages.
const WHAT: &str = "extended attributes";

/// Names and values.
pub(crate) type Pairs<'a> = Vec<(&'a [u8], &'a [u8])>;

/// What to do with extended attributes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Attributes {
    /// Leave them out, and tell the user.
    #[default]
    LeaveOut,
    /// Send them, or keep what is sent (`--xattrs`).
    Keep,
}

/// Whether an attribute with this name may be sent.
pub(crate) fn is_allowed(name: &[u8]) -> bool {
    let is_users = name.strip_prefix(USERS).is_some_and(|rest| !rest.is_empty());
    (is_users || ACCESS_LISTS.contains(&name)) && name.len() <= usize::from(u8::MAX) && !name.contains(&0)
}

/// The form of these attributes in an entry. `None` if they are above the limit for one entry.
pub(crate) fn encode(attributes: &BTreeMap<Vec<u8>, Vec<u8>>) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for (name, value) in attributes {
        out.push(u8::try_from(name.len()).ok()?);
        out.extend_from_slice(name);
        out.extend_from_slice(&u16::try_from(value.len()).ok()?.to_be_bytes());
        out.extend_from_slice(value);
    }
    (attributes.len() <= MAX_COUNT && out.len() <= MAX_ATTRIBUTES).then_some(out)
}

/// Reads what [`encode`] wrote, or what a peer sent in its place.
pub(super) fn decode(bytes: &[u8]) -> Result<Pairs<'_>, Malformed> {
    let mut reader = Reader::new(bytes, WHAT);
    let mut found = Pairs::new();
    while !reader.is_empty() {
        let name_len = usize::from(reader.u8()?);
        let name = reader.bytes(name_len)?;
        let value = reader.string()?;
        let is_next = found.last().is_none_or(|&(last, _)| last < name);
        if !is_next || !is_allowed(name) || found.len() == MAX_COUNT {
            return Err(Malformed::Value(WHAT));
        }
        found.push((name, value));
    }
    Ok(found)
}

/// A peer's attributes of an entry, made safe: they give others no more rights than this user's own settings
/// do.
pub(super) fn tame(bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut tamed = BTreeMap::new();
    for (name, value) in decode(bytes)? {
        let mut value = value.to_vec();
        if ACCESS_LISTS.contains(&name) {
            door::access_list(&mut value).ok_or(Malformed::Value("access control list"))?;
        }
        tamed.insert(name.to_vec(), value);
    }
    encode(&tamed).ok_or(Malformed::TooMuch(WHAT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &[u8], value: &[u8]) -> Vec<u8> {
        let mut out = vec![name.len() as u8];
        out.extend_from_slice(name);
        out.extend_from_slice(&(value.len() as u16).to_be_bytes());
        out.extend_from_slice(value);
        out
    }

    /// An access control list with these entries: kind, rights, and the user or group.
    fn list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut out = 2u32.to_le_bytes().to_vec();
        for (kind, rights, id) in entries {
            out.extend_from_slice(&kind.to_le_bytes());
            out.extend_from_slice(&rights.to_le_bytes());
            out.extend_from_slice(&id.to_le_bytes());
        }
        out
    }

    #[test]
    fn what_is_encoded_is_read_again() {
        let all = BTreeMap::from([
            (b"user.author".to_vec(), b"me".to_vec()),
            (b"user.empty".to_vec(), Vec::new()),
        ]);
        let bytes = encode(&all).unwrap();
        let expected: Pairs<'_> = vec![(b"user.author", b"me"), (b"user.empty", b"")];
        assert_eq!(decode(&bytes).unwrap(), expected);
        assert_eq!(tame(&bytes).unwrap(), bytes);
        assert!(decode(&[]).unwrap().is_empty());
    }

    #[test]
    fn attributes_that_give_rights_or_make_no_sense_are_refused() {
        let good = one(b"user.b", b"x");
        for bad in [
            one(b"security.capability", b"x"),
            one(b"security.selinux", b"x"),
            one(b"trusted.overlay.opaque", b"y"),
            one(b"system.nfs4_acl", b"x"),
            one(b"system.posix_acl_access.", b"x"),
            one(b"User.b", b"x"),
            one(b"user.", b"x"),
            one(b"", b"x"),
            one(b"user.a\0b", b"x"),
            [good.clone(), good.clone()].concat(),
            [good.clone(), one(b"user.a", b"x")].concat(),
            good[..good.len() - 1].to_vec(),
            [&good[..], &[3]].concat(),
            (0..=MAX_COUNT)
                .flat_map(|n| one(format!("user.{n:03}").as_bytes(), b""))
                .collect(),
        ] {
            assert!(decode(&bad).is_err(), "{bad:?}");
        }
        for bad in [
            &b""[..],
            b"x",
            &list(&[])[..3],
            &list(&[(1, 7, 0)])[..11],
            &[3, 0, 0, 0],
        ] {
            assert!(tame(&one(b"system.posix_acl_access", bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_access_control_list_lets_nobody_else_write() {
        // The owner, a user, the owning group, a group, the mask, others.
        let sent = list(&[
            (1, 7, 0),
            (2, 7, 1001),
            (4, 7, 0),
            (8, 6, 50),
            (16, 7, 0),
            (32, 7, 0),
        ]);
        for name in ACCESS_LISTS {
            let tamed = tame(&one(name, &sent)).unwrap();
            let value = decode(&tamed).unwrap()[0].1;
            let rights: Vec<u16> = value[4..]
                .chunks(8)
                .map(|e| u16::from_le_bytes([e[2], e[3]]))
                .collect();
            assert!(rights[1..].iter().all(|rights| rights & 2 == 0), "{rights:?}");
            assert_eq!(rights[0] & 6, 6);
        }
    }
}
