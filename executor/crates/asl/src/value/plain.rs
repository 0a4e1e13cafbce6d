//! Which bytes stand in a JSON string as they are: all but quotes, backslashes and control characters.
//!
//! Invariant: words of eight bytes are looked at as one number, and the answer is that of a look at each byte. Nothing can
//! fail.

/// How many bytes come before the next quote, backslash or control character: those that stand in a JSON
/// string as they are.
#[inline]
pub(super) fn plain_len(bytes: &[u8]) -> usize {
    // Most keys and many strings end within a word, which is not worth a call.
    let Some((word, rest)) = bytes.split_first_chunk::<8>() else { return short_plain_len(bytes) };
    match special(u64::from_le_bytes(*word)) {
        0 => 8 + long_plain_len(rest),
        hits => hits.trailing_zeros() as usize / 8,
    }
}

/// Four words at a time, which the compiler turns into vectors.
#[inline(never)]
fn long_plain_len(bytes: &[u8]) -> usize {
    let (blocks, rest) = bytes.as_chunks::<32>();
    let mut len = 0;
    for block in blocks {
        let (words, _) = block.as_chunks::<8>();
        let hits: [u64; 4] =
            std::array::from_fn(|at| words.get(at).map_or(0, |word| special(u64::from_le_bytes(*word))));
        if hits != [0; 4] {
            let before = hits.iter().take_while(|hits| **hits == 0).count();
            return len + 8 * before + hits.get(before).map_or(0, |hits| hits.trailing_zeros() as usize / 8);
        }
        len += 32;
    }
    let (words, rest) = rest.as_chunks::<8>();
    for word in words {
        let hits = special(u64::from_le_bytes(*word));
        if hits != 0 {
            return len + hits.trailing_zeros() as usize / 8;
        }
        len += 8;
    }
    len + short_plain_len(rest)
}

fn short_plain_len(bytes: &[u8]) -> usize {
    let plain = |byte: &&u8| **byte >= 0x20 && **byte != b'"' && **byte != b'\\';
    bytes.iter().take_while(plain).count()
}

/// Whether all bytes stand in a JSON string as they are.
#[inline]
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    // What is left over at the end is looked at together with what is before it.
    match (bytes.last_chunk::<8>(), bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(last), ..) => {
            let (chunks, _) = bytes.as_chunks::<8>();
            let hits = chunks.iter().fold(0, |hits, chunk| hits | special(u64::from_le_bytes(*chunk)));
            hits | special(u64::from_le_bytes(*last)) == 0
        }
        (_, Some(first), Some(last)) => {
            let word = u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last));
            special(word) == 0
        }
        _ => plain_len(bytes) == bytes.len(),
    }
}

/// The high bit of the lowest byte of a word that is a quote, a backslash or a control character, and perhaps those of
/// bytes above it; 0 where there is none.
#[inline]
fn special(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // The usual zero-byte test, on the word, and on the word with the wanted byte cancelled out. The lowest hit is always
    // true; bytes above it may be carried into, which does not matter.
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let quote = word ^ (ONES * u64::from(b'"'));
    let quote = quote.wrapping_sub(ONES) & !quote;
    let backslash = word ^ (ONES * u64::from(b'\\'));
    let backslash = backslash.wrapping_sub(ONES) & !backslash;
    (control | quote | backslash) & HIGH
}
