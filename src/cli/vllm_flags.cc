// The table, and how a name is found in it.
#include "cli/vllm_flags.h"

#include <algorithm>
#include <iterator>
#include <string>

namespace quire {
namespace {

using enum VllmFlag::Treatment;

constexpr VllmFlag kFlags[] = {
    {kRefused, "--tensor-parallel-size -tp",
     "this build runs on one CPU socket; use --num-threads to set the cores"},
    {kRefused,
     "--pipeline-parallel-size -pp --data-parallel-size -dp --data-parallel-size-local -dpl "
     "--decode-context-parallel-size -dcp --prefill-context-parallel-size -pcp",
     "one process runs one engine; start several and put an HTTP balancer in front of them"},
    {kRefused,
     "--data-parallel-rank --data-parallel-start-rank --data-parallel-address "
     "--data-parallel-rpc-port --data-parallel-backend --nnodes -n --node-rank -r "
     "--master-addr --master-port",
     "quire runs on one machine"},
    {kRefused,
     "--data-parallel-hybrid-lb --data-parallel-external-lb --headless "
     "--enable-expert-parallel -ep --enable-dbo --enable-eplb --worker-use-ray "
     "--engine-use-ray --ray-workers-use-nsight",
     "quire runs on one machine, without Ray or expert parallelism"},
    {kRefused,
     "--distributed-executor-backend --max-parallel-loading-workers --api-server-count -asc "
     "--worker-cls --worker-extension-cls --dbo-decode-token-threshold --num-redundant-experts "
     "--eplb-config --expert-placement-strategy --all2all-backend",
     "one process holds server and engine; there are no workers to configure"},
    {kDropped, "--disable-custom-all-reduce", "there is no all-reduce on one device"},
    {kRefused,
     "--swap-space --cpu-offload-gb --kv-offloading-size --kv-offloading-backend "
     "--offload-backend",
     "there is no second tier of memory; set --kv-cache-memory-bytes"},
    {kRefused, "--num-gpu-blocks-override --num-lookahead-slots",
     "set the size of the cache with --kv-cache-memory-bytes"},
    {kRefused, "--kv-cache-dtype --kv-cache-dtype-skip-layers",
     "the KV cache has the model's dtype; choose it with --dtype"},
    {kRefused, "--quantization-param-path --calculate-kv-scales",
     "KV cache scales are not supported; leave it out"},
    {kDroppedWithValue, "--prefix-caching-hash-algo --prefix-match-unit",
     "prefix caching always uses one keyed hash"},
    {kRefused,
     "--kv-transfer-config --kv-events-config --ec-transfer-config --kv-sharing-fast-prefill "
     "--mamba-cache-dtype --mamba-ssm-cache-dtype --mamba-block-size --mamba-cache-mode",
     "this kind of cache or transfer is not supported; leave it out"},
    {kRefused, "--quantization -q",
     "only unquantised checkpoints (float32, float16, bfloat16) load so far; use the original "
     "model"},
    {kRefused, "--rope-scaling --rope-theta --hf-overrides --hf-config-path --config-format",
     "change the model's config.json instead"},
    {kDropped, "--fully-sharded-loras --specialize-active-lora",
     "adapters are on one device, in memory of their true rank"},
    {kDropped, "--enable-lora-bias", "adapters that have biases are refused by name"},
    {kDroppedWithValue, "--lora-extra-vocab-size",
     "nothing is reserved for added tokens; adapters that have some are refused by name"},
    {kRefused, "--lora-target-modules",
     "an adapter acts on all the modules that it has weights for"},
    {kRefused, "--long-lora-scaling-factors", "long-context adapters are not supported"},
    {kRefused, "--qlora-adapter-name-or-path", "name the adapter with --lora-modules"},
    {kRefused, "--default-mm-loras --enable-tower-connector-lora",
     "images, audio and video are not supported"},
    {kRefused, "--enable-mixed-moe-lora-format --enable-moe-shared-loras",
     "mixtures of experts are not supported"},
    {kRefused,
     "--enable-prompt-adapter --prompt-adapters --max-prompt-adapters "
     "--max-prompt-adapter-token",
     "prompt adapters are not supported"},
    {kRefused,
     "--enable-auto-tool-choice --exclude-tools-when-tool-choice-none --tool-call-parser "
     "--tool-parser-plugin --tool-server",
     "tool calls are not parsed yet; the model's text is returned as it is"},
    {kRefused, "--reasoning-parser --reasoning-parser-plugin --reasoning-config --enable-reasoning",
     "reasoning is not split from the answer yet; it is returned inside the text"},
    {kRefused,
     "--guided-decoding-backend --structured-outputs-config "
     "--structured-outputs-config.backend --guided-decoding-disable-fallback "
     "--guided-decoding-disable-any-whitespace",
     "structured output is not supported yet"},
    {kRefused, "--logits-processors --logits-processor-pattern",
     "Python logits processors cannot be loaded; use logit_bias, allowed_token_ids or "
     "bad_words in the request"},
    {kRefused, "--logprobs-mode",
     "logprobs are those of the model before penalties and temperature (raw_logprobs)"},
    {kRefused,
     "--speculative-config -sc --speculative-model --num-speculative-tokens "
     "--speculative-max-model-len --speculative-disable-by-batch-size "
     "--ngram-prompt-lookup-max --ngram-prompt-lookup-min "
     "--speculative-draft-tensor-parallel-size --spec-decoding-acceptance-method "
     "--typical-acceptance-sampler-posterior-threshold "
     "--typical-acceptance-sampler-posterior-alpha",
     "speculative decoding is not supported yet; leave it out, the output stays the same"},
    {kDropped, "--enforce-eager", "nothing is compiled or captured at start"},
    {kDropped, "--trust-remote-code --trust-request-chat-template",
     "no Python of a checkpoint is ever run"},
    {kDropped, "--disable-log-requests --disable-uvicorn-access-log",
     "requests are not logged unless --enable-log-requests is given"},
    {kDroppedWithValue, "--max-log-len --disable-access-log-for-endpoints",
     "the request log holds no prompts"},
    {kDropped,
     "--use-v2-block-manager --disable-frontend-multiprocessing --use-tqdm-on-load "
     "--no-use-tqdm-on-load --enable-server-load-tracking --disable-async-output-proc "
     "--multi-step-stream-outputs --disable-fastapi-docs --aggregate-engine-logging",
     "it tunes a part that quire does not have"},
    {kDroppedWithValue,
     "--max-context-len-to-capture --max-seq-len-to-capture --cuda-graph-sizes "
     "--cudagraph-capture-sizes --max-cudagraph-capture-size --compilation-config -cc -O "
     "--optimization-level --attention-backend --attention-config -ac --kernel-config "
     "--tokenizer-pool-size --tokenizer-pool-type --tokenizer-pool-extra-config "
     "--num-scheduler-steps --preemption-mode --stream-interval --download-dir --model-impl "
     "--max-num-partial-prefills --max-long-partial-prefills --log-config-file "
     "--uvicorn-log-config",
     "it tunes a part that quire does not have"},
    {kRefused, "--enable-log-outputs --enable-log-deltas",
     "texts are never logged; --enable-log-requests logs counts"},
    {kRefused,
     "--ssl-keyfile --ssl-certfile --ssl-ca-certs --ssl-cert-reqs --ssl-ciphers --ssl-context "
     "--enable-ssl-refresh",
     "TLS is not built in; put a proxy (nginx, caddy) in front"},
    {kRefused, "--uds", "the server listens on TCP; use --host and --port"},
    {kRefused, "--root-path", "have the proxy strip the path prefix"},
    {kRefused, "--allowed-origins --allowed-methods --allowed-headers --allow-credentials",
     "the server sends no CORS headers; have the proxy add them"},
    {kRefused, "--middleware", "Python middleware cannot be loaded; use a proxy"},
    {kRefused, "--grpc", "the server speaks HTTP only"},
    {kDroppedWithValue, "--h11-max-incomplete-event-size --h11-max-header-count",
     "header and body limits are fixed"},
    {kRefused,
     "--chat-template-content-format --chat-template-kwargs --default-chat-template-kwargs",
     "the template sees messages in OpenAI's form"},
    {kRefused, "--runner --convert --task --pooler-config --override-pooler-config",
     "only text generation is supported so far"},
    {kRefused, "--revision --code-revision --tokenizer-revision",
     "write the revision behind the model: org/name@revision"},
    {kRefused, "--tokenizer-mode", "the tokenizer is always read from tokenizer.json"},
    {kRefused, "--skip-tokenizer-init",
     "serving needs the tokenizer; quire bench works without one"},
    {kRefused,
     "--model-loader-extra-config --ignore-patterns --safetensors-load-strategy "
     "--pt-load-map-location --hf-token",
     "only local safetensors checkpoints are read"},
    {kRefused,
     "--disable-sliding-window --disable-cascade-attn --enable-sleep-mode "
     "--enable-prompt-embeds --language-model-only --disable-hybrid-kv-cache-manager "
     "--disable-chunked-mm-input --enable-return-routed-experts",
     "quire has no such mode; leave it out"},
    {kRefused,
     "--limit-mm-per-prompt --mm-processor-kwargs --media-io-kwargs --allowed-local-media-path "
     "--allowed-media-domains --mm-processor-cache-gb --mm-encoder-tp-mode "
     "--interleave-mm-strings --image-input-type --image-token-id --image-input-shape "
     "--image-feature-size --image-processor --image-processor-revision "
     "--mm-encoder-attn-backend --video-pruning-rate --skip-mm-profiling "
     "--disable-image-processor",
     "images, audio and video are not supported"},
    {kRefused,
     "--scheduler-delay-factor --scheduler-cls --scheduler-reserve-full-isl "
     "--max-waiting-queue-length",
     "the scheduler starts a request as soon as its prompt fits; see --max-queue-len and "
     "--scheduling-policy"},
    {kRefused,
     "--otlp-traces-endpoint --collect-detailed-traces --show-hidden-metrics-for-version "
     "--cudagraph-metrics --enable-layerwise-nvtx-tracing --profiler-config "
     "--enable-mfu-metrics --kv-cache-metrics",
     "tracing is not built in; see /metrics"},
};

// True if `name` is one of the words of `names`.
bool has_word(std::string_view names, std::string_view name) {
  for (size_t begin = 0; begin < names.size();) {
    const size_t end = std::min(names.find(' ', begin), names.size());
    if (names.substr(begin, end - begin) == name) {
      return true;
    }
    begin = end + 1;
  }
  return false;
}

}  // namespace

std::span<const VllmFlag> vllm_flags() { return kFlags; }

const VllmFlag* find_vllm_flag(std::string_view name) {
  const auto row = std::find_if(std::begin(kFlags), std::end(kFlags),
                                [&](const VllmFlag& flag) { return has_word(flag.names, name); });
  if (row != std::end(kFlags)) {
    return &*row;
  }
  // "--no-enable-eplb" and the like ask for what is the case anyway; dotted names are fields of a
  // JSON flag.
  if (name.rfind("--no-", 0) == 0) {
    static constexpr VllmFlag kNegated{kDropped, "", "it is off anyway"};
    const std::string positive = "--" + std::string(name.substr(5));
    return find_vllm_flag(positive) == nullptr ? nullptr : &kNegated;
  }
  const size_t dot = name.find('.');
  return dot == std::string_view::npos ? nullptr : find_vllm_flag(name.substr(0, dot));
}

}  // namespace quire
