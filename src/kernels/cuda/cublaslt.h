// Matrix products by NVIDIA's cuBLASLt, which is loaded when it is first needed, with the fastest
// of its algorithms for each shape.
#pragma once

#include <cublasLt.h>

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "kernels/gemm.h"

namespace quire {

// The functions of the library that we use; null until loaded.
struct CublasLtFunctions {
  decltype(&cublasLtCreate) create = nullptr;
  decltype(&cublasLtMatmul) matmul = nullptr;
  decltype(&cublasLtMatmulAlgoGetHeuristic) get_heuristic = nullptr;
  decltype(&cublasLtMatmulAlgoCheck) check_algorithm = nullptr;
  decltype(&cublasLtMatmulDescCreate) create_operation = nullptr;
  decltype(&cublasLtMatmulDescSetAttribute) set_operation = nullptr;
  decltype(&cublasLtMatmulDescDestroy) destroy_operation = nullptr;
  decltype(&cublasLtMatrixLayoutCreate) create_layout = nullptr;
  decltype(&cublasLtMatrixLayoutDestroy) destroy_layout = nullptr;
  decltype(&cublasLtMatmulPreferenceCreate) create_preference = nullptr;
  decltype(&cublasLtMatmulPreferenceSetAttribute) set_preference = nullptr;
  decltype(&cublasLtMatmulPreferenceDestroy) destroy_preference = nullptr;
  decltype(&cublasLtGetStatusString) status_string = nullptr;
};

// Thread: the one that runs the step.
class CublasLt {
 public:
  // `library`: of dlopen.  Throws LoadError if it lacks a function, DeviceError if it does not
  // start.
  explicit CublasLt(void* library);

  // Queues the product without bias.  Outside of stream capture, the first product of a shape tries
  // some algorithms and waits for them.  Returns false, having done nothing, if the library has no
  // algorithm for it.
  [[nodiscard]] bool multiply(Stream& stream, const GemmArgs& args);

 private:
  // Shapes that share a tuned algorithm.
  struct Bucket {
    int64_t n = 0;
    int64_t k = 0;
    DType dtype = DType::kF32;
    DType out_dtype = DType::kF32;
    bool accumulate = false;
    int64_t m = 0;  // rounded up
    auto operator<=>(const Bucket&) const = default;
  };
  // One product in the terms of the library.
  struct Product;

  static Bucket bucket_of(const GemmArgs& args);
  std::vector<cublasLtMatmulAlgo_t> candidates(const Product& product, int max_count) const;
  bool fits(const Product& product, const cublasLtMatmulAlgo_t& algorithm) const;
  std::optional<cublasLtMatmulAlgo_t> choose(Stream& stream, const GemmArgs& args,
                                             const Product& product);
  std::optional<cublasLtMatmulAlgo_t> tune(Stream& stream, const GemmArgs& args,
                                           const Product& product);
  cublasStatus_t run(Stream& stream, const Product& product, void* out,
                     const cublasLtMatmulAlgo_t& algorithm);
  // The time of one run with cold caches, in milliseconds; infinity if it fails.
  float measure(Stream& stream, const Product& product, void* out,
                const cublasLtMatmulAlgo_t& algorithm);
  void check(cublasStatus_t status, const char* what) const;

  CublasLtFunctions functions_;
  cublasLtHandle_t handle_ = nullptr;
  Buffer workspace_;
  std::map<Bucket, cublasLtMatmulAlgo_t> tuned_;
};

// Null if the library is not installed; then there are kernels of our own, slower for many rows.
// The first call must not be during stream capture.
CublasLt* cublaslt();

}  // namespace quire
