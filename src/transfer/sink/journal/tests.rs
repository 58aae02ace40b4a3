use proptest::prelude::*;

use super::*;

const DIR: Stat = Stat {
    inode: 12,
    device: 0,
    born: 34,
    owner: 56,
    mode: 0o700,
};

fn key() -> OwnerKey {
    OwnerKey::from_bytes([9; 32])
}

fn decode(bytes: &[u8]) -> Result<JournalContents, Malformed> {
    JournalContents::decode(bytes, &key(), &DIR)
}

fn sample() -> Vec<u8> {
    let header = JournalHeader {
        manifest_hash: [1; 32],
        names_hash: [2; 32],
        total: Some(77),
        private: true,
    };
    let (mut bytes, mut chain) = header.encode(&key(), &DIR);
    for index in [0, 1, 5, 0] {
        let cv = [bytes.len() as u8; 32];
        Record::Block { index, cv }.encode(&mut chain, &mut bytes);
    }
    let sealed = Record::Sealed {
        onto: Onto::WhatCame,
        conflicts: Conflicts::Overwrite,
        root: Root([7; 32]),
    };
    sealed.encode(&mut chain, &mut bytes);
    bytes
}

#[test]
fn a_torn_tail_is_ignored_wherever_it_is_torn() {
    let bytes = sample();
    let whole = decode(&bytes).unwrap();
    assert_eq!(
        (whole.blocks.len(), whole.sealed, whole.intact),
        (3, Some(Conflicts::Overwrite), (bytes.len() - RECORD_LEN) as u64)
    );
    assert_eq!(whole.header.total, Some(77));
    for cut in 0..bytes.len() {
        match decode(&bytes[..cut]) {
            Err(_) => assert!(cut < HEADER_LEN),
            Ok(part) => {
                assert!(part.sealed.is_none() && part.intact <= cut as u64);
                assert_eq!((part.intact as usize - HEADER_LEN) % RECORD_LEN, 0);
            }
        }
    }
}

#[test]
fn a_journal_of_another_key_or_directory_is_not_ours() {
    let bytes = sample();
    assert!(JournalContents::decode(&bytes, &OwnerKey::from_bytes([8; 32]), &DIR).is_err());
    let others = [
        Stat { inode: 13, ..DIR },
        Stat { born: 35, ..DIR },
        Stat { owner: 57, ..DIR },
    ];
    for other in others {
        assert!(JournalContents::decode(&bytes, &key(), &other).is_err());
    }
}

#[test]
fn records_of_another_journal_or_out_of_order_are_not_taken() {
    let bytes = sample();
    let record = |n: usize| &bytes[HEADER_LEN + n * RECORD_LEN..][..RECORD_LEN];
    let header = &bytes[..HEADER_LEN];
    let seal_alone = decode(&[header, record(4)].concat()).unwrap();
    assert!(seal_alone.sealed.is_none() && seal_alone.blocks.is_empty());
    let left_out = decode(&[header, record(0), record(2)].concat()).unwrap();
    assert_eq!(left_out.blocks.len(), 1);
}

proptest! {
    #[test]
    fn damage_ends_the_journal_and_never_invents_a_record(at in 0usize..1000, bit in 0u8..8) {
        let mut bytes = sample();
        let whole = decode(&bytes).unwrap();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        if let Ok(got) = decode(&bytes) {
            prop_assert!(got.intact <= at as u64);
            prop_assert!(got.sealed.is_none());
            prop_assert!(got.blocks.len() <= whole.blocks.len());
        }
    }

    #[test]
    fn records_with_proofs_that_fit_say_anything_and_do_not_panic(
        bodies in proptest::collection::vec((0u8..7, any::<u32>(), any::<[u8; 32]>()), 0..20),
    ) {
        let mut bytes = sample()[..HEADER_LEN].to_vec();
        let mut chain = decode(&bytes).unwrap().chain;
        for (kind, number, hash) in &bodies {
            let at = bytes.len();
            bytes.push(*kind);
            bytes.extend(number.to_be_bytes());
            bytes.extend(hash);
            chain.last = chain.next(&bytes[at..]);
            bytes.extend(chain.last.as_bytes());
        }
        let got = decode(&bytes).unwrap();
        let taken = bodies.iter().take_while(|body| [1, 3, 4].contains(&body.0)).count();
        prop_assert_eq!(got.intact, (HEADER_LEN + taken * RECORD_LEN) as u64);
    }

    #[test]
    fn random_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes);
    }
}
