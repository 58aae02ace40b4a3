//! Whole connections over seeded links, in virtual time.
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

mod link;
mod pair;

use link::Profile;
use pair::Pair;
use std::time::Duration;

const MBIT: u64 = 125_000;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn wan(mbit: u64, rtt: u64, loss: f64) -> (Profile, Profile) {
    let rate = mbit * MBIT;
    let bdp = rate * rtt / 1000;
    let mut p = Profile::new(rate, ms(rtt / 2), bdp.max(30_000));
    p.loss = loss;
    p.mtu = 1472;
    (p.clone(), Profile { loss, ..p })
}

#[test]
fn show() {
    for (mbit, rtt, loss) in [
        (100, 100, 0.0),
        (100, 100, 0.01),
        (100, 20, 0.05),
        (500, 100, 0.001),
        (1000, 20, 0.0),
        (20, 40, 0.1),
    ] {
        let (f, b) = wan(mbit, rtt, loss);
        let total = mbit * MBIT * 10;
        let mut pair = Pair::new(f, b, total, 7);
        pair.check_nonces = false;
        let t = std::time::Instant::now();
        let o = pair.run(Duration::from_secs(40));
        let ideal = 10.0 / (1.0 - loss);
        println!(
            "{mbit} Mbit {rtt} ms {loss}: {:?} {:.1}% sent {} lost {} repeated {} queue median {:?} inflight {} {:?} back {:?} wall {:?}",
            o.finished,
            o.finished.map_or(0.0, |d| 100.0 * ideal / d.as_secs_f64()),
            o.sent_packets,
            o.sender_loss,
            o.repeated,
            o.queue[o.queue.len() / 2],
            o.most_in_flight,
            pair.forward.totals,
            pair.back.totals,
            t.elapsed()
        );
    }
}
