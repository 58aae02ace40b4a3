//! A user who pastes an address again.

use super::*;

#[test]
fn a_sender_who_pastes_again_after_the_receiver_has_connected_connects_too() {
    for bare in [[false; 2], [true; 2]] {
        for seed in 0..SEEDS {
            let mut scene = Scene::new(OPEN, DROPS);
            vary(&mut scene, seed);
            scene.bare = bare;
            let [once, again] = [false, true].map(|again| {
                scene.again = [again, false];
                let mut world = World::new(scene.clone());
                world.run();
                assert!(world.all_pasted_again());
                let outcomes = world.connected();
                outcomes.unwrap_or_else(|| panic!("not connected: {bare:?} seed {seed}"))[0].at
            });
            // The next slot may be needed.
            assert!(
                again.since(once) <= Duration::from_secs(11),
                "{bare:?} seed {seed}: {once:?} {again:?}"
            );
        }
    }
}
