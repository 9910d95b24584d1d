#include "nn/linear.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "base/check.h"

namespace quire {
namespace {

bool is_aligned(const TensorView& view) {
  return reinterpret_cast<uintptr_t>(view.data) % static_cast<uintptr_t>(size_of(view.dtype)) == 0;
}

Shape stored_shape(const LinearOptions& options, const LinearPart& part) {
  return options.transposed ? Shape{options.in_features, part.out_features}
                            : Shape{part.out_features, options.in_features};
}

int64_t total_out_features(const LinearOptions& options) {
  int64_t total = 0;
  for (const LinearPart& part : options.parts) total += part.out_features;
  return total;
}

// Stacks the parts in the order and type in which they are to be packed.
Tensor stack_parts(const BuildContext& build, const LinearOptions& options,
                   const std::vector<TensorView>& parts) {
  Tensor stacked(Shape{total_out_features(options), options.in_features}, build.dtype);
  int64_t begin = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    const int64_t out_features = options.parts[i].out_features;
    convert(build.stream.pool(), {.from = parts[i],
                                  .to = stacked.view().rows_view(begin, out_features),
                                  .row_order = options.row_order,
                                  .transposed = options.transposed});
    begin += out_features;
  }
  return stacked;
}

// Whether the parts can be packed from where the checkpoint has them.
bool can_pack_in_place(const BuildContext& build, const LinearOptions& options,
                       const std::vector<TensorView>& parts) {
  const bool can_stack = parts.size() == 1 || !build.kernels.device->is_host();
  return can_stack && !options.transposed && options.row_order.empty() &&
         std::ranges::all_of(parts, [&](const TensorView& part) {
           return part.dtype == build.dtype && is_aligned(part);
         });
}

PackedWeight pack(const BuildContext& build, const LinearOptions& options) {
  std::vector<TensorView> parts;
  for (const LinearPart& part : options.parts) {
    parts.push_back(
        build.weights.take(build.at(part.name).name_of("weight"), stored_shape(options, part)));
  }
  PackedWeight packed;
  if (can_pack_in_place(build, options, parts)) {
    packed = build.kernels.pack_weight(
        build.stream, {.weight = parts.front(), .more = std::span(parts).subspan(1)});
  } else {
    const Tensor stacked = stack_parts(build, options, parts);
    packed = build.kernels.pack_weight(build.stream, {.weight = stacked.view()});
  }
  for (const TensorView& part : parts) build.weights.release(part);
  return packed;
}

Tensor load_bias(const BuildContext& build, const LinearOptions& options) {
  Tensor bias(Shape{total_out_features(options)}, DType::kF32);
  int64_t begin = 0;
  for (const LinearPart& part : options.parts) {
    const TensorView from =
        build.weights.take(build.at(part.name).name_of("bias"), Shape{part.out_features});
    convert(build.stream.pool(), {.from = from,
                                  .to = bias.view().rows_view(begin, part.out_features),
                                  .row_order = options.row_order});
    build.weights.release(from);
    begin += part.out_features;
  }
  build.weight_bytes += begin * size_of(DType::kF32);
  return build.to_device(std::move(bias));
}

int add_lora_targets(const BuildContext& build, const LinearOptions& options) {
  const auto first = static_cast<int>(build.lora_targets.size());
  for (const LinearPart& part : options.parts) {
    build.lora_targets.push_back(
        {.name = part.lora_name.empty() ? build.at(part.name).prefix : part.lora_name,
         .in_features = options.in_features,
         .out_features = part.out_features,
         .is_head = options.is_head,
         .output_order = options.row_order});
  }
  return first;
}

}  // namespace

Linear::Linear(const BuildContext& build, const LinearOptions& options)
    : weight_(pack(build, options)), first_lora_target_(add_lora_targets(build, options)) {
  CHECK(options.row_order.empty() || (options.parts.size() == 1 && !options.transposed));
  build.weight_bytes += weight_.data.num_bytes();
  if (options.bias) bias_ = load_bias(build, options);
  for (const LinearPart& part : options.parts) part_out_features_.push_back(part.out_features);
}

void Linear::multiply(ForwardContext& context, const TensorView& x, const TensorView& out,
                      bool accumulate) const {
  context.kernels.gemm(context.stream, {.x = x,
                                        .weight = &weight_,
                                        .bias = bias_.view(),
                                        .out = out,
                                        .accumulate = accumulate,
                                        .leaves_room = context.lora != nullptr});
  if (context.lora != nullptr && context.lora_arrival != nullptr) {
    context.lora_arrival->wait_for(first_lora_target_ +
                                   static_cast<int>(part_out_features_.size()) - 1);
  }
}

// All but the memory of the sums.
LoraAddArgs Linear::lora_args(const ForwardContext& context, const TensorView& x,
                              const TensorView& out) const {
  const LoraBatch& batch = *context.lora;
  const LoraNumPartialsFn partials = context.kernels.lora_num_partials;
  TensorView sums;
  sums.shape = Shape{partials == nullptr ? 1 : partials(in_features(), batch.max_num_tokens),
                     batch.max_num_tokens, std::ssize(part_out_features_) * batch.max_rank};
  return {.x = x,
          .batch = &batch,
          .first_target = first_lora_target_,
          .part_out_features = part_out_features_,
          .sums = sums,
          .out = out};
}

void Linear::add_adapters(ForwardContext& context, const TensorView& x,
                          const TensorView& out) const {
  if (context.lora == nullptr) return;
  Scratch scratch(context);
  LoraAddArgs args = lora_args(context, x, out);
  args.sums = scratch.f32_cube(args.sums.shape[0], args.sums.shape[1], args.sums.shape[2]);
  context.kernels.lora_add(context.stream, args);
}

DeferredLora Linear::defer_adapters(ForwardContext& context, const TensorView& x,
                                    const TensorView& out) const {
  const bool is_free = !context.lora_sums.empty() && !context.residual_lora;
  if (context.lora != nullptr && is_free) {
    LoraAddArgs args = lora_args(context, x, out);
    CHECK(args.sums.shape.num_elements() <= context.lora_sums.shape.num_elements(), "sums of ",
          args.sums.shape.num_elements());
    args.sums = {context.lora_sums.data, args.sums.shape, DType::kF32};
    if (context.kernels.lora_shrink(context.stream, args)) return args;
  }
  add_adapters(context, x, out);
  return {};
}

void Linear::forward(ForwardContext& context, const TensorView& x, const TensorView& out) const {
  multiply(context, x, out, false);
  add_adapters(context, x, out);
}

DeferredLora Linear::forward_deferred(ForwardContext& context, const TensorView& x,
                                      const TensorView& out) const {
  multiply(context, x, out, false);
  return defer_adapters(context, x, out);
}

bool Linear::forward_gated(ForwardContext& context, const TensorView& x, const TensorView& out,
                           Activation activation) const {
  const GatedGemmFn gated_gemm = context.kernels.gated_gemm;
  return gated_gemm != nullptr && context.lora == nullptr &&
         gated_gemm(context.stream, {.x = x,
                                     .weight = &weight_,
                                     .bias = bias_.view(),
                                     .out = out,
                                     .activation = activation});
}

void Linear::forward_add(ForwardContext& context, const TensorView& x,
                         const TensorView& out) const {
  multiply(context, x, out, true);
  DeferredLora lora = defer_adapters(context, x, out);
  if (lora) context.residual_lora = lora;
}

}  // namespace quire
