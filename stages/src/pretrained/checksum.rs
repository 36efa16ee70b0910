//! SHA-256 of a file, in which publishers of weights state what a complete download is.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

/// Bytes that are read at a time.
const BLOCK: usize = 1 << 20;

/// The SHA-256 of a file in hexadecimal digits.
///
/// # Errors
/// The file cannot be read.
pub fn checksum(path: &Path) -> io::Result<String> {
    let (mut file, mut block) = (File::open(path)?, vec![0; BLOCK]);
    let mut hasher = Sha256::new();
    loop {
        match file.read(&mut block)? {
            0 => break,
            read => hasher.update(&block[..read]),
        }
    }
    let mut digits = String::new();
    for byte in hasher.finalize() {
        write!(digits, "{byte:02x}").expect("writing to a string cannot fail");
    }
    Ok(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first two examples of FIPS 180-2, and one that is longer than a block.
    #[test]
    fn the_examples_of_the_standard() {
        let folder = tempfile::tempdir().unwrap();
        let check = |bytes: &[u8], expected: &str| {
            let path = folder.path().join("x");
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(checksum(&path).unwrap(), expected);
        };
        check(b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        check(
            b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        );
        check(&vec![b'a'; 1_000_000], "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    }
}
