//! A grey picture in AVC (ITU-T H.264), written bit by bit: baseline profile, nothing but predictions.
//!
//! No macroblock has coefficients: in a key picture each is predicted from nothing, which is mid-grey, and in the others
//! each is a copy. So a key picture takes a byte a macroblock, and any other picture a few bytes whatever its size.

/// Width in samples.
pub(super) const WIDTH: u32 = 16 * COLUMNS;
/// Height in samples.
pub(super) const HEIGHT: u32 = 16 * ROWS;

/// Macroblocks.
const COLUMNS: u32 = 10;
const ROWS: u32 = 6;

/// AVCDecoderConfigurationRecord (ISO/IEC 14496-15): parameter sets, and that lengths before NAL units take four bytes.
pub(super) fn decoder_configuration() -> Vec<u8> {
    let (sequence, picture) = (sequence_parameters(), picture_parameters());
    let mut record = vec![1, sequence[1], sequence[2], sequence[3], 0xff, 0xe1];
    append_parameters(&mut record, &sequence);
    record.push(1);
    append_parameters(&mut record, &picture);
    record
}

fn append_parameters(record: &mut Vec<u8>, unit: &[u8]) {
    let length = u16::try_from(unit.len()).expect("parameter sets are a few bytes");
    record.extend_from_slice(&length.to_be_bytes());
    record.extend_from_slice(unit);
}

/// An IDR picture as a NAL unit. Of two in a row, one has the `id` 0 and the other 1 (section 7.4.3, idr_pic_id).
pub(super) fn key_picture(id: u32) -> Vec<u8> {
    let mut bits = Bits::of_unit(0x65);
    bits.exp_golomb(0); // first_mb_in_slice
    bits.exp_golomb(7); // slice_type: all slices are I
    bits.exp_golomb(0); // pic_parameter_set_id
    bits.append(0, FRAME_NUMBER_BITS); // frame_num
    bits.exp_golomb(id); // idr_pic_id
    bits.append(0, 2); // no_output_of_prior_pics_flag, long_term_reference_flag
    bits.exp_golomb(0); // slice_qp_delta
    for _ in 0..COLUMNS * ROWS {
        bits.exp_golomb(3); // mb_type: I_16x16_2_0_0, predicted as the mean, no coefficients but DC
        bits.exp_golomb(0); // intra_chroma_pred_mode: DC
        bits.exp_golomb(0); // mb_qp_delta
        bits.append(1, 1); // coeff_token: no DC coefficients either
    }
    bits.finish()
}

/// A picture that repeats the one before, as a NAL unit. `number` counts from the key picture, which is number 0.
pub(super) fn repeated_picture(number: u32) -> Vec<u8> {
    let mut bits = Bits::of_unit(0x41);
    bits.exp_golomb(0); // first_mb_in_slice
    bits.exp_golomb(5); // slice_type: all slices are P
    bits.exp_golomb(0); // pic_parameter_set_id
    bits.append(number % (1 << FRAME_NUMBER_BITS), FRAME_NUMBER_BITS); // frame_num
    bits.append(0, 3); // no override of reference counts, no reordering, sliding window
    bits.exp_golomb(0); // slice_qp_delta
    bits.exp_golomb(COLUMNS * ROWS); // mb_skip_run: all of them
    bits.finish()
}

/// Filler data of `size` bytes as a NAL unit (type 12), at least [`SMALLEST_FILLER`].
pub(super) fn filler(size: usize) -> Vec<u8> {
    let mut unit = vec![0xff; size];
    unit[0] = 12;
    unit[size - 1] = 0x80;
    unit
}

/// The unit's header and its trailing bits.
pub(super) const SMALLEST_FILLER: usize = 2;

/// The fewest that the format allows.
const FRAME_NUMBER_BITS: u32 = 4;

fn sequence_parameters() -> Vec<u8> {
    let mut bits = Bits::of_unit(0x67);
    bits.append(66, 8); // profile_idc: baseline
    bits.append(0xc0, 8); // constrained baseline
    bits.append(31, 8); // level_idc: 3.1, that of 720p streams
    bits.exp_golomb(0); // seq_parameter_set_id
    bits.exp_golomb(FRAME_NUMBER_BITS - 4); // log2_max_frame_num_minus4
    bits.exp_golomb(2); // pic_order_cnt_type: pictures are shown in the order of decoding
    bits.exp_golomb(1); // max_num_ref_frames
    bits.append(0, 1); // gaps_in_frame_num_value_allowed_flag
    bits.exp_golomb(COLUMNS - 1); // pic_width_in_mbs_minus1
    bits.exp_golomb(ROWS - 1); // pic_height_in_map_units_minus1
    bits.append(0b1100, 4); // frame_mbs_only_flag, direct_8x8_inference_flag; no cropping, no VUI
    bits.finish()
}

fn picture_parameters() -> Vec<u8> {
    let mut bits = Bits::of_unit(0x68);
    bits.exp_golomb(0); // pic_parameter_set_id
    bits.exp_golomb(0); // seq_parameter_set_id
    bits.append(0, 2); // CAVLC, no field order
    bits.exp_golomb(0); // num_slice_groups_minus1
    bits.exp_golomb(0); // num_ref_idx_l0_default_active_minus1
    bits.exp_golomb(0); // num_ref_idx_l1_default_active_minus1
    bits.append(0, 3); // no weighted prediction
    bits.exp_golomb(0); // pic_init_qp_minus26
    bits.exp_golomb(0); // pic_init_qs_minus26
    bits.exp_golomb(0); // chroma_qp_index_offset
    bits.append(0, 3); // no deblocking control, no constrained intra prediction, no redundant pictures
    bits.finish()
}

/// A NAL unit that grows bit by bit. None of this module's units holds two zero bytes in a row, so that none needs
/// emulation prevention.
struct Bits {
    bytes: Vec<u8>,
    /// Bits of the last byte that are still free.
    free: u32,
}

impl Bits {
    /// A unit with this header byte (nal_ref_idc and nal_unit_type).
    fn of_unit(header: u8) -> Self {
        Self { bytes: vec![header], free: 0 }
    }

    /// The lowest `count` bits of `value`, highest first.
    fn append(&mut self, value: u32, count: u32) {
        for bit in (0..count).rev() {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            self.free -= 1;
            let last = self.bytes.last_mut().expect("a unit has a header");
            *last |= ((value >> bit & 1) as u8) << self.free;
        }
    }

    /// ue(v) of section 9.1; zero is the same in se(v).
    fn exp_golomb(&mut self, value: u32) {
        let bits = (value + 1).ilog2() + 1;
        self.append(0, bits - 1);
        self.append(value + 1, bits);
    }

    /// Appends a one and zeros up to the end of the byte.
    fn finish(mut self) -> Vec<u8> {
        self.append(1, 1);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_unit_needs_emulation_prevention() {
        let pictures = (0..16).map(repeated_picture).chain((0..2).map(key_picture));
        for unit in pictures.chain([sequence_parameters(), picture_parameters(), filler(9)]) {
            assert!(!unit.windows(2).any(|pair| pair == [0, 0]), "{unit:02x?}");
            assert_ne!(unit.last(), Some(&0));
        }
    }

    #[test]
    fn exp_golomb_codes_are_those_of_table_9_2() {
        for (value, code) in [(0, 0b1), (1, 0b010), (2, 0b011), (5, 0b00110), (8, 0b000_1001)] {
            let mut bits = Bits::of_unit(0);
            bits.exp_golomb(value);
            let count = 8 - bits.free;
            assert_eq!(u32::from(bits.bytes[1] >> bits.free), code, "{value}");
            assert_eq!(count, 2 * (value + 1).ilog2() + 1);
        }
    }

    #[test]
    fn a_key_picture_is_a_byte_a_macroblock() {
        assert!((60..70).contains(&key_picture(0).len()));
        assert!(repeated_picture(1).len() < 8);
        assert_eq!(filler(SMALLEST_FILLER), [12, 0x80]);
    }
}
