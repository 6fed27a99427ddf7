use macerator::{Scalar, Simd, Vector};

/// A number in each place of a vector. The compiler leaves macerator's own function for floats outside of loops' code; that for
/// integers it does not.
#[inline(always)]
pub(super) fn splat<S: Simd>(number: f32) -> Vector<S, f32> {
    S::typed(*splat_bits::<S>(number.to_bits()))
}

/// The same for bits.
#[inline(always)]
pub(super) fn splat_bits<S: Simd>(bits: u32) -> Vector<S, u32> {
    let signed: Vector<S, i32> = bits.cast_signed().splat();
    S::typed(*signed)
}
