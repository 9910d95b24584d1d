#include "kernels/cuda/cublaslt.h"

#include <dlfcn.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <memory>
#include <string>

#include "kernels/cuda/launch.cuh"
#include "kernels/gemm_rows.h"

namespace quire {
namespace {

// For partial sums of a split K.  As large as the L2 cache of an H200, so that filling it also
// empties the cache between two measurements.
constexpr int64_t kWorkspaceBytes = int64_t{64} << 20;
constexpr uint32_t kAlignment = 16;  // of every matrix, in bytes

cudaDataType_t type_of(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return CUDA_R_32F;
    case DType::kF16:
      return CUDA_R_16F;
    case DType::kBF16:
      return CUDA_R_16BF;
    case DType::kI32:
      break;
  }
  CHECK(false, "not a floating-point type: ", to_string(dtype));
  return CUDA_R_32F;
}

bool is_aligned(const void* data) { return reinterpret_cast<uintptr_t>(data) % kAlignment == 0; }

bool is_capturing(Stream& stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  check_cuda(cudaStreamIsCapturing(cuda_stream(stream), &status), "cudaStreamIsCapturing");
  return status != cudaStreamCaptureStatusNone;
}

template <typename F>
void load_function(void* library, const char* name, F& function) {
  function = reinterpret_cast<F>(dlsym(library, name));
  if (function == nullptr) {
    throw LoadError(std::string("libcublasLt has no ") + name +
                    ": install cuBLAS of CUDA 12 or newer");
  }
}

CublasLtFunctions load_functions(void* library) {
  CublasLtFunctions f;
  load_function(library, "cublasLtCreate", f.create);
  load_function(library, "cublasLtMatmul", f.matmul);
  load_function(library, "cublasLtMatmulAlgoGetHeuristic", f.get_heuristic);
  load_function(library, "cublasLtMatmulAlgoCheck", f.check_algorithm);
  load_function(library, "cublasLtMatmulDescCreate", f.create_operation);
  load_function(library, "cublasLtMatmulDescSetAttribute", f.set_operation);
  load_function(library, "cublasLtMatmulDescDestroy", f.destroy_operation);
  load_function(library, "cublasLtMatrixLayoutCreate", f.create_layout);
  load_function(library, "cublasLtMatrixLayoutDestroy", f.destroy_layout);
  load_function(library, "cublasLtMatmulPreferenceCreate", f.create_preference);
  load_function(library, "cublasLtMatmulPreferenceSetAttribute", f.set_preference);
  load_function(library, "cublasLtMatmulPreferenceDestroy", f.destroy_preference);
  load_function(library, "cublasLtGetStatusString", f.status_string);
  return f;
}

template <typename T>
using Handle = std::unique_ptr<std::remove_pointer_t<T>, cublasStatus_t (*)(T)>;

class Event {
 public:
  Event() { check_cuda(cudaEventCreate(&event_), "cudaEventCreate"); }
  ~Event() { (void)cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace

// The library's matrices are column-major, so that our rows are its columns: it computes
// out^T [N, M] = weight [N, K] * x^T [K, M], and sees the weight as the transpose of a [K, N].
struct CublasLt::Product {
  Handle<cublasLtMatmulDesc_t> operation;
  Handle<cublasLtMatrixLayout_t> weight_layout;
  Handle<cublasLtMatrixLayout_t> x_layout;
  Handle<cublasLtMatrixLayout_t> out_layout;
  const void* weight = nullptr;
  const void* x = nullptr;
  float beta = 0.0F;
  bool is_small = false;  // bound by memory

  Product(const CublasLtFunctions& f, const GemmArgs& args)
      : operation(nullptr, f.destroy_operation),
        weight_layout(nullptr, f.destroy_layout),
        x_layout(nullptr, f.destroy_layout),
        out_layout(nullptr, f.destroy_layout),
        weight(args.weight->data.data()),
        x(args.x.data),
        beta(args.accumulate ? 1.0F : 0.0F),
        is_small(args.x.rows() <= 256) {
    const auto m = static_cast<uint64_t>(args.x.rows());
    const auto n = static_cast<uint64_t>(args.weight->out_features);
    const auto k = static_cast<uint64_t>(args.weight->in_features);
    const auto layout = [&](DType dtype, uint64_t rows, uint64_t columns, int64_t stride) {
      cublasLtMatrixLayout_t result = nullptr;
      if (f.create_layout(&result, type_of(dtype), rows, columns, stride) !=
          CUBLAS_STATUS_SUCCESS) {
        throw DeviceError("cuBLASLt: no matrix layout");
      }
      return result;
    };
    // The stride of a single row may be anything, but the library wants at least its length.
    const auto stride_of = [](const TensorView& view) {
      return std::max(view.row_stride, view.shape[1]);
    };
    cublasLtMatmulDesc_t created = nullptr;
    if (f.create_operation(&created, CUBLAS_COMPUTE_32F, CUDA_R_32F) != CUBLAS_STATUS_SUCCESS) {
      throw DeviceError("cuBLASLt: no operation");
    }
    operation.reset(created);
    const cublasOperation_t transposed = CUBLAS_OP_T;
    if (f.set_operation(created, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof(transposed)) !=
        CUBLAS_STATUS_SUCCESS) {
      throw DeviceError("cuBLASLt: no transposed operation");
    }
    weight_layout.reset(layout(args.weight->dtype, k, n, args.weight->in_features));
    x_layout.reset(layout(args.x.dtype, k, m, stride_of(args.x)));
    out_layout.reset(layout(args.out.dtype, n, m, stride_of(args.out)));
  }
};

CublasLt::CublasLt(void* library) : functions_(load_functions(library)) {
  check(functions_.create(&handle_), "cublasLtCreate");
  workspace_ = Buffer(kWorkspaceBytes, *cuda_device());
}

void CublasLt::check(cublasStatus_t status, const char* what) const {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw DeviceError(std::string("cuBLASLt: ") + what + ": " + functions_.status_string(status));
}

bool CublasLt::multiply(Stream& stream, const GemmArgs& args) {
  CHECK(args.bias.empty(), "a bias is added before");
  if (!is_aligned(args.x.data) || !is_aligned(args.out.data)) return false;
  const Product product(functions_, args);
  const std::optional<cublasLtMatmulAlgo_t> algorithm = choose(stream, args, product);
  if (!algorithm.has_value()) return false;
  check(run(stream, product, args.out.data, *algorithm), "cublasLtMatmul");
  return true;
}

CublasLt::Bucket CublasLt::bucket_of(const GemmArgs& args) {
  return {.n = args.weight->out_features,
          .k = args.weight->in_features,
          .dtype = args.weight->dtype,
          .out_dtype = args.out.dtype,
          .accumulate = args.accumulate,
          .m = rounded_rows(args.x.rows())};
}

std::optional<cublasLtMatmulAlgo_t> CublasLt::choose(Stream& stream, const GemmArgs& args,
                                                     const Product& product) {
  const Bucket bucket = bucket_of(args);
  const auto tuned = tuned_.find(bucket);
  if (tuned != tuned_.end() && fits(product, tuned->second)) return tuned->second;
  if (tuned == tuned_.end() && !is_capturing(stream)) {
    const std::optional<cublasLtMatmulAlgo_t> best = tune(stream, args, product);
    if (best.has_value()) tuned_[bucket] = *best;
    return best;
  }
  const std::vector<cublasLtMatmulAlgo_t> first = candidates(product, 1);
  if (first.empty()) return std::nullopt;
  return first.front();
}

bool CublasLt::fits(const Product& product, const cublasLtMatmulAlgo_t& algorithm) const {
  cublasLtMatmulHeuristicResult_t result{};
  const cublasStatus_t status = functions_.check_algorithm(
      handle_, product.operation.get(), product.weight_layout.get(), product.x_layout.get(),
      product.out_layout.get(), product.out_layout.get(), &algorithm, &result);
  return status == CUBLAS_STATUS_SUCCESS &&
         result.workspaceSize <= static_cast<size_t>(kWorkspaceBytes);
}

std::vector<cublasLtMatmulAlgo_t> CublasLt::candidates(const Product& product,
                                                       int max_count) const {
  cublasLtMatmulPreference_t created = nullptr;
  check(functions_.create_preference(&created), "cublasLtMatmulPreferenceCreate");
  const Handle<cublasLtMatmulPreference_t> preference(created, functions_.destroy_preference);
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    check(functions_.set_preference(created, attribute, &value, sizeof(value)),
          "cublasLtMatmulPreferenceSetAttribute");
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<uint64_t>(kWorkspaceBytes));
  // The sums of a split K must not be rounded to the type of the result.
  set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
      static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  for (auto attribute :
       {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
    set(attribute, kAlignment);
  }
  std::vector<cublasLtMatmulHeuristicResult_t> found(static_cast<size_t>(max_count));
  int count = 0;
  const cublasStatus_t status = functions_.get_heuristic(
      handle_, product.operation.get(), product.weight_layout.get(), product.x_layout.get(),
      product.out_layout.get(), product.out_layout.get(), created, max_count, found.data(), &count);
  std::vector<cublasLtMatmulAlgo_t> result;
  if (status != CUBLAS_STATUS_SUCCESS) return result;  // none for this product
  for (int i = 0; i < count; ++i) {
    if (found[i].state == CUBLAS_STATUS_SUCCESS) result.push_back(found[i].algo);
  }
  return result;
}

std::optional<cublasLtMatmulAlgo_t> CublasLt::tune(Stream& stream, const GemmArgs& args,
                                                   const Product& product) {
  constexpr int kMaxCandidates = 16;
  constexpr int kMaxLargeCandidates = 8;  // milliseconds each
  constexpr int64_t kLargeRows = 2048;
  constexpr size_t kFinalists = 3;
  constexpr int kFinalRounds = 2;
  const std::vector<cublasLtMatmulAlgo_t> algorithms =
      candidates(product, args.x.rows() >= kLargeRows ? kMaxLargeCandidates : kMaxCandidates);
  if (algorithms.size() <= 1) {
    return algorithms.empty() ? std::nullopt : std::optional(algorithms.front());
  }
  void* out = args.out.data;  // written again and again with the same result, unless it adds up
  Buffer scratch;
  if (args.accumulate) {
    const int64_t num_elements =
        (args.out.rows() - 1) * args.out.row_stride + args.weight->out_features;
    try {
      scratch = Buffer(num_elements * size_of(args.out.dtype), stream.device());
    } catch (const LoadError&) {
      return algorithms.front();  // no memory to try them in
    }
    out = scratch.data();
  }
  struct Trial {
    float ms = 0.0F;
    const cublasLtMatmulAlgo_t* algorithm = nullptr;
  };
  std::vector<Trial> trials;
  for (const cublasLtMatmulAlgo_t& algorithm : algorithms) {
    (void)run(stream, product, out, algorithm);  // loads the kernel
    trials.push_back({measure(stream, product, out, algorithm), &algorithm});
  }
  const auto faster = [](const Trial& a, const Trial& b) { return a.ms < b.ms; };
  std::sort(trials.begin(), trials.end(), faster);
  trials.resize(std::min(trials.size(), kFinalists));
  for (int round = 0; round < kFinalRounds; ++round) {
    for (Trial& trial : trials) {
      trial.ms = std::min(trial.ms, measure(stream, product, out, *trial.algorithm));
    }
  }
  const Trial& best = *std::min_element(trials.begin(), trials.end(), faster);
  if (!std::isfinite(best.ms)) return std::nullopt;
  return *best.algorithm;
}

float CublasLt::measure(Stream& stream, const Product& product, void* out,
                        const cublasLtMatmulAlgo_t& algorithm) {
  const Event begin;
  const Event end;
  if (product.is_small) {
    check_cuda(cudaMemsetAsync(workspace_.data(), 0, static_cast<size_t>(kWorkspaceBytes),
                               cuda_stream(stream)),
               "cudaMemsetAsync");
  }
  check_cuda(cudaEventRecord(begin.get(), cuda_stream(stream)), "cudaEventRecord");
  if (run(stream, product, out, algorithm) != CUBLAS_STATUS_SUCCESS) return INFINITY;
  check_cuda(cudaEventRecord(end.get(), cuda_stream(stream)), "cudaEventRecord");
  check_cuda(cudaEventSynchronize(end.get()), "cuBLASLt failed");
  float ms = 0.0F;
  check_cuda(cudaEventElapsedTime(&ms, begin.get(), end.get()), "cudaEventElapsedTime");
  return ms;
}

cublasStatus_t CublasLt::run(Stream& stream, const Product& product, void* out,
                             const cublasLtMatmulAlgo_t& algorithm) {
  const float alpha = 1.0F;
  return functions_.matmul(handle_, product.operation.get(), &alpha, product.weight,
                           product.weight_layout.get(), product.x, product.x_layout.get(),
                           &product.beta, out, product.out_layout.get(), out,
                           product.out_layout.get(), &algorithm, workspace_.data(),
                           static_cast<size_t>(kWorkspaceBytes), cuda_stream(stream));
}

// The library's state belongs to the one thread that runs steps on the one GPU; no lock.  It is
// never destroyed: at the end of the process the driver may be gone before it.
CublasLt* cublaslt() {
  static CublasLt* const kLibrary = []() -> CublasLt* {
    // By the loader's rules, then where it was when this was built.
    for (const char* name : {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so",
                             QUIRE_CUDA_LIBRARY_DIR "/libcublasLt.so.13"}) {
      void* library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
      if (library != nullptr) return new CublasLt(library);
    }
    return nullptr;
  }();
  return kLibrary;
}

}  // namespace quire
