//! Segment files: their bytes, and reading them back.
//!
//! Numbers are little-endian.
//!
//! ```text
//! segment := header { frame } zeros
//! header  := "MYRL" version:u32=1 number:u64 crc:u32                                         20 bytes
//! frame   := header_crc:u32 payload_crc:u32 length:u32 kind:u8 0:u8 partition:u16
//!            generation:u64 sequence:u64 trim_generation:u64 trim_sequence:u64 segment:u64   56 bytes
//!            payload
//! ```
//!
//! `header_crc` covers the rest of the frame's header, `payload_crc` the payload.
//! Kinds: 1 a block; 2 an owner's mark, without payload; 3 the state of all partitions, the first frame of a
//! segment, so that older segments can go: for each partition that was ever owned its number:u16,
//! generation:u64, the last block's generation:u64 and sequence:u64, the trim mark's generation:u64 and
//! sequence:u64.
//!
//! Invariants: a segment is cut at its last confirmed frame before the next one is begun, so that in all but
//! the last every frame is whole; the first frame of the last segment that is not whole is where its tail was
//! torn, by a crash before an acknowledgement.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ids::PartitionId;

use super::unavailable;
use crate::store::{BLOCK_BYTES_MAX, BlockId, StoreError};

pub(super) const HEADER_BYTES: u64 = 20;
pub(super) const FRAME_BYTES: usize = 56;
const MAGIC: [u8; 4] = *b"MYRL";
const VERSION: u32 = 1;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameKind {
    Block = 1,
    Mark = 2,
    State = 3,
}

/// A frame's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: FrameKind,
    pub(super) partition: PartitionId,
    pub(super) id: BlockId,
    /// The partition's trim mark from this frame on.
    pub(super) trim: BlockId,
    pub(super) payload_crc: u32,
    pub(super) length: u32,
}

impl Frame {
    pub(super) fn new(
        kind: FrameKind,
        partition: PartitionId,
        id: BlockId,
        trim: BlockId,
        payload: &[u8],
    ) -> Self {
        let (payload_crc, length) = (crc32fast::hash(payload), payload.len() as u32);
        Self { kind, partition, id, trim, payload_crc, length }
    }

    pub(super) fn encode(&self, segment: u64) -> [u8; FRAME_BYTES] {
        let mut bytes = [0; FRAME_BYTES];
        bytes[4..8].copy_from_slice(&self.payload_crc.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.length.to_le_bytes());
        bytes[12] = self.kind as u8;
        bytes[14..16].copy_from_slice(&self.partition.get().to_le_bytes());
        let numbers =
            [self.id.generation, self.id.sequence, self.trim.generation, self.trim.sequence, segment];
        for (place, number) in bytes[16..].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        let crc = crc32fast::hash(&bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None` when the bytes are no header of a frame of this segment.
    fn decode(bytes: &[u8; FRAME_BYTES], segment: u64) -> Option<Self> {
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        if u32_at(0) != crc32fast::hash(&bytes[4..]) || u64_at(48) != segment {
            return None;
        }
        let kind = match bytes[12] {
            1 => FrameKind::Block,
            2 => FrameKind::Mark,
            3 => FrameKind::State,
            _ => return None,
        };
        let partition = PartitionId::new(u32::from(u16::from_le_bytes([bytes[14], bytes[15]]))).ok()?;
        let id = BlockId { generation: u64_at(16), sequence: u64_at(24) };
        let trim = BlockId { generation: u64_at(32), sequence: u64_at(40) };
        let length = Some(u32_at(8)).filter(|length| *length as usize <= BLOCK_BYTES_MAX)?;
        Some(Self { kind, partition, id, trim, payload_crc: u32_at(4), length })
    }
}

/// A segment's header.
pub(super) fn encode_header(number: u64) -> [u8; HEADER_BYTES as usize] {
    let mut bytes = [0; HEADER_BYTES as usize];
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..8].copy_from_slice(&VERSION.to_le_bytes());
    bytes[8..16].copy_from_slice(&number.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..16]);
    bytes[16..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Whether a file was begun: a crash may leave one that is short, or zeros.
pub(super) fn was_begun(file: &File, path: &Path, number: u64) -> Result<bool, StoreError> {
    let mut bytes = [0; HEADER_BYTES as usize];
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) if bytes == encode_header(number) => Ok(true),
        Ok(()) if bytes == [0; HEADER_BYTES as usize] => Ok(false),
        Ok(()) => Err(StoreError::Corrupt(format!("{} does not begin as its segment does", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(unavailable("reading", path, &error)),
    }
}

/// The path of a segment.
pub(super) fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}.segment"))
}

/// The number of a segment's file name.
pub(super) fn number_of(name: &str) -> Option<u64> {
    name.strip_suffix(".segment").filter(|digits| digits.len() == 20)?.parse().ok()
}

/// Walks the whole frames of a segment from its begin.
pub(super) struct Frames<'a> {
    file: &'a File,
    path: &'a Path,
    number: u64,
    /// Where the next frame begins.
    pub(super) at: u64,
    end: u64,
    check_payloads: bool,
    buffer: Vec<u8>,
}

impl<'a> Frames<'a> {
    pub(super) fn new(file: &'a File, path: &'a Path, number: u64, end: u64, check_payloads: bool) -> Self {
        Self { file, path, number, at: HEADER_BYTES, end, check_payloads, buffer: Vec::new() }
    }

    /// The next whole frame and where its payload begins; `None` at the end, or where the rest is not whole.
    pub(super) fn next(&mut self) -> Result<Option<(Frame, u64)>, StoreError> {
        let failed = |error: io::Error| unavailable("reading", self.path, &error);
        let mut header = [0; FRAME_BYTES];
        let payload_at = self.at + FRAME_BYTES as u64;
        if payload_at > self.end {
            return Ok(None);
        }
        self.file.read_exact_at(&mut header, self.at).map_err(failed)?;
        let Some(frame) = Frame::decode(&header, self.number) else { return Ok(None) };
        let next = payload_at + u64::from(frame.length);
        if next > self.end {
            return Ok(None);
        }
        if self.check_payloads {
            self.buffer.resize(frame.length as usize, 0);
            self.file.read_exact_at(&mut self.buffer, payload_at).map_err(failed)?;
            if crc32fast::hash(&self.buffer) != frame.payload_crc {
                return Ok(None);
            }
        }
        self.at = next;
        Ok(Some((frame, payload_at)))
    }
}
