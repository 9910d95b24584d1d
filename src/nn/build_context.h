// What a layer's constructor needs: where its weights are and how to store them.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/lora_target.h"
#include "checkpoint/weight_source.h"
#include "kernels/kernel_table.h"

namespace quire {

// A place in the checkpoint's tree of names.  Passed down by reference, never stored.
struct BuildContext {
  const KernelTable& kernels;
  Stream& stream;
  WeightSource& weights;
  DType dtype;                            // of matrices, once loaded
  int max_positions;                      // positions 0 .. max_positions - 1 must be servable
  int64_t& weight_bytes;                  // grows by what is loaded
  std::vector<LoraTarget>& lora_targets;  // grows by the matrices that are loaded
  std::string prefix;                     // "model.layers.3"

  // The child `name`, dots allowed: at("self_attn"), at("layers", 3).
  BuildContext at(std::string_view name) const;
  BuildContext at(std::string_view name, int index) const;
  // The full name of a tensor: name_of("weight").
  std::string name_of(std::string_view leaf) const;
  // A vector in f32: weights of norms, biases.
  Tensor load_vector(std::string_view leaf, int64_t size) const;
  // A matrix in `dtype`, row-major as in the checkpoint.
  Tensor load_matrix(std::string_view leaf, int64_t rows, int64_t columns) const;
  // The tensor itself, or its copy in the memory of the kernels' device.
  Tensor to_device(Tensor host) const;
};

// Copies `from` to `to`, of the same shape, between any two of f32, f16 and bf16.  Data may be
// unaligned.
struct ConvertArgs {
  TensorView from;
  TensorView to;
  std::span<const int64_t> row_order =
      {};                   // row i of `to` is row row_order[i] of `from`; empty = i
  bool transposed = false;  // `from` is a matrix of the transposed shape; excludes row_order
};
void convert(ThreadPool& pool, const ConvertArgs& args);

// Copies `count` elements between any two of f32, f16 and bf16.  Data may be unaligned.
struct ConvertElementsArgs {
  const std::byte* from = nullptr;
  DType from_dtype = DType::kF32;
  std::byte* to = nullptr;
  DType to_dtype = DType::kF32;
  int64_t count = 0;
};
void convert_elements(const ConvertElementsArgs& args);

// Copies each column of a matrix to a place of its own, between any two of f32, f16 and bf16,
// reading the matrix once.  Data may be unaligned.
struct ConvertColumnsArgs {
  TensorView from;                 // [rows, columns]
  std::span<std::byte* const> to;  // [columns]
  DType to_dtype = DType::kF32;
  std::span<const int64_t> row_order =
      {};  // element i of a column is of row row_order[i]; empty = i
};
void convert_columns(const ConvertColumnsArgs& args);

}  // namespace quire
