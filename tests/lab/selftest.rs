//! The laboratory proves itself: the network is what the tests believe it to be.

use std::time::{Duration, Instant};

use crate::nat::Nat;
use crate::network::{Network, Plan};

#[test]
#[ignore = "needs root: builds network namespaces"]
fn a_network_stands_in_a_second_and_a_half() {
    let start = Instant::now();
    let network = Network::build(Plan::new(Nat::Cone, Nat::MasqueradeDrop));
    let took = start.elapsed();
    println!("built in {took:?}");
    assert!(took < Duration::from_millis(1500), "{took:?}");
    let start = Instant::now();
    drop(network);
    println!("removed in {:?}", start.elapsed());
}
