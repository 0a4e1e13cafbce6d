//! Kafka's encoding as a broker reads it: primitives, and record batches of version 2. Written from the protocol's
//! description, so that it holds the client to it.

use std::io::Read;

/// A record, with the time made absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub key: String,
    pub value: String,
    pub at_ms: i64,
    pub headers: Vec<(String, String)>,
}

/// Reads from the front; panics where there is too little, for a test is what reads.
#[derive(Debug)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        bytes
    }

    pub fn i8(&mut self) -> i8 {
        i8::from_be_bytes(self.bytes(1).try_into().expect("one"))
    }

    pub fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.bytes(2).try_into().expect("two"))
    }

    pub fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.bytes(4).try_into().expect("four"))
    }

    pub fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.bytes(4).try_into().expect("four"))
    }

    pub fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.bytes(8).try_into().expect("eight"))
    }

    /// Zigzag, seven bits a byte.
    pub fn varint(&mut self) -> i64 {
        let (mut raw, mut shift) = (0_u64, 0);
        loop {
            let byte = self.bytes(1)[0];
            raw |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        i64::try_from(raw >> 1).expect("63 bits") ^ -i64::try_from(raw & 1).expect("a bit")
    }

    pub fn string(&mut self) -> Option<String> {
        let len = usize::try_from(self.i16()).ok()?;
        Some(String::from_utf8(self.bytes(len).to_vec()).expect("text"))
    }

    pub fn block(&mut self) -> &'a [u8] {
        let len = usize::try_from(self.i32()).expect("a length");
        self.bytes(len)
    }

    fn text(&mut self) -> String {
        let len = usize::try_from(self.varint()).unwrap_or_default();
        String::from_utf8(self.bytes(len).to_vec()).expect("text")
    }
}

/// CRC-32C (Castagnoli), bit by bit.
pub fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// The records of a batch, or what is wrong with it.
pub fn record_batch(bytes: &[u8]) -> Result<Vec<Record>, String> {
    let mut reader = Reader(bytes);
    let _base_offset = reader.i64();
    let length = usize::try_from(reader.i32()).expect("a length");
    if length != reader.0.len() {
        return Err(format!("it says {length} bytes and has {}", reader.0.len()));
    }
    let (_leader_epoch, magic, crc) = (reader.i32(), reader.i8(), reader.u32());
    if magic != 2 || crc != crc32c(reader.0) {
        return Err(format!("version {magic}, checksum {crc:x} and not {:x}", crc32c(reader.0)));
    }
    let (attributes, last_offset_delta) = (reader.i16(), reader.i32());
    let (first_ms, max_ms) = (reader.i64(), reader.i64());
    let _producer = (reader.i64(), reader.i16(), reader.i32());
    let count = reader.i32();
    if last_offset_delta + 1 != count || max_ms < first_ms {
        return Err(format!("{count} records up to {last_offset_delta}, {first_ms} to {max_ms}"));
    }
    let records = match attributes & 7 {
        0 => reader.0.to_vec(),
        1 => {
            let mut text = Vec::new();
            flate2::read::GzDecoder::new(reader.0)
                .read_to_end(&mut text)
                .map_err(|error| error.to_string())?;
            text
        }
        2 => snap::raw::Decoder::new().decompress_vec(reader.0).map_err(|error| error.to_string())?,
        other => return Err(format!("compression {other}")),
    };
    let mut reader = Reader(&records);
    let read = |_| record(&mut reader, first_ms);
    let records: Vec<Record> = (0..count).map(read).collect();
    if reader.0.is_empty() { Ok(records) } else { Err(format!("{} bytes left over", reader.0.len())) }
}

fn record(reader: &mut Reader<'_>, first_ms: i64) -> Record {
    let len = usize::try_from(reader.varint()).expect("a length");
    let mut reader = Reader(reader.bytes(len));
    let _attributes = reader.i8();
    let at_ms = first_ms + reader.varint();
    let _offset = reader.varint();
    let (key, value) = (reader.text(), reader.text());
    let headers = (0..reader.varint()).map(|_| (reader.text(), reader.text())).collect();
    assert!(reader.0.is_empty(), "a record is as long as it says");
    Record { key, value, at_ms, headers }
}

#[test]
fn the_checksum_has_its_check_value() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}

#[test]
fn a_batch_that_librdkafka_wrote_is_read() {
    let bytes = concat!(
        "00000000000000000000004b00000000022724fecd0000000000000000000061d59b7700000000",
        "61d59b77ffffffffffffffffffffffffffff00000001320000000016",
        "68656c6c6f206b61666b610206666f6f06626172",
    );
    let digit = |at| u8::from_str_radix(&bytes[at..at + 2], 16).expect("digits");
    let bytes: Vec<u8> = (0..bytes.len()).step_by(2).map(digit).collect();
    let records = record_batch(&bytes).expect("a batch");
    let expected = Record {
        key: String::new(),
        value: "hello kafka".to_owned(),
        at_ms: 1_641_388_919,
        headers: vec![("foo".to_owned(), "bar".to_owned())],
    };
    assert_eq!(records, [expected]);
    let mut broken = bytes;
    broken[70] ^= 1;
    assert!(record_batch(&broken).expect_err("broken").contains("checksum"));
}
