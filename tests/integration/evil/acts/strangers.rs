//! What somebody without a key sends before the two have met, from the peer's address too.

use std::net::SocketAddr;
use std::time::Duration;

use p2pcopy::parts::protocol::{Role, SplitMix64};

use crate::evil::act::{receiver, sender};
use crate::evil::list::one_file;
use crate::evil::peer::Evil;

/// Bytes of greetings a victim sends of itself, in ten seconds.
const OWN: u64 = 100 * 172;

/// Bytes the victim sends while `act` goes on and for some time after.
fn heard_of(evil: &mut Evil, act: impl FnOnce(&mut Evil)) -> u64 {
    let before = evil.heard.bytes.values().sum::<u64>();
    act(evil);
    evil.waits(Duration::from_secs(2));
    evil.heard.bytes.values().sum::<u64>() - before
}

/// In both roles the transfer succeeds, although `strangers` act before it.
fn goes_well_after(strangers: fn(&mut Evil), bare: bool) {
    let acts = [
        sender(|evil| evil.transfers(&one_file())),
        receiver(|evil| evil.receives()),
    ];
    for act in acts {
        act.against(move |victim| {
            victim.bare = bare;
            victim.strangers = Some(strangers);
        })
        .completes();
    }
}

fn noise(evil: &mut Evil) {
    let mut random = SplitMix64::new(1);
    let heard = heard_of(evil, |evil| {
        let home = evil.at;
        for i in 0..4000u32 {
            let len = [0, 1, 38, 49, 105, 172, 188, 1200][i as usize % 8];
            let mut datagram: Vec<u8> = (0..len).map(|_| random.next_u64() as u8).collect();
            if let Some(first) = datagram.first_mut() {
                *first = 0x40 + (i % 7) as u8;
            }
            if i % 2 == 0 {
                evil.at = SocketAddr::from(([192, 0, 2, 1], 1 + i as u16));
            }
            evil.datagram(datagram);
            evil.at = home;
        }
    });
    assert!(heard < OWN, "{heard} bytes");
}

#[test]
fn noise_before_the_two_meet_is_not_answered_and_does_not_keep_them_apart() {
    goes_well_after(noise, false);
    goes_well_after(noise, true);
}

/// The greetings of two hundred others, from the address that was pasted: each is answered by no more than it brought,
/// and nothing is kept of it.
fn crowd(evil: &mut Evil) {
    let (home, mut sent) = (evil.at, 0);
    let heard = heard_of(evil, |evil| {
        for seed in 3..203 {
            evil.at = SocketAddr::new(home.ip(), 10_000 + u16::from(seed));
            for role in [Role::Sender, Role::Receiver] {
                let greeting = evil.greeting(role, true, seed);
                sent += greeting.len() as u64;
                evil.datagram(greeting);
            }
            evil.at = home;
            evil.waits(Duration::from_millis(5));
        }
    });
    assert!(heard <= OWN + sent, "{heard} bytes for {sent}");
}

#[test]
fn a_crowd_of_bare_hellos_is_not_answered_with_more_and_does_not_keep_the_two_apart() {
    goes_well_after(crowd, true);
}
