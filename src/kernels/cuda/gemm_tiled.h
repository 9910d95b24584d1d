// Matrix products of any type, shape and alignment, and what they share with the library's.
#pragma once

#include "kernels/gemm.h"

namespace quire {

// The plain product for what no faster one takes.
void gemm_tiled(Stream& stream, const GemmArgs& args);

// out = bias, or out += bias if the product accumulates: a product that accumulates then adds to
// it.
void gemm_begin_with_bias(Stream& stream, const GemmArgs& args);

}  // namespace quire
