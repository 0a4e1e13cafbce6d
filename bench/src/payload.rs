//! Inputs: unique, templated as real ones are, from a fixed generator.

use bytes::{BufMut, Bytes, BytesMut};

const WORDS: &[u8] = b"blue parcel evening delivery ring twice leave with neighbour fragile glass keep upright gift wrap \
requested call before arrival back door code north gate second floor office hours only signature needed from adult \
returns accepted within thirty days express courier warehouse three pallet seven priority customer loyal since spring ";

/// How predictable the padding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Entropy {
    /// Words of a fixed text from a random place: compresses as real payloads do.
    Templated,
    /// Random letters: does not compress.
    High,
}

/// Makes inputs of about `size` bytes; the same seed makes the same inputs.
#[derive(Debug)]
pub struct Generator {
    state: u64,
    size: usize,
    items: usize,
    entropy: Entropy,
}

impl Generator {
    /// `size` in bytes is the least size; the fixed fields alone take about 130 bytes.
    #[must_use]
    pub fn new(seed: u64, size: usize, items: usize, entropy: Entropy) -> Self {
        Self { state: seed | 1, size, items, entropy }
    }

    /// xorshift64*: fast, and good enough to defeat a compressor.
    fn random(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// The next input, written into `buffer` and split off as a slice of it.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Bytes {
        let start = buffer.len();
        buffer.put_slice(b"{\"orderId\":\"");
        put_hex(buffer, self.random());
        put_hex(buffer, self.random());
        let random = self.random();
        buffer.put_slice(b"\",\"customer\":\"c-");
        put_decimal(buffer, random % 10_000_000);
        buffer.put_slice(b"\",\"amount\":");
        // Less than what the five-state machine turns away, so that each of its executions goes the whole way.
        put_decimal(buffer, (random >> 32) % 1_000_000);
        buffer.put_slice(b",\"currency\":\"USD\",\"express\":");
        buffer.put_slice(if random & 1 == 0 { b"true" } else { b"false" });
        if self.items > 0 {
            self.put_items(buffer);
        }
        buffer.put_slice(b",\"note\":\"");
        self.pad(buffer, start + self.size.saturating_sub(2));
        buffer.put_slice(b"\"}");
        buffer.split().freeze()
    }

    fn put_items(&mut self, buffer: &mut BytesMut) {
        buffer.put_slice(b",\"items\":[");
        for item in 0..self.items {
            buffer.put_slice(if item == 0 { b"{\"sku\":\"" } else { b",{\"sku\":\"" });
            let random = self.random();
            put_decimal(buffer, random % 1_000_000);
            buffer.put_slice(b"\",\"quantity\":");
            put_decimal(buffer, random >> 60);
            buffer.put_slice(b"}");
        }
        buffer.put_slice(b"]");
    }

    fn pad(&mut self, buffer: &mut BytesMut, end: usize) {
        while buffer.len() < end {
            let left = end - buffer.len();
            match self.entropy {
                Entropy::Templated => {
                    let from = (self.random() % WORDS.len() as u64) as usize;
                    let take = left.min(WORDS.len() - from).min(40);
                    buffer.put_slice(&WORDS[from..from + take]);
                }
                Entropy::High => {
                    let mut digits = self.random();
                    for _ in 0..left.min(12) {
                        buffer.put_u8(b"abcdefghijklmnopqrstuvwxyz012345"[(digits & 31) as usize]);
                        digits >>= 5;
                    }
                }
            }
        }
    }
}

fn put_hex(buffer: &mut BytesMut, number: u64) {
    let digits: [u8; 16] =
        std::array::from_fn(|place| b"0123456789abcdef"[(number >> (60 - 4 * place) & 15) as usize]);
    buffer.put_slice(&digits);
}

fn put_decimal(buffer: &mut BytesMut, mut number: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    buffer.put_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_json_of_the_size_asked_for_and_unique() {
        for entropy in [Entropy::Templated, Entropy::High] {
            let mut generator = Generator::new(7, 200, 0, entropy);
            let mut buffer = BytesMut::new();
            let (one, two) = (generator.next(&mut buffer), generator.next(&mut buffer));
            assert_eq!((one.len(), two.len()), (200, 200));
            assert_ne!(one, two);
            let value: serde_json::Value = serde_json::from_slice(&one).expect("JSON");
            assert_eq!(value["currency"], "USD");
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_inputs() {
        let input = |seed| Generator::new(seed, 4_096, 100, Entropy::Templated).next(&mut BytesMut::new());
        assert_eq!(input(3), input(3));
        assert_ne!(input(3), input(5));
    }
}
