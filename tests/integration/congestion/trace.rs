//! One run, to be looked at.

use crate::congestion::cell::{Cell, Trouble, add, at};
use crate::sim::flow;
use crate::sim::flow::PACKET;

/// TRACE="mbit rtt loss% buffer [bursts | blackouts | policer | return | jitter-ms]" prints a run, one line each STEP ms.
#[test]
#[ignore = "prints a run"]
fn trace() {
    let spec = std::env::var("TRACE").unwrap_or_else(|_| "100 50 0 1".into());
    let mut words = spec.split(' ');
    let v: Vec<f64> = words.by_ref().take(4).map(|x| x.parse().unwrap()).collect();
    let step = std::env::var("STEP").map_or(0.1, |s| s.parse::<f64>().unwrap() / 1000.0);
    let trouble = words.next().map_or(Trouble::None, |word| match word {
        "bursts" => Trouble::Bursts,
        "blackouts" => Trouble::Blackouts,
        "policer" => Trouble::Policer,
        "return" => Trouble::NarrowReturn,
        jitter => Trouble::Jitter(jitter.parse().unwrap()),
    });
    let cell = Cell::new(v[0], v[1], v[2] / 100.0, v[3]).with(trouble);
    let names = std::env::var("FLOWS").unwrap_or_else(|_| "bbr".into());
    let seed = std::env::var("SEED").map_or(1, |s| s.parse().unwrap());
    let mut w = cell.world(seed);
    for (i, name) in names.split(' ').enumerate() {
        add(&mut w, name, 2.0 * i as f64, v[1], seed + i as u64, None);
    }
    let change: Option<Vec<f64>> = std::env::var("CHANGE")
        .ok()
        .map(|c| c.split(' ').map(|x| x.parse().unwrap()).collect());
    let change = change.as_ref();
    let mut last = vec![Default::default(); w.flows.len()];
    let mut t = 0.0;
    while t < std::env::var("END").map_or(12.0, |s| s.parse().unwrap()) {
        t += step;
        w.run(at(t));
        if let Some(mbit) = change.filter(|c| c[0] <= t).map(|c| c[1]) {
            w.forth.set_rate((mbit * 125_000.0) as u64);
        }
        for (f, l) in w.flows.iter().zip(&mut last) {
            let l: &mut flow::Stats = l;
            let c = f.recovery.controller();
            let debug = format!("{c:?}");
            let field = |name: &str| {
                debug
                    .split(name)
                    .nth(1)
                    .map_or(String::new(), |s| s.chars().take_while(|&c| c != ',').collect())
            };
            println!(
                "{t:7.2} {:?} good {:5.1}% lost {:5.1}% bw {:5.1}% pace {:5.1}% win {:6} q {:6.2}ms lo{} jit{} {}",
                c.stage(),
                100.0 * ((f.stats.useful - l.useful) * PACKET) as f64 / step / cell.ideal(),
                100.0 * (f.stats.lost - l.lost) as f64 / (f.stats.sent - l.sent).max(1) as f64,
                100.0 * c.bandwidth() as f64 / cell.ideal(),
                100.0 * c.pacing_rate() as f64 / cell.rate(),
                c.window() / PACKET,
                w.forth.queue_delay(w.now).as_secs_f64() * 1000.0,
                field("short_term: ShortTerm { bw:"),
                field("jitter:"),
                field("trim:") + field("mode:").split('(').next().unwrap_or_default(),
            );
            *l = f.stats;
        }
    }
}
