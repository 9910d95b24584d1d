// The table.  A row with ignored = true is dropped with a note, the others end the start.
#include "cli/vllm_flags.h"

#include <algorithm>
#include <iterator>
#include <string>

namespace quire {
namespace {

// Reasons shared by several rows.
constexpr const char* kThisBuildRunsOnOne =
    "this build runs on one CPU socket; use --num-threads to set the cores";
constexpr const char* kOneProcessRunsOneEngine =
    "one process runs one engine; start several and put an HTTP balancer in front of them";
constexpr const char* kQuireRunsOnOneMachine = "quire runs on one machine";
constexpr const char* kQuireRunsOnOneMachine2 =
    "quire runs on one machine, without Ray or expert parallelism";
constexpr const char* kOneProcessHoldsServerAnd =
    "one process holds server and engine; there are no workers to configure";
constexpr const char* kThereIsNoSecondTier =
    "there is no second tier of memory; set --kv-cache-memory-bytes";
constexpr const char* kSetTheSizeOfThe = "set the size of the cache with --kv-cache-memory-bytes";
constexpr const char* kTheKvCacheHasThe =
    "the KV cache has the model's dtype; choose it with --dtype";
constexpr const char* kKvCacheScalesAreNot = "KV cache scales are not supported; leave it out";
constexpr const char* kPrefixCachingAlwaysUsesOne = "prefix caching always uses one keyed hash";
constexpr const char* kThisKindOfCacheOr =
    "this kind of cache or transfer is not supported; leave it out";
constexpr const char* kOnlyUnquantisedCheckpointsFloat32Float16 =
    "only unquantised checkpoints (float32, float16, bfloat16) load so far; use the original model";
constexpr const char* kChangeTheModelsConfigjsonInstead = "change the model's config.json instead";
constexpr const char* kLoraAdaptersAreNotSupported =
    "LoRA adapters are not supported yet; merge the adapter into the checkpoint";
constexpr const char* kPromptAdaptersAreNotSupported = "prompt adapters are not supported";
constexpr const char* kToolCallsAreNotParsed =
    "tool calls are not parsed yet; the model's text is returned as it is";
constexpr const char* kReasoningIsNotSplitFrom =
    "reasoning is not split from the answer yet; it is returned inside the text";
constexpr const char* kStructuredOutputIsNotSupported = "structured output is not supported yet";
constexpr const char* kPythonLogitsProcessorsCannotBe =
    "Python logits processors cannot be loaded; use logit_bias, allowed_token_ids or bad_words in "
    "the request";
constexpr const char* kSpeculativeDecodingIsNotSupported =
    "speculative decoding is not supported yet; leave it out, the output stays the same";
constexpr const char* kNoPythonOfACheckpoint = "no Python of a checkpoint is ever run";
constexpr const char* kRequestsAreNeverLogged = "requests are never logged";
constexpr const char* kPromptsAndRequestsAreNever = "prompts and requests are never logged";
constexpr const char* kItTunesAPartThat = "it tunes a part that quire does not have";
constexpr const char* kPromptsAreNeverLoggedCounts =
    "prompts are never logged; counts are in /metrics";
constexpr const char* kTlsIsNotBuiltIn = "TLS is not built in; put a proxy (nginx, caddy) in front";
constexpr const char* kTheServerSendsNoCors =
    "the server sends no CORS headers; have the proxy add them";
constexpr const char* kHeaderAndBodyLimitsAre = "header and body limits are fixed";
constexpr const char* kTheTemplateSeesMessagesIn = "the template sees messages in OpenAI's form";
constexpr const char* kOnlyTextGenerationIsSupported = "only text generation is supported so far";
constexpr const char* kWriteTheRevisionBehindThe =
    "write the revision behind the model: org/name@revision";
constexpr const char* kOnlyLocalSafetensorsCheckpointsAre =
    "only local safetensors checkpoints are read";
constexpr const char* kQuireHasNoSuchMode = "quire has no such mode; leave it out";
constexpr const char* kImagesAudioAndVideoAre = "images, audio and video are not supported";
constexpr const char* kTheSchedulerStartsARequest =
    "the scheduler starts a request as soon as its prompt fits; see --max-queue-len and "
    "--scheduling-policy";
constexpr const char* kTracingIsNotBuiltIn = "tracing is not built in; see /metrics";

constexpr VllmFlag kFlags[] = {
    {"--tensor-parallel-size", true, false, kThisBuildRunsOnOne},
    {"-tp", true, false, kThisBuildRunsOnOne},
    {"--pipeline-parallel-size", true, false, kOneProcessRunsOneEngine},
    {"-pp", true, false, kOneProcessRunsOneEngine},
    {"--data-parallel-size", true, false, kOneProcessRunsOneEngine},
    {"-dp", true, false, kOneProcessRunsOneEngine},
    {"--data-parallel-size-local", true, false, kOneProcessRunsOneEngine},
    {"-dpl", true, false, kOneProcessRunsOneEngine},
    {"--decode-context-parallel-size", true, false, kOneProcessRunsOneEngine},
    {"-dcp", true, false, kOneProcessRunsOneEngine},
    {"--prefill-context-parallel-size", true, false, kOneProcessRunsOneEngine},
    {"-pcp", true, false, kOneProcessRunsOneEngine},
    {"--data-parallel-rank", true, false, kQuireRunsOnOneMachine},
    {"--data-parallel-start-rank", true, false, kQuireRunsOnOneMachine},
    {"--data-parallel-address", true, false, kQuireRunsOnOneMachine},
    {"--data-parallel-rpc-port", true, false, kQuireRunsOnOneMachine},
    {"--data-parallel-backend", true, false, kQuireRunsOnOneMachine},
    {"--nnodes", true, false, kQuireRunsOnOneMachine},
    {"-n", true, false, kQuireRunsOnOneMachine},
    {"--node-rank", true, false, kQuireRunsOnOneMachine},
    {"-r", true, false, kQuireRunsOnOneMachine},
    {"--master-addr", true, false, kQuireRunsOnOneMachine},
    {"--master-port", true, false, kQuireRunsOnOneMachine},
    {"--data-parallel-hybrid-lb", false, false, kQuireRunsOnOneMachine2},
    {"--data-parallel-external-lb", false, false, kQuireRunsOnOneMachine2},
    {"--headless", false, false, kQuireRunsOnOneMachine2},
    {"--enable-expert-parallel", false, false, kQuireRunsOnOneMachine2},
    {"-ep", false, false, kQuireRunsOnOneMachine2},
    {"--enable-dbo", false, false, kQuireRunsOnOneMachine2},
    {"--enable-eplb", false, false, kQuireRunsOnOneMachine2},
    {"--worker-use-ray", false, false, kQuireRunsOnOneMachine2},
    {"--engine-use-ray", false, false, kQuireRunsOnOneMachine2},
    {"--ray-workers-use-nsight", false, false, kQuireRunsOnOneMachine2},
    {"--distributed-executor-backend", true, false, kOneProcessHoldsServerAnd},
    {"--max-parallel-loading-workers", true, false, kOneProcessHoldsServerAnd},
    {"--api-server-count", true, false, kOneProcessHoldsServerAnd},
    {"-asc", true, false, kOneProcessHoldsServerAnd},
    {"--worker-cls", true, false, kOneProcessHoldsServerAnd},
    {"--worker-extension-cls", true, false, kOneProcessHoldsServerAnd},
    {"--dbo-decode-token-threshold", true, false, kOneProcessHoldsServerAnd},
    {"--num-redundant-experts", true, false, kOneProcessHoldsServerAnd},
    {"--eplb-config", true, false, kOneProcessHoldsServerAnd},
    {"--expert-placement-strategy", true, false, kOneProcessHoldsServerAnd},
    {"--all2all-backend", true, false, kOneProcessHoldsServerAnd},
    {"--disable-custom-all-reduce", false, true, "there is no all-reduce on one device"},
    {"--gpu-memory-utilization", true, false,
     "memory is given as a size: --kv-cache-memory-bytes 4G"},
    {"--swap-space", true, false, kThereIsNoSecondTier},
    {"--cpu-offload-gb", true, false, kThereIsNoSecondTier},
    {"--kv-offloading-size", true, false, kThereIsNoSecondTier},
    {"--kv-offloading-backend", true, false, kThereIsNoSecondTier},
    {"--offload-backend", true, false, kThereIsNoSecondTier},
    {"--num-gpu-blocks-override", true, false, kSetTheSizeOfThe},
    {"--num-lookahead-slots", true, false, kSetTheSizeOfThe},
    {"--kv-cache-dtype", true, false, kTheKvCacheHasThe},
    {"--kv-cache-dtype-skip-layers", true, false, kTheKvCacheHasThe},
    {"--quantization-param-path", true, false, kKvCacheScalesAreNot},
    {"--calculate-kv-scales", false, false, kKvCacheScalesAreNot},
    {"--prefix-caching-hash-algo", true, true, kPrefixCachingAlwaysUsesOne},
    {"--prefix-match-unit", true, true, kPrefixCachingAlwaysUsesOne},
    {"--kv-transfer-config", true, false, kThisKindOfCacheOr},
    {"--kv-events-config", true, false, kThisKindOfCacheOr},
    {"--ec-transfer-config", true, false, kThisKindOfCacheOr},
    {"--kv-sharing-fast-prefill", true, false, kThisKindOfCacheOr},
    {"--mamba-cache-dtype", true, false, kThisKindOfCacheOr},
    {"--mamba-ssm-cache-dtype", true, false, kThisKindOfCacheOr},
    {"--mamba-block-size", true, false, kThisKindOfCacheOr},
    {"--mamba-cache-mode", true, false, kThisKindOfCacheOr},
    {"--quantization", true, false, kOnlyUnquantisedCheckpointsFloat32Float16},
    {"-q", true, false, kOnlyUnquantisedCheckpointsFloat32Float16},
    {"--rope-scaling", true, false, kChangeTheModelsConfigjsonInstead},
    {"--rope-theta", true, false, kChangeTheModelsConfigjsonInstead},
    {"--hf-overrides", true, false, kChangeTheModelsConfigjsonInstead},
    {"--hf-config-path", true, false, kChangeTheModelsConfigjsonInstead},
    {"--config-format", true, false, kChangeTheModelsConfigjsonInstead},
    {"--enable-lora", false, false, kLoraAdaptersAreNotSupported},
    {"--fully-sharded-loras", false, false, kLoraAdaptersAreNotSupported},
    {"--enable-lora-bias", false, false, kLoraAdaptersAreNotSupported},
    {"--enable-tower-connector-lora", false, false, kLoraAdaptersAreNotSupported},
    {"--lora-modules", true, false, kLoraAdaptersAreNotSupported},
    {"--max-loras", true, false, kLoraAdaptersAreNotSupported},
    {"--max-lora-rank", true, false, kLoraAdaptersAreNotSupported},
    {"--max-cpu-loras", true, false, kLoraAdaptersAreNotSupported},
    {"--lora-dtype", true, false, kLoraAdaptersAreNotSupported},
    {"--lora-extra-vocab-size", true, false, kLoraAdaptersAreNotSupported},
    {"--long-lora-scaling-factors", true, false, kLoraAdaptersAreNotSupported},
    {"--default-mm-loras", true, false, kLoraAdaptersAreNotSupported},
    {"--qlora-adapter-name-or-path", true, false, kLoraAdaptersAreNotSupported},
    {"--lora-target-modules", true, false, kLoraAdaptersAreNotSupported},
    {"--enable-prompt-adapter", false, false, kPromptAdaptersAreNotSupported},
    {"--prompt-adapters", true, false, kPromptAdaptersAreNotSupported},
    {"--max-prompt-adapters", true, false, kPromptAdaptersAreNotSupported},
    {"--max-prompt-adapter-token", true, false, kPromptAdaptersAreNotSupported},
    {"--enable-auto-tool-choice", false, false, kToolCallsAreNotParsed},
    {"--exclude-tools-when-tool-choice-none", false, false, kToolCallsAreNotParsed},
    {"--tool-call-parser", true, false, kToolCallsAreNotParsed},
    {"--tool-parser-plugin", true, false, kToolCallsAreNotParsed},
    {"--tool-server", true, false, kToolCallsAreNotParsed},
    {"--reasoning-parser", true, false, kReasoningIsNotSplitFrom},
    {"--reasoning-parser-plugin", true, false, kReasoningIsNotSplitFrom},
    {"--reasoning-config", true, false, kReasoningIsNotSplitFrom},
    {"--enable-reasoning", false, false, kReasoningIsNotSplitFrom},
    {"--guided-decoding-backend", true, false, kStructuredOutputIsNotSupported},
    {"--structured-outputs-config", true, false, kStructuredOutputIsNotSupported},
    {"--structured-outputs-config.backend", true, false, kStructuredOutputIsNotSupported},
    {"--guided-decoding-disable-fallback", true, false, kStructuredOutputIsNotSupported},
    {"--guided-decoding-disable-any-whitespace", true, false, kStructuredOutputIsNotSupported},
    {"--logits-processors", true, false, kPythonLogitsProcessorsCannotBe},
    {"--logits-processor-pattern", true, false, kPythonLogitsProcessorsCannotBe},
    {"--logprobs-mode", true, false,
     "logprobs are those of the model before penalties and temperature (raw_logprobs)"},
    {"--speculative-config", true, false, kSpeculativeDecodingIsNotSupported},
    {"-sc", true, false, kSpeculativeDecodingIsNotSupported},
    {"--speculative-model", true, false, kSpeculativeDecodingIsNotSupported},
    {"--num-speculative-tokens", true, false, kSpeculativeDecodingIsNotSupported},
    {"--speculative-max-model-len", true, false, kSpeculativeDecodingIsNotSupported},
    {"--speculative-disable-by-batch-size", true, false, kSpeculativeDecodingIsNotSupported},
    {"--ngram-prompt-lookup-max", true, false, kSpeculativeDecodingIsNotSupported},
    {"--ngram-prompt-lookup-min", true, false, kSpeculativeDecodingIsNotSupported},
    {"--speculative-draft-tensor-parallel-size", true, false, kSpeculativeDecodingIsNotSupported},
    {"--spec-decoding-acceptance-method", true, false, kSpeculativeDecodingIsNotSupported},
    {"--typical-acceptance-sampler-posterior-threshold", true, false,
     kSpeculativeDecodingIsNotSupported},
    {"--typical-acceptance-sampler-posterior-alpha", true, false,
     kSpeculativeDecodingIsNotSupported},
    {"--enforce-eager", false, true, "nothing is compiled or captured at start"},
    {"--trust-remote-code", false, true, kNoPythonOfACheckpoint},
    {"--trust-request-chat-template", false, true, kNoPythonOfACheckpoint},
    {"--device", true, true, "this build runs on the CPU"},
    {"--disable-log-requests", false, true, kRequestsAreNeverLogged},
    {"--disable-uvicorn-access-log", false, true, kRequestsAreNeverLogged},
    {"--no-enable-log-requests", false, true, kRequestsAreNeverLogged},
    {"--max-log-len", true, true, kPromptsAndRequestsAreNever},
    {"--disable-access-log-for-endpoints", true, true, kPromptsAndRequestsAreNever},
    {"--use-v2-block-manager", false, true, kItTunesAPartThat},
    {"--disable-frontend-multiprocessing", false, true, kItTunesAPartThat},
    {"--use-tqdm-on-load", false, true, kItTunesAPartThat},
    {"--no-use-tqdm-on-load", false, true, kItTunesAPartThat},
    {"--enable-server-load-tracking", false, true, kItTunesAPartThat},
    {"--disable-async-output-proc", false, true, kItTunesAPartThat},
    {"--multi-step-stream-outputs", false, true, kItTunesAPartThat},
    {"--disable-fastapi-docs", false, true, kItTunesAPartThat},
    {"--aggregate-engine-logging", false, true, kItTunesAPartThat},
    {"--max-context-len-to-capture", true, true, kItTunesAPartThat},
    {"--max-seq-len-to-capture", true, true, kItTunesAPartThat},
    {"--cuda-graph-sizes", true, true, kItTunesAPartThat},
    {"--cudagraph-capture-sizes", true, true, kItTunesAPartThat},
    {"--max-cudagraph-capture-size", true, true, kItTunesAPartThat},
    {"--compilation-config", true, true, kItTunesAPartThat},
    {"-cc", true, true, kItTunesAPartThat},
    {"-O", true, true, kItTunesAPartThat},
    {"--optimization-level", true, true, kItTunesAPartThat},
    {"--attention-backend", true, true, kItTunesAPartThat},
    {"--attention-config", true, true, kItTunesAPartThat},
    {"-ac", true, true, kItTunesAPartThat},
    {"--kernel-config", true, true, kItTunesAPartThat},
    {"--tokenizer-pool-size", true, true, kItTunesAPartThat},
    {"--tokenizer-pool-type", true, true, kItTunesAPartThat},
    {"--tokenizer-pool-extra-config", true, true, kItTunesAPartThat},
    {"--num-scheduler-steps", true, true, kItTunesAPartThat},
    {"--preemption-mode", true, true, kItTunesAPartThat},
    {"--stream-interval", true, true, kItTunesAPartThat},
    {"--download-dir", true, true, kItTunesAPartThat},
    {"--model-impl", true, true, kItTunesAPartThat},
    {"--max-num-partial-prefills", true, true, kItTunesAPartThat},
    {"--max-long-partial-prefills", true, true, kItTunesAPartThat},
    {"--log-config-file", true, true, kItTunesAPartThat},
    {"--uvicorn-log-config", true, true, kItTunesAPartThat},
    {"--enable-log-requests", false, false, kPromptsAreNeverLoggedCounts},
    {"--enable-log-outputs", false, false, kPromptsAreNeverLoggedCounts},
    {"--enable-log-deltas", false, false, kPromptsAreNeverLoggedCounts},
    {"--ssl-keyfile", true, false, kTlsIsNotBuiltIn},
    {"--ssl-certfile", true, false, kTlsIsNotBuiltIn},
    {"--ssl-ca-certs", true, false, kTlsIsNotBuiltIn},
    {"--ssl-cert-reqs", true, false, kTlsIsNotBuiltIn},
    {"--ssl-ciphers", true, false, kTlsIsNotBuiltIn},
    {"--enable-ssl-refresh", false, false, kTlsIsNotBuiltIn},
    {"--uds", true, false, "the server listens on TCP; use --host and --port"},
    {"--root-path", true, false, "have the proxy strip the path prefix"},
    {"--allowed-origins", true, false, kTheServerSendsNoCors},
    {"--allowed-methods", true, false, kTheServerSendsNoCors},
    {"--allowed-headers", true, false, kTheServerSendsNoCors},
    {"--allow-credentials", false, false, kTheServerSendsNoCors},
    {"--middleware", true, false, "Python middleware cannot be loaded; use a proxy"},
    {"--grpc", false, false, "the server speaks HTTP only"},
    {"--h11-max-incomplete-event-size", true, true, kHeaderAndBodyLimitsAre},
    {"--h11-max-header-count", true, true, kHeaderAndBodyLimitsAre},
    {"--chat-template-content-format", true, false, kTheTemplateSeesMessagesIn},
    {"--chat-template-kwargs", true, false, kTheTemplateSeesMessagesIn},
    {"--default-chat-template-kwargs", true, false, kTheTemplateSeesMessagesIn},
    {"--ssl-context", true, false, kTlsIsNotBuiltIn},
    {"--runner", true, false, kOnlyTextGenerationIsSupported},
    {"--convert", true, false, kOnlyTextGenerationIsSupported},
    {"--task", true, false, kOnlyTextGenerationIsSupported},
    {"--pooler-config", true, false, kOnlyTextGenerationIsSupported},
    {"--override-pooler-config", true, false, kOnlyTextGenerationIsSupported},
    {"--revision", true, false, kWriteTheRevisionBehindThe},
    {"--code-revision", true, false, kWriteTheRevisionBehindThe},
    {"--tokenizer-revision", true, false, kWriteTheRevisionBehindThe},
    {"--tokenizer-mode", true, false, "the tokenizer is always read from tokenizer.json"},
    {"--skip-tokenizer-init", false, false,
     "serving needs the tokenizer; quire bench works without one"},
    {"--model-loader-extra-config", true, false, kOnlyLocalSafetensorsCheckpointsAre},
    {"--ignore-patterns", true, false, kOnlyLocalSafetensorsCheckpointsAre},
    {"--safetensors-load-strategy", true, false, kOnlyLocalSafetensorsCheckpointsAre},
    {"--pt-load-map-location", true, false, kOnlyLocalSafetensorsCheckpointsAre},
    {"--hf-token", true, false, kOnlyLocalSafetensorsCheckpointsAre},
    {"--disable-sliding-window", false, false, kQuireHasNoSuchMode},
    {"--disable-cascade-attn", false, false, kQuireHasNoSuchMode},
    {"--enable-sleep-mode", false, false, kQuireHasNoSuchMode},
    {"--enable-prompt-embeds", false, false, kQuireHasNoSuchMode},
    {"--language-model-only", false, false, kQuireHasNoSuchMode},
    {"--disable-hybrid-kv-cache-manager", false, false, kQuireHasNoSuchMode},
    {"--disable-chunked-mm-input", false, false, kQuireHasNoSuchMode},
    {"--enable-return-routed-experts", false, false, kQuireHasNoSuchMode},
    {"--limit-mm-per-prompt", true, false, kImagesAudioAndVideoAre},
    {"--mm-processor-kwargs", true, false, kImagesAudioAndVideoAre},
    {"--media-io-kwargs", true, false, kImagesAudioAndVideoAre},
    {"--allowed-local-media-path", true, false, kImagesAudioAndVideoAre},
    {"--allowed-media-domains", true, false, kImagesAudioAndVideoAre},
    {"--mm-processor-cache-gb", true, false, kImagesAudioAndVideoAre},
    {"--mm-encoder-tp-mode", true, false, kImagesAudioAndVideoAre},
    {"--interleave-mm-strings", true, false, kImagesAudioAndVideoAre},
    {"--image-input-type", true, false, kImagesAudioAndVideoAre},
    {"--image-token-id", true, false, kImagesAudioAndVideoAre},
    {"--image-input-shape", true, false, kImagesAudioAndVideoAre},
    {"--image-feature-size", true, false, kImagesAudioAndVideoAre},
    {"--image-processor", true, false, kImagesAudioAndVideoAre},
    {"--image-processor-revision", true, false, kImagesAudioAndVideoAre},
    {"--mm-encoder-attn-backend", true, false, kImagesAudioAndVideoAre},
    {"--video-pruning-rate", true, false, kImagesAudioAndVideoAre},
    {"--skip-mm-profiling", true, false, kImagesAudioAndVideoAre},
    {"--disable-image-processor", false, false, kImagesAudioAndVideoAre},
    {"--scheduler-delay-factor", true, false, kTheSchedulerStartsARequest},
    {"--scheduler-cls", true, false, kTheSchedulerStartsARequest},
    {"--scheduler-reserve-full-isl", true, false, kTheSchedulerStartsARequest},
    {"--max-waiting-queue-length", true, false, kTheSchedulerStartsARequest},
    {"--otlp-traces-endpoint", true, false, kTracingIsNotBuiltIn},
    {"--collect-detailed-traces", true, false, kTracingIsNotBuiltIn},
    {"--show-hidden-metrics-for-version", true, false, kTracingIsNotBuiltIn},
    {"--cudagraph-metrics", true, false, kTracingIsNotBuiltIn},
    {"--enable-layerwise-nvtx-tracing", true, false, kTracingIsNotBuiltIn},
    {"--profiler-config", true, false, kTracingIsNotBuiltIn},
    {"--enable-mfu-metrics", true, false, kTracingIsNotBuiltIn},
    {"--kv-cache-metrics", true, false, kTracingIsNotBuiltIn},
};

}  // namespace

std::span<const VllmFlag> vllm_flags() { return kFlags; }

const VllmFlag* find_vllm_flag(std::string_view name) {
  const auto row = std::find_if(std::begin(kFlags), std::end(kFlags),
                                [&](const VllmFlag& flag) { return name == flag.name; });
  if (row != std::end(kFlags)) {
    return &*row;
  }
  // "--no-enable-lora" and the like ask for what is the case anyway; dotted names are fields of a
  // JSON flag.
  if (name.rfind("--no-", 0) == 0) {
    static constexpr VllmFlag kNegated{"--no-", false, true, "it is off anyway"};
    const std::string positive = "--" + std::string(name.substr(5));
    return find_vllm_flag(positive) == nullptr ? nullptr : &kNegated;
  }
  const size_t dot = name.find('.');
  return dot == std::string_view::npos ? nullptr : find_vllm_flag(name.substr(0, dot));
}

}  // namespace quire
