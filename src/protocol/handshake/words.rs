//! The words with which users compare a number over the phone.
//!
//! All are common English nouns or names of things. No two share their first four letters, so a misheard
//! ending does not make another word of the list.

/// One word per byte.
pub(crate) const WORDS: [&str; 256] = [
    "acid", "acorn", "actor", "album", "alley", "amber", "anchor", "angle", "ankle", "apple", "apron",
    "arrow", "autumn", "bacon", "badge", "bagel", "balcony", "bamboo", "banjo", "barrel", "basket", "beach",
    "beaver", "bench", "bicycle", "biscuit", "bishop", "blanket", "blossom", "bonfire", "bottle", "bridge",
    "bronze", "bucket", "buffalo", "butter", "cabin", "cactus", "camel", "canal", "candle", "canoe",
    "carpet", "carrot", "castle", "cedar", "cellar", "cement", "chalk", "cherry", "chimney", "cinnamon",
    "circus", "clover", "cobalt", "coconut", "coffee", "comet", "compass", "copper", "coral", "cotton",
    "cradle", "crater", "cricket", "crystal", "cuckoo", "curtain", "dagger", "daisy", "dancer", "deer",
    "desert", "diamond", "dinner", "dolphin", "donkey", "dragon", "drum", "eagle", "earth", "echo", "elbow",
    "elephant", "ember", "engine", "falcon", "feather", "fiddle", "finger", "flute", "forest", "fossil",
    "fountain", "fox", "galaxy", "garden", "garlic", "gazelle", "ginger", "giraffe", "glacier", "goblet",
    "gorilla", "granite", "grape", "gravel", "guitar", "hammer", "harbor", "harvest", "hazel", "hedgehog",
    "helmet", "hermit", "hollow", "honey", "hotel", "hunter", "husky", "iceberg", "igloo", "insect",
    "island", "ivory", "jacket", "jaguar", "jelly", "jigsaw", "jungle", "kangaroo", "kettle", "kitchen",
    "kiwi", "ladder", "lagoon", "lantern", "lemon", "lemur", "leopard", "library", "lizard", "lobster",
    "locket", "lumber", "magnet", "mango", "maple", "marble", "meadow", "melon", "mirror", "mitten",
    "monkey", "mosaic", "muffin", "mustard", "nectar", "needle", "nickel", "noodle", "nutmeg", "oasis",
    "ocean", "olive", "onion", "orchid", "otter", "oyster", "paddle", "palace", "panda", "paper", "parrot",
    "peanut", "pebble", "pelican", "pencil", "pepper", "piano", "pigeon", "pillow", "pirate", "planet",
    "plum", "pocket", "polar", "potato", "pretzel", "puffin", "pumpkin", "puzzle", "quarry", "quilt",
    "rabbit", "radish", "raven", "ribbon", "river", "robin", "rocket", "rubber", "saddle", "sailor",
    "salmon", "sandal", "saturn", "scarf", "school", "scissors", "seal", "shadow", "shelter", "silver",
    "skate", "spider", "spinach", "sponge", "squirrel", "statue", "stone", "sugar", "summit", "sunset",
    "swallow", "table", "tailor", "teapot", "temple", "thunder", "ticket", "tiger", "timber", "toast",
    "tomato", "tractor", "trumpet", "tulip", "tunnel", "turtle", "umbrella", "valley", "vanilla", "velvet",
    "violin", "volcano", "waffle", "walnut", "whale", "willow", "window", "winter", "wizard", "yellow",
    "zebra", "zigzag",
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn words_are_short_plain_and_differ_early() {
        let starts: HashSet<&str> = WORDS.iter().map(|w| &w[..w.len().min(4)]).collect();
        assert_eq!(starts.len(), WORDS.len());
        assert!(
            WORDS
                .iter()
                .all(|w| (3..=8).contains(&w.len()) && w.bytes().all(|b| b.is_ascii_lowercase()))
        );
    }
}
