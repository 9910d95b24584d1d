// exp, tanh, erfc and log over a Vec, to about 2 ulp.
// Source of the polynomials: Cephes single precision (Moshier), expf.c, tanhf.c, ndtrf.c, logf.c.
#pragma once

#include <cstdint>
#include <limits>

namespace quire {

template <class V>
struct Math {
  using F = typename V::F;

  // sum of coefficients[i] * x^(N-1-i)
  template <int N>
  static F polynomial(F x, const float (&coefficients)[N]) {
    F sum = V::set1(coefficients[0]);
#pragma unroll
    for (int i = 1; i < N; ++i) sum = V::fma(sum, x, V::set1(coefficients[i]));
    return sum;
  }

  // e^x; 0 below -87.33 (and for -inf), infinity above 88.72.
  static F exp(F x) {
    constexpr float kMax = 88.72F;
    const F y = exp_below_max(V::min(V::set1(kMax), x));  // keeps a NaN
    return V::select(V::less(V::set1(kMax), x), V::set1(std::numeric_limits<float>::infinity()), y);
  }

  // e^x for x <= 88.72, for instance of scores less their maximum.
  static F exp_below_max(F x) {
    constexpr float kLog2e = 1.44269504088896341F;
    constexpr float kLn2High = 0.693359375F;
    constexpr float kLn2Low = -2.12194440e-4F;
    constexpr float kMin = -87.33F;
    constexpr float kCoefficients[] = {1.9875691500e-4F, 1.3981999507e-3F, 8.3334519073e-3F,
                                       4.1665795894e-2F, 1.6666665459e-1F, 5.0000001201e-1F};
    const F clamped = V::max(V::set1(kMin), x);  // keeps a NaN
    const F n = V::round(V::mul(clamped, V::set1(kLog2e)));
    F r = V::fnma(n, V::set1(kLn2High), clamped);
    r = V::fnma(n, V::set1(kLn2Low), r);
    const F y = V::fma(V::mul(r, r), polynomial(r, kCoefficients), r);
    return V::select(V::less(x, V::set1(kMin)), V::zero(), V::scale2(V::add(y, V::set1(1.0F)), n));
  }

  static F tanh(F x) {
    constexpr float kSmall = 0.625F;
    constexpr float kCoefficients[] = {-5.70498872745e-3F, 2.06390887954e-2F, -5.37397155531e-2F,
                                       1.33314422036e-1F, -3.33332819422e-1F};
    const F size = V::abs(x);
    const F square = V::mul(x, x);
    const F small = V::fma(V::mul(x, square), polynomial(square, kCoefficients), x);
    const F e = exp(V::add(size, size));
    const F one = V::set1(1.0F);
    const F large = V::sub(one, V::div(V::set1(2.0F), V::add(e, one)));
    const F signed_large = V::select(V::less(x, V::zero()), V::sub(V::zero(), large), large);
    return V::select(V::less(size, V::set1(kSmall)), small, signed_large);
  }

  // log x for finite x > 0.
  static F log(F x) {
    constexpr float kLn2High = 0.693359375F;
    constexpr float kLn2Low = -2.12194440e-4F;
    constexpr float kCoefficients[] = {7.0376836292e-2F,  -1.1514610310e-1F, 1.1676998740e-1F,
                                       -1.2420140846e-1F, 1.4249322787e-1F,  -1.6668057665e-1F,
                                       2.0000714765e-1F,  -2.4999993993e-1F, 3.3333331174e-1F};
    F exponent;
    F m = V::split(x, exponent);  // x = m * 2^exponent, 1 <= m < 2
    const auto low = V::less(m, V::set1(1.41421356F));
    exponent = V::select(low, exponent, V::add(exponent, V::set1(1.0F)));
    m = V::sub(V::select(low, m, V::mul(m, V::set1(0.5F))), V::set1(1.0F));
    const F square = V::mul(m, m);
    F y = V::mul(V::mul(m, square), polynomial(m, kCoefficients));
    y = V::fma(exponent, V::set1(kLn2Low), y);
    y = V::fnma(square, V::set1(0.5F), y);
    return V::fma(exponent, V::set1(kLn2High), V::add(m, y));
  }

  // log(1 + x) for x > -1.
  static F log1p(F x) {
    const F sum = V::add(V::set1(1.0F), x);
    const F error = V::sub(V::sub(sum, V::set1(1.0F)), x);
    return V::sub(log(sum), V::div(error, sum));
  }

  // 1 - erf(x)
  static F erfc(F x) {
    constexpr float kErf[] = {7.853861353153693e-5F, -8.010193625184903e-4F,
                              5.188327685732524e-3F, -2.685381193529856e-2F,
                              1.128358514861418e-1F, -3.761262582423300e-1F,
                              1.128379165726710e+0F};
    constexpr float kMiddle[] = {
        2.326819970068386e-2F,  -1.387039388740657e-1F, 3.687424674597105e-1F,
        -5.824733027278666e-1F, 6.210004621745983e-1F,  -4.944515323274145e-1F,
        3.404879937665872e-1F,  -2.741127028184656e-1F, 5.638259427386472e-1F};
    constexpr float kTail[] = {-1.047766399936249e+1F, 1.297719955372516e+1F,
                               -7.495518717768503e+0F, 2.921019019210786e+0F,
                               -1.015265279202700e+0F, 4.218463358204948e-1F,
                               -2.820767439740514e-1F, 5.641895067754075e-1F};
    const F one = V::set1(1.0F);
    const F size = V::abs(x);
    const F square = V::mul(x, x);
    const F center = V::fnma(x, polynomial(square, kErf), one);
    const F q = V::div(one, V::max(size, one));
    const F q2 = V::mul(q, q);
    const F factor =
        V::select(V::less(size, V::set1(2.0F)), polynomial(q2, kMiddle), polynomial(q2, kTail));
    // exp(-x^2) with the rounding error of x^2 put back, as it is magnified by x^2.
    const F error = V::fma(x, x, V::sub(V::zero(), square));
    const F e = V::mul(exp(V::sub(V::zero(), square)), V::sub(one, error));
    const F right = V::mul(V::mul(e, q), factor);
    const F outer = V::select(V::less(x, V::zero()), V::sub(V::set1(2.0F), right), right);
    return V::select(V::less(size, one), center, outer);
  }
};

}  // namespace quire
