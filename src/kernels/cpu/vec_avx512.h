// Vec of the AVX-512 level (F, BW, VL, DQ, VNNI, BF16): 16 floats.  The operations are those of
// vec_avx2.h; kernels in generic/ are written once over them.
#pragma once

#include <immintrin.h>

#include <cstdint>

#pragma clang attribute push(                                                               \
    __attribute__((                                                                         \
        target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16"))), \
    apply_to = function)

namespace quire {

struct Avx512 {
  using F = __m512;
  using Mask = __mmask16;
  static constexpr int kLanes = 16;
  static constexpr int kMaxRows = 12;  // rows of a 2-vector wide register tile
  static constexpr bool kHasDotBf16 = true;

  static F zero() { return _mm512_setzero_ps(); }
  static F set1(float x) { return _mm512_set1_ps(x); }
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, F x) { _mm512_storeu_ps(p, x); }
  // The first n lanes, 0 <= n <= kLanes; lanes past n load as zero and are not stored.
  static F load_n(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(mask_n(n), p); }
  static void store_n(float* p, F x, int64_t n) { _mm512_mask_storeu_ps(p, mask_n(n), x); }

  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }    // a * b + c
  static F fnma(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }  // c - a * b
  static F max(F a, F b) { return _mm512_max_ps(a, b); }              // b if either is a NaN
  static F min(F a, F b) { return _mm512_min_ps(a, b); }
  static F abs(F a) { return _mm512_abs_ps(a); }
  static F round(F a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT); }
  // x * 2^n for whole n in [-126, 128].
  static F scale2(F x, F n) { return _mm512_scalef_ps(x, n); }
  // x = result * 2^exponent, 1 <= result < 2, for finite x > 0.
  static F split(F x, F& exponent) {
    exponent = _mm512_getexp_ps(x);
    return _mm512_getmant_ps(x, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_zero);
  }
  static Mask less(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
  static F select(Mask m, F yes, F no) { return _mm512_mask_blend_ps(m, no, yes); }
  // Lanes i with begin <= i < end.
  static Mask mask_between(int64_t begin, int64_t end) {
    return static_cast<Mask>(mask_n(end) & ~mask_n(begin));
  }
  static float reduce_add(F a) {
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    const __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    const __m128 pair = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
    return _mm_cvtss_f32(_mm_add_ss(pair, _mm_shuffle_ps(pair, pair, 1)));
  }
  static float reduce_max(F a) { return _mm512_reduce_max_ps(a); }

  static F load_bf16(const void* p) {
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
  }
  static F load_f16(const void* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
  }
  static void store_bf16(uint16_t* p, F x) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)));
  }
  // Even and odd elements of 2 * kLanes bf16.
  static F load_bf16_even(const void* p) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16));
  }
  static F load_bf16_odd(const void* p) {
    return _mm512_castsi512_ps(
        _mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi32(static_cast<int>(0xffff0000U))));
  }

  // Pairs of bf16: acc + a.even * b.even + a.odd * b.odd, per 32-bit lane.
  using Pairs = __m512bh;
  static Pairs load_pairs(const void* p) {
    return reinterpret_cast<__m512bh>(_mm512_loadu_si512(p));
  }
  static Pairs set1_pair(uint32_t pair) {
    return reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(pair)));
  }
  static F dot_pairs(F acc, Pairs a, Pairs b) { return _mm512_dpbf16_ps(acc, a, b); }

 private:
  static Mask mask_n(int64_t n) {
    return static_cast<Mask>(n >= kLanes ? 0xffffU : n <= 0 ? 0U : (1U << n) - 1U);
  }
};

}  // namespace quire

#pragma clang attribute pop
