//! Random bytes from a seed, so that a whole rendezvous can be replayed from one number.
//!
//! The driver of the core reads the system's randomness once and hands it in. A seed must never be used
//! twice: two handshakes with the same seed would have the same ephemeral keys.

use std::time::Duration;

use rand_core::{CryptoRng, RngCore};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use zeroize::{Zeroize, Zeroizing};

/// 32 random bytes for one purpose, wiped when dropped.
pub(crate) type Seed = Zeroizing<[u8; 32]>;

/// A stream of bytes that BLAKE3's extendable output makes from a seed.
pub(crate) struct SeedRng {
    reader: blake3::OutputReader,
}

impl SeedRng {
    /// A separate stream for each `context`, which names the purpose.
    pub(crate) fn new(seed: &[u8; 32], context: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(seed);
        let reader = hasher.finalize_xof();
        hasher.zeroize();
        SeedRng { reader }
    }

    /// A seed for another stream.
    pub(crate) fn seed(&mut self) -> Seed {
        Seed::new(self.array())
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.reader.fill(&mut out);
        out
    }

    /// The next 64 bits as a number.
    pub(crate) fn next_u64(&mut self) -> u64 {
        u64::from_be_bytes(self.array())
    }

    /// A duration between 80% and 120% of `base`. Peers that send in step would lose packets together.
    pub(crate) fn jittered(&mut self, base: Duration) -> Duration {
        let permille = u32::try_from(800 + self.next_u64() % 401).unwrap_or(1000);
        base * permille / 1000
    }
}

impl Drop for SeedRng {
    fn drop(&mut self) {
        self.reader.zeroize();
    }
}

/// For `spake2`.
impl CryptoRng for SeedRng {}

impl RngCore for SeedRng {
    fn next_u32(&mut self) -> u32 {
        u32::from_be_bytes(self.array())
    }

    fn next_u64(&mut self) -> u64 {
        u64::from_be_bytes(self.array())
    }

    fn fill_bytes(&mut self, dest: &mut [u8]) {
        self.reader.fill(dest);
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), rand_core::Error> {
        self.reader.fill(dest);
        Ok(())
    }
}

/// For `snow`.
impl Random for SeedRng {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        self.reader.fill(dest);
        Ok(())
    }
}

/// The primitives of snow, with randomness from a seed.
pub(super) struct SeededResolver {
    seed: Seed,
}

impl SeededResolver {
    /// Randomness for one handshake. No other handshake may use the seed.
    pub(super) fn boxed(seed: &[u8; 32]) -> Box<Self> {
        Box::new(SeededResolver {
            seed: Seed::new(*seed),
        })
    }
}

/// Wraps a key exchange and wipes its private key, which the library keeps in a plain array.
struct Wiped(Box<dyn Dh>);

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.set(&[0; 32]);
    }
}

impl Dh for Wiped {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn pub_len(&self) -> usize {
        self.0.pub_len()
    }

    fn priv_len(&self) -> usize {
        self.0.priv_len()
    }

    fn set(&mut self, privkey: &[u8]) {
        self.0.set(privkey);
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        self.0.generate(rng)
    }

    fn pubkey(&self) -> &[u8] {
        self.0.pubkey()
    }

    fn privkey(&self) -> &[u8] {
        self.0.privkey()
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        self.0.dh(pubkey, out)
    }
}

/// The library's key exchange, which is wiped when dropped.
pub(super) fn x25519(choice: &DHChoice) -> Option<Box<dyn Dh>> {
    Some(Box::new(Wiped(DefaultResolver.resolve_dh(choice)?)))
}

impl CryptoResolver for SeededResolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(SeedRng::new(&self.seed, "p2pcopy 1 noise ephemeral")))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        x25519(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}
