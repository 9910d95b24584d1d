// Vec of the AVX2 level (AVX2, FMA, F16C): 8 floats.
#pragma once

#include <immintrin.h>

#include <cstdint>

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)

namespace quire {

struct Avx2 {
  using F = __m256;
  using Mask = __m256;
  static constexpr int kLanes = 8;
  static constexpr int kMaxRows = 6;  // rows of a 2-vector wide register tile
  static constexpr bool kHasDotBf16 = false;

  static F zero() { return _mm256_setzero_ps(); }
  static F set1(float x) { return _mm256_set1_ps(x); }
  static F load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, F x) { _mm256_storeu_ps(p, x); }
  // The first n lanes, 0 <= n <= kLanes; lanes past n load as zero and are not stored.
  static F load_n(const float* p, int64_t n) {
    return _mm256_maskload_ps(p, _mm256_castps_si256(mask_between(0, n)));
  }
  static void store_n(float* p, F x, int64_t n) {
    _mm256_maskstore_ps(p, _mm256_castps_si256(mask_between(0, n)), x);
  }

  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F div(F a, F b) { return _mm256_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }    // a * b + c
  static F fnma(F a, F b, F c) { return _mm256_fnmadd_ps(a, b, c); }  // c - a * b
  static F max(F a, F b) { return _mm256_max_ps(a, b); }              // b if either is a NaN
  static F min(F a, F b) { return _mm256_min_ps(a, b); }
  static F abs(F a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0F), a); }
  static F round(F a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  // x * 2^n for whole n in [-126, 128], in two steps since 2^128 has no representation.
  static F scale2(F x, F n) {
    const __m256i whole = _mm256_cvtps_epi32(n);
    const __m256i half = _mm256_srai_epi32(whole, 1);
    return mul(mul(x, power2(half)), power2(_mm256_sub_epi32(whole, half)));
  }
  // x = result * 2^exponent, 1 <= result < 2, for normal x > 0.
  static F split(F x, F& exponent) {
    const __m256i bits = _mm256_castps_si256(x);
    exponent =
        _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_srli_epi32(bits, 23), _mm256_set1_epi32(kBias)));
    return _mm256_castsi256_ps(_mm256_or_si256(
        _mm256_and_si256(bits, _mm256_set1_epi32(0x007fffff)), _mm256_set1_epi32(0x3f800000)));
  }
  static Mask less(F a, F b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
  static F select(Mask m, F yes, F no) { return _mm256_blendv_ps(no, yes, m); }
  // Lanes i with begin <= i < end.
  static Mask mask_between(int64_t begin, int64_t end) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i at_least =
        _mm256_cmpgt_epi32(lane, _mm256_set1_epi32(static_cast<int>(begin) - 1));
    const __m256i below = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(end)), lane);
    return _mm256_castsi256_ps(_mm256_and_si256(at_least, below));
  }
  static float reduce_add(F a) {
    const __m128 half = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(pair, _mm_shuffle_ps(pair, pair, 1)));
  }
  static float reduce_max(F a) {
    const __m128 half = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 pair = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(pair, _mm_shuffle_ps(pair, pair, 1)));
  }

  static F load_bf16(const void* p) {
    const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
  }
  static F load_f16(const void* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  }
  // Even and odd elements of 2 * kLanes bf16.
  static F load_bf16_even(const void* p) {
    return _mm256_castsi256_ps(
        _mm256_slli_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p)), 16));
  }
  static F load_bf16_odd(const void* p) {
    return _mm256_castsi256_ps(_mm256_and_si256(_mm256_loadu_si256(static_cast<const __m256i*>(p)),
                                                _mm256_set1_epi32(static_cast<int>(0xffff0000U))));
  }

 private:
  static constexpr int kBias = 127;  // of the exponent
  static F power2(__m256i n) {
    return _mm256_castsi256_ps(
        _mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(kBias)), 23));
  }
};

}  // namespace quire

#pragma clang attribute pop
