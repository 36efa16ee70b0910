//! TensorFlow's file of records: each message with its length and checksums.
//!
//! **Formula** A record is `length (u64), masked crc(length), bytes, masked crc(bytes)`, little-endian; the checksum is CRC-32C
//! (Castagnoli), and `masked c = rotate_right(c, 15) + 0xa282ead8`.
//!
//! **Source** `tensorflow/core/lib/io/record_writer.h`.

use prost::Message;

/// The reversed polynomial of CRC-32C.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// The bytes of a file with these messages.
pub(super) fn records<M: Message>(messages: &[M]) -> Vec<u8> {
    let table = table();
    let mut file = Vec::new();
    for message in messages {
        let bytes = message.encode_to_vec();
        let length = (bytes.len() as u64).to_le_bytes();
        for part in [&length[..], &bytes] {
            file.extend(part);
            file.extend(masked(crc(&table, part)).to_le_bytes());
        }
    }
    file
}

fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

fn crc(table: &[u32; 256], bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, &byte| (crc >> 8) ^ table[usize::from(crc as u8 ^ byte)])
}

/// The remainder of each byte.
fn table() -> [u32; 256] {
    std::array::from_fn(|byte| {
        (0..8).fold(byte as u32, |crc, _| if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vectors of RFC 3720, section B.4.
    #[test]
    fn the_checksum_is_castagnolis() {
        let table = table();
        assert_eq!(crc(&table, &[0; 32]), 0x8a91_36aa);
        assert_eq!(crc(&table, &[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc(&table, b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_record_has_its_length_and_two_checksums() {
        let file = records(&[String::from("abc")]);
        // A string as a message is field 1.
        assert_eq!((file.len(), &file[..8], &file[12..17]), (21, &[5, 0, 0, 0, 0, 0, 0, 0][..], &b"\x0a\x03abc"[..]));
        assert_eq!(file[17..], masked(crc(&table(), &file[12..17])).to_le_bytes());
    }
}
