use proptest::prelude::*;

use super::*;
use crate::protocol::rng::SplitMix64;

const B: u64 = BLOCK_LEN as u64;

fn drain(a: &mut Assembler) -> Vec<(u32, Extent)> {
    let mut out = Vec::new();
    while let Some(f) = a.poll_filled() {
        out.push((f.block.get(), f.extent));
        a.recycle(f.buffer);
    }
    out
}

#[test]
fn a_piece_may_cross_blocks_and_the_last_block_is_short() {
    let mut a = Assembler::new(4, Some(B + 10));
    assert_eq!(a.write(0, &vec![1; BLOCK_LEN - 5]), Taken::New);
    assert_eq!(a.write(B - 5, &[2; 15]), Taken::New);
    assert_eq!(
        drain(&mut a),
        [(0, Extent::Whole(BLOCK_LEN)), (1, Extent::Whole(10))]
    );
    assert_eq!(a.write(B - 5, &[2; 15]), Taken::Duplicate);
    assert_eq!(a.write(B, &[2; 11]), Taken::Beyond);
    assert_eq!(a.write(u64::MAX, &[2; 11]), Taken::Beyond);
}

#[test]
fn the_least_recently_touched_block_gives_way() {
    let mut a = Assembler::new(4, Some(100 * B));
    for block in [0, 1, 2, 0] {
        a.write(block * B + 7 * block, &[1; 9]);
    }
    assert_eq!(a.write(3 * B, &[1; 9]), Taken::New);
    let spilled = a.poll_filled().unwrap();
    assert_eq!((spilled.block.get(), spilled.extent), (1, Extent::Part));
    assert_eq!(spilled.spans.iter().collect::<Vec<_>>(), [&(7..16)]);
    assert_eq!(
        a.write(4 * B, &[1; 9]),
        Taken::Full,
        "the fourth buffer is with the disk"
    );
    a.recycle(spilled.buffer);
    assert_eq!(a.write(4 * B, &[1; 9]), Taken::New);
    assert_eq!(a.write(B, &[1; 9]), Taken::Full);
}

#[test]
fn scattered_bytes_use_bounded_memory() {
    let mut a = Assembler::new(2, Some(B));
    let refused = (0..10_000)
        .filter(|i| a.write(i * 2, &[1]) == Taken::Full)
        .count();
    assert_eq!(refused, 10_000 - MAX_SPANS);
    assert_eq!(a.write(1, &[1]), Taken::New, "filling a hole is always possible");
}

#[test]
fn an_ended_stream_completes_its_last_block() {
    let mut a = Assembler::new(4, None);
    a.write(0, &[1; 700]);
    assert!(drain(&mut a).is_empty());
    assert!(a.set_total(700));
    assert_eq!(drain(&mut a), [(0, Extent::Whole(700))]);
    let mut a = Assembler::new(4, None);
    a.write(0, &[1; 700]);
    assert!(!a.set_total(699));
}

#[test]
fn complete_blocks_cost_no_buffer_until_reopened() {
    let mut a = Assembler::new(2, Some(9 * B));
    a.write(3 * B + 5, &[1; 5]);
    a.mark_complete(BlockIndex::new(0), BlockIndex::new(8));
    assert_eq!(
        (a.write(5 * B, &[1; 5]), a.write(3 * B, &[1; 5]), a.room()),
        (Taken::Duplicate, Taken::Duplicate, 2)
    );
    a.reopen(BlockIndex::new(5));
    assert_eq!(a.write(5 * B, &[1; 5]), Taken::New);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_order_gives_the_content_in_bounded_memory(
        size in 1usize..6 * BLOCK_LEN, limit in 2usize..7, seed in any::<u64>(), piece in 50_000usize..200_000,
    ) {
        let content: Vec<u8> = (0..size).map(|i| (i / 7) as u8 ^ (i % 251) as u8).collect();
        let mut order: Vec<usize> = (0..size.div_ceil(piece)).collect();
        let mut random = SplitMix64::new(seed);
        for i in (1..order.len()).rev() {
            order.swap(i, random.next_u64() as usize % (i + 1));
        }
        let mut a = Assembler::new(limit, Some(size as u64));
        let mut out = vec![0u8; size];
        let mut whole = 0;
        for &i in order.iter().chain(&order) {
            let (s, e) = (i * piece, ((i + 1) * piece).min(size));
            loop {
                let taken = a.write(s as u64, &content[s..e]);
                prop_assert!(a.allocated <= limit);
                let mut freed = false;
                while let Some(f) = a.poll_filled() {
                    freed = true;
                    let base = f.block.start() as usize;
                    for span in f.spans.iter() {
                        let (s, e) = (span.start as usize, span.end as usize);
                        out[base + s..base + e].copy_from_slice(&f.buffer[s..e]);
                    }
                    whole += u32::from(f.extent != Extent::Part);
                    a.recycle(f.buffer);
                }
                if taken != Taken::Full {
                    break;
                }
                prop_assert!(freed, "full, with nothing to wait for");
            }
        }
        prop_assert_eq!(whole, block_count(size as u64));
        prop_assert_eq!(a.spilled.len() + a.spilled_spans + a.open.len() + a.lent, 0);
        prop_assert!(out == content);
    }
}
