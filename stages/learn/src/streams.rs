//! Counter-based random streams, derived from the seed by name.
//!
//! A stream is a ChaCha8 generator whose key is the BLAKE3 digest of the seed and a path of names and numbers. The same path gives
//! the same numbers, in any order, on any thread and after any interruption; the streams of different paths are independent.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// A node in the tree of random streams of one seed.
///
/// ```
/// use dnc_learn::streams::Streams;
/// use rand::RngCore;
/// let epoch = Streams::new(7).named("sampler").at(3);
/// assert_eq!(epoch.rng().next_u64(), Streams::new(7).named("sampler").at(3).rng().next_u64());
/// assert_ne!(epoch.rng().next_u64(), Streams::new(7).named("sampler").at(4).rng().next_u64());
/// ```
#[derive(Clone, Debug)]
pub struct Streams {
    path: blake3::Hasher,
}

impl Streams {
    /// The root of the streams of `seed`.
    pub fn new(seed: u64) -> Self {
        let mut path = blake3::Hasher::new_derive_key("dnc 2026 random streams");
        path.update(&seed.to_le_bytes());
        Self { path }
    }

    /// The branch called `name`.
    #[must_use]
    pub fn named(&self, name: &str) -> Self {
        self.branch(b'n', &(name.len() as u64).to_le_bytes(), name.as_bytes())
    }

    /// The branch with the number `index`, such as a round, an epoch, a step or an image id.
    #[must_use]
    pub fn at(&self, index: u64) -> Self {
        self.branch(b'i', &index.to_le_bytes(), &[])
    }

    /// A new generator for this node; every call starts from its first number.
    pub fn rng(&self) -> ChaCha8Rng {
        ChaCha8Rng::from_seed(*self.path.finalize().as_bytes())
    }

    /// A seed for a library that takes a single number.
    pub fn seed(&self) -> u64 {
        let digest = self.path.finalize();
        u64::from_le_bytes(digest.as_bytes()[..8].try_into().expect("a digest has 32 bytes"))
    }

    /// The tag distinguishes names from indices; the length distinguishes `"a", "bc"` from `"ab", "c"`.
    fn branch(&self, tag: u8, head: &[u8], tail: &[u8]) -> Self {
        let mut path = self.path.clone();
        path.update(&[tag]).update(head).update(tail);
        Self { path }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_do_not_collide() {
        let root = Streams::new(0);
        let seeds = [
            root.seed(),
            root.at(0).seed(),
            root.at(1).seed(),
            root.named("a").named("bc").seed(),
            root.named("ab").named("c").seed(),
            root.named("abc").seed(),
            Streams::new(1).seed(),
        ];
        let distinct: std::collections::BTreeSet<_> = seeds.iter().collect();
        assert_eq!(distinct.len(), seeds.len());
    }
}
