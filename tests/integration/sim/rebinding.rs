//! Both ends' routers rebind in the midst of a lossy transfer, behind every kind of filtering.
//!
//! A rebinding happens at its moment, or as soon after it as the ends could still find each other in theory: each
//! sends wherever it has ever heard its peer, and to what was pasted. What theory allows must happen.

use std::sync::Arc;
use std::time::Duration;

use p2pcopy::parts::protocol::{Role, Time};

use crate::sim::fixed::Fixed;
use crate::sim::link::{Profile, Rng};
use crate::sim::nat::{Filtering, Rebinding};
use crate::sim::pair::Pair;
use crate::sim::{MBIT, at, ms};

/// Of the link and of the sender.
const RATE: u64 = 2 * MBIT;
const LOSS: f64 = 0.3;
/// What a transfer takes without rebindings, at most.
const UNDISTURBED: Duration = Duration::from_secs(15);
/// What a rebinding adds, at most: 8 s until silence is noticed, 10 s until the next slot, 10 s more if that slot's
/// port pair is one that no longer works, the slot's 4 s, and the moves themselves.
const EACH: Duration = Duration::from_secs(40);
/// A rebinding that theory does not allow for this long is left out.
const PATIENCE: Duration = Duration::from_secs(20);

struct Planned {
    at: Time,
    role: Role,
    how: Rebinding,
}

fn plan(rng: &mut Rng) -> Vec<Planned> {
    let both_at_once = rng.chance(0.4);
    let mut moment = at(1000 + rng.next() % 3000);
    let mut planned = Vec::new();
    for round in 0..1 + rng.next() % 4 {
        let role = [Role::Sender, Role::Receiver][((round + u64::from(rng.chance(0.2))) % 2) as usize];
        let how = match rng.next() % 4 {
            0 => Rebinding::Contacts,
            1 => Rebinding::OnePort(0),
            2 => Rebinding::AllPorts,
            _ => Rebinding::Address,
        };
        planned.push(Planned {
            at: moment,
            role,
            how,
        });
        if !both_at_once {
            moment += ms(rng.next() % 3000);
        }
    }
    planned
}

/// Gives how many rebindings there were, and what the transfer took beyond what it may take undisturbed.
fn run(filtering: [Filtering; 2], seed: u64) -> (u32, Duration) {
    let mut rng = Rng::new(seed);
    let mut link = Profile::new(RATE, ms(5 + rng.next() % 100), 50_000);
    link.loss = LOSS;
    link.mtu = 1472;
    let total = 500_000 + rng.next() % 700_000;
    // Always at the link's rate: what a controller makes of 30% loss is not the matter here.
    let fixed = |_: Time| {
        Box::new(Fixed {
            rate: RATE,
            window: RATE,
            told: Arc::default(),
        }) as _
    };
    let mut pair = Pair::behind(filtering, fixed, link.clone(), link, total, seed);
    let mut planned = plan(&mut rng);
    let (mut count, began) = (0, pair.now);
    while !pair.is_complete() {
        let took = pair.now.since(began);
        assert!(
            took <= UNDISTURBED + EACH * count,
            "seed {seed}, {filtering:?}: {} of {total} bytes after {took:?} and {count} rebindings; {:?}",
            pair.got.count(),
            pair.events
        );
        if let Some(next) = planned.first_mut().filter(|next| next.at <= pair.now) {
            if let Rebinding::OnePort(socket) = &mut next.how {
                let end = match next.role {
                    Role::Sender => &pair.sender,
                    Role::Receiver => &pair.receiver,
                };
                *socket = end.path().local;
            }
            let (role, how) = (next.role, next.how);
            if pair.could_meet_after(role, how) {
                pair.rebind(role, how);
                count += 1;
                planned.remove(0);
            } else if pair.now > next.at + PATIENCE {
                planned.remove(0);
            }
        }
        pair.step();
    }
    (count, pair.now.since(began).saturating_sub(UNDISTURBED))
}

fn all(seeds: u64) {
    if let Some(seed) = std::env::var("SIM_SEED").ok().and_then(|s| s.parse().ok()) {
        for a in Filtering::ALL {
            for b in Filtering::ALL {
                println!("{a:?} x {b:?}: {:?}", run([a, b], seed));
            }
        }
        return;
    }
    for a in Filtering::ALL {
        for b in Filtering::ALL {
            let (mut count, mut longest) = (0, Duration::ZERO);
            for seed in 0..seeds {
                let (rebindings, took) = run([a, b], seed);
                count += rebindings;
                longest = longest.max(took);
            }
            println!("{a:?} x {b:?}: {count} rebindings, at most {longest:?} beyond {UNDISTURBED:?}");
            assert!(
                u64::from(count) > seeds * 3 / 4,
                "too few rebindings to tell anything"
            );
        }
    }
}

#[test]
fn whatever_rebinds_a_transfer_goes_on_where_theory_allows() {
    all(100);
}

#[test]
#[ignore = "takes minutes: thousands of seeds for each of nine pairs of routers"]
fn whatever_rebinds_over_thousands_of_seeds() {
    all(1000);
}
