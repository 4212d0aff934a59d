//! The bytes of C1 and C2 that mean nothing, as each client makes them.

use rand::Rng;

use crate::base::RandomStream;
use crate::protocol::digest::RESPONSE_DIGEST_AT;
use crate::protocol::wire::{self, Block};

/// Where a client's filler comes from. All but zero pass for a Diffie-Hellman public value, which servers look for in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filler {
    /// Any bytes.
    Random,
    /// Bytes from 0x0f to 0xf0, as SRS and its tools draw them.
    MiddleBytes,
    /// Letters of one e-mail address, and four equal offset bytes in the second half (ZLMediaKit).
    Letters,
    /// The first numbers of glibc's `rand` without a seed, little-endian: the same bytes in every process (librtmp).
    UnseededRand,
    /// The first bytes of a generator with a fixed seed: the same bytes in every process (ffmpeg).
    Ffmpeg,
    /// Zeros.
    Zero,
}

/// ffmpeg's bytes 8..1536 of C1, its digest included, and bytes 0..1504 of the C2 it signs, as recorded.
const FFMPEG: &[u8; CONSTANT_SIZE] = include_bytes!("ffmpeg.bin");
/// C2's filler continues where C1's ends.
const CONSTANT_SIZE: usize = C1_SIZE + RESPONSE_DIGEST_AT;
const C1_SIZE: usize = wire::ECHOED.end - wire::ECHOED.start;

const LETTERS: &[u8] = b"simple-rtmp-server-winlin-winterserver@126.co";
/// Where a digest in the second half has its offset bytes; their sum stays below 728.
const SECOND_HALF_OFFSET: std::ops::Range<usize> = 772..776;
const OFFSET_BYTES: u32 = 728 / 4;

impl Filler {
    /// Every C1 of this client is the same but for its time.
    pub const fn is_constant(self) -> bool {
        matches!(self, Self::UnseededRand | Self::Ffmpeg | Self::Zero)
    }

    /// Fills a C1 behind its version.
    pub(in crate::protocol) fn fill_c1(self, c1: &mut Block, random: &mut RandomStream) {
        let filler = &mut c1[wire::ECHOED];
        match self.constant() {
            Some(bytes) => filler.copy_from_slice(&bytes[..C1_SIZE]),
            None => self.draw(filler, random),
        }
        if let Self::Letters = self {
            c1[SECOND_HALF_OFFSET].fill((random.next_u32() % OFFSET_BYTES) as u8);
        }
    }

    /// What lies before the digest of a C2 that is signed.
    pub(in crate::protocol) fn c2(self, random: &mut RandomStream) -> Box<[u8; RESPONSE_DIGEST_AT]> {
        let mut filler = Box::new([0; RESPONSE_DIGEST_AT]);
        match self.constant() {
            Some(bytes) => filler.copy_from_slice(&bytes[C1_SIZE..]),
            None => self.draw(&mut filler[..], random),
        }
        filler
    }

    fn constant(self) -> Option<Box<[u8; CONSTANT_SIZE]>> {
        match self {
            Self::UnseededRand => Some(unseeded_rand()),
            Self::Ffmpeg => Some(Box::new(*FFMPEG)),
            Self::Zero => Some(Box::new([0; CONSTANT_SIZE])),
            Self::Random | Self::MiddleBytes | Self::Letters => None,
        }
    }

    fn draw(self, filler: &mut [u8], random: &mut RandomStream) {
        random.fill_bytes(filler);
        match self {
            Self::MiddleBytes => filler.iter_mut().for_each(|byte| *byte = 0x0f + *byte % (0xf1 - 0x0f)),
            Self::Letters => filler.iter_mut().for_each(|byte| *byte = LETTERS[usize::from(*byte) % LETTERS.len()]),
            Self::Random | Self::UnseededRand | Self::Ffmpeg | Self::Zero => {}
        }
    }
}

/// glibc's `random_r` of type 3 with seed 1: an additive feedback generator over 31 words whose first 310 outputs are
/// dropped.
fn unseeded_rand() -> Box<[u8; CONSTANT_SIZE]> {
    const DEGREE: usize = 31;
    const FIRST: usize = DEGREE + 3 + 10 * DEGREE;
    let mut words: Vec<u32> = Vec::with_capacity(FIRST + CONSTANT_SIZE / 4);
    words.push(1);
    for index in 1..DEGREE {
        words.push((u64::from(words[index - 1]) * 16_807 % 2_147_483_647) as u32);
    }
    words.extend_from_within(..3);
    for index in words.len()..FIRST + CONSTANT_SIZE / 4 {
        words.push(words[index - DEGREE].wrapping_add(words[index - 3]));
    }
    let mut bytes = Box::new([0; CONSTANT_SIZE]);
    for (number, word) in bytes.chunks_exact_mut(4).zip(&words[FIRST..]) {
        number.copy_from_slice(&(word >> 1).to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Seed, StreamPurpose};

    #[test]
    fn unseeded_rand_is_that_of_glibc() {
        let numbers: Vec<u32> =
            unseeded_rand().chunks_exact(4).map(|bytes| u32::from_le_bytes(bytes.try_into().unwrap())).collect();
        assert_eq!(numbers[..4], [1_804_289_383, 846_930_886, 1_681_692_777, 1_714_636_915]);
    }

    #[test]
    fn drawn_fillers_keep_to_their_bytes() {
        let mut random = Seed::new(1).stream(StreamPurpose::ClientTemplates, 0);
        let mut c1 = [0; wire::BLOCK_SIZE];
        Filler::MiddleBytes.fill_c1(&mut c1, &mut random);
        assert!(c1[wire::ECHOED].iter().all(|byte| (0x0f..=0xf0).contains(byte)));
        Filler::Letters.fill_c1(&mut c1, &mut random);
        assert!(c1[8..772].iter().chain(&c1[776..]).all(|byte| LETTERS.contains(byte)));
        assert!(c1[SECOND_HALF_OFFSET].iter().all(|&byte| byte == c1[772] && byte < 182));
    }
}
