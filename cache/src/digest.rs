//! Digests of bytes ([`Digest`]) and keys of tasks ([`Key`]): both are 32 bytes of BLAKE3, but they are distinct types.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The BLAKE3 digest of bytes that exist.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// The digest of a task's fingerprint. It identifies a task's result before the task has run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key([u8; 32]);

impl Digest {
    /// Hashes `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl Key {
    /// Hashes a fingerprint in canonical form. The caller must ensure that equal tasks have equal text.
    ///
    /// Keys are hashed in their own BLAKE3 context, so a key never equals the digest of a file with the same text.
    pub fn of(canonical_fingerprint: &str) -> Self {
        Self(blake3::derive_key("dnc-cache 2025 key of a fingerprint", canonical_fingerprint.as_bytes()))
    }
}

/// Incremental hasher.
#[derive(Clone, Debug, Default)]
pub struct Hasher(blake3::Hasher);

impl Hasher {
    /// Creates a hasher without input.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends bytes. The digest does not depend on how the input is split into calls.
    pub fn update(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(bytes);
        self
    }

    /// Appends the length of `text` and then `text`, so that consecutive texts cannot be confused with one another.
    pub fn update_text(&mut self, text: &str) -> &mut Self {
        self.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes())
    }

    /// The digest of all input so far.
    pub fn finish(&self) -> Digest {
        self.0.finalize().into()
    }
}

impl std::io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl From<blake3::Hash> for Digest {
    fn from(hash: blake3::Hash) -> Self {
        Self(hash.into())
    }
}

/// Parses 64 lower-case hexadecimal digits. There is no branch per digit, because a plan of 10,000 nodes parses 100,000 digests.
fn read_hex(text: &str) -> Option<[u8; 32]> {
    const NONE: u8 = 0xff;
    const VALUES: [u8; 256] = {
        let mut values = [NONE; 256];
        let mut digit = 0;
        while digit < 16 {
            values[b"0123456789abcdef"[digit] as usize] = digit as u8;
            digit += 1;
        }
        values
    };
    let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; 32];
    let mut seen = 0;
    for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        let [high, low] = pair.map(|digit| VALUES[usize::from(digit)]);
        seen |= high | low;
        *byte = high << 4 | low & 0xf;
    }
    (seen < 16).then_some(bytes)
}

/// Error of parsing a [`Digest`] or [`Key`]: the text is not 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a digest of 64 hexadecimal digits")]
pub struct ParseDigestError {
    /// The text.
    pub text: String,
}

/// Implements conversion from and to text for both types.
macro_rules! hexadecimal_text {
    ($name:ident) => {
        impl $name {
            /// Creates the value from its 32 bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The first ten digits, for messages.
            pub fn short(&self) -> String {
                self.to_string()[..10].to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&blake3::Hash::from_bytes(self.0).to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl FromStr for $name {
            type Err = ParseDigestError;

            /// Parses 64 lower-case digits, the only form that is ever written.
            fn from_str(text: &str) -> Result<Self, ParseDigestError> {
                read_hex(text).map(Self).ok_or_else(|| ParseDigestError { text: text.to_owned() })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&blake3::Hash::from_bytes(self.0).to_hex())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Hex;
                impl de::Visitor<'_> for Hex {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("64 hexadecimal digits")
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Hex)
            }
        }
    };
}

hexadecimal_text!(Digest);
hexadecimal_text!(Key);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_answer() {
        // From the BLAKE3 specification's test vectors: the empty input.
        let empty = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(Digest::of(b"").to_string(), empty);
        assert_eq!(Digest::of(b"").short(), "af1349b9f5");
        assert_eq!(format!("{:?}", Digest::of(b"")), "Digest(af1349b9f5)");
    }

    #[test]
    fn a_key_is_not_the_digest_of_its_text() {
        assert_ne!(Key::of("x").as_bytes(), Digest::of(b"x").as_bytes());
    }

    #[test]
    fn invalid_texts_are_refused() {
        let good = Digest::of(b"x").to_string();
        for bad in ["", "af13", &good[1..], &good.to_uppercase(), &format!("{good}0"), &good.replace('0', "g")] {
            if bad == good {
                continue;
            }
            assert_eq!(bad.parse::<Digest>(), Err(ParseDigestError { text: bad.to_owned() }));
        }
    }

    proptest! {
        #[test]
        fn text_and_json_round_trip(bytes: [u8; 32]) {
            let digest = Digest::from_bytes(bytes);
            prop_assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
            let json = serde_json::to_string(&digest).unwrap();
            prop_assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        }

        #[test]
        fn keys_sort_like_their_text(a: [u8; 32], b: [u8; 32]) {
            let (a, b) = (Key::from_bytes(a), Key::from_bytes(b));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }

        #[test]
        fn the_digest_does_not_depend_on_how_the_input_is_split(bytes: Vec<u8>, cut in 0usize..100) {
            let cut = cut.min(bytes.len());
            let mut hasher = Hasher::new();
            hasher.update(&bytes[..cut]).update(&bytes[cut..]);
            prop_assert_eq!(hasher.finish(), Digest::of(&bytes));
        }
    }
}
