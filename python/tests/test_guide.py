"""Programs as guides to vLLM write them, with the import changed."""

import json
import time

from conftest import write_adapter


def test_batch_inference_with_a_summary(tmp_path):
    from quire import LLM, SamplingParams

    prompts = [f"Question {i}: what is {i} + {i + 1}?" for i in range(20)]
    llm = LLM(
        model="quire-demo",
        tensor_parallel_size=1,
        gpu_memory_utilization=0.85,
        max_model_len=512,
        trust_remote_code=True,
        dtype="bfloat16",
    )
    sampling_params = SamplingParams(temperature=0.7, top_p=0.9, top_k=40, max_tokens=32, seed=42, n=2)

    start_time = time.time()
    outputs = llm.generate(prompts, sampling_params)
    inference_time = time.time() - start_time

    results = []
    for output in outputs:
        results.append({
            "prompt": output.prompt,
            "generated": [completion.text for completion in output.outputs],
            "tokens": [len(completion.token_ids) for completion in output.outputs],
        })
    summary = {
        "total_samples": len(prompts),
        "inference_time_seconds": inference_time,
        "throughput_samples_per_sec": len(prompts) / inference_time,
        "results": results,
    }
    path = tmp_path / "inference_summary.json"
    with open(path, "w") as file:
        json.dump(summary, file, indent=2)

    written = json.loads(path.read_text())
    assert written["total_samples"] == 20
    assert written["throughput_samples_per_sec"] > 0 and written["inference_time_seconds"] > 0
    assert [row["prompt"] for row in written["results"]] == prompts
    assert all(len(row["generated"]) == 2 and row["generated"][0] for row in written["results"])
    again = llm.generate(prompts, sampling_params)
    assert [output.outputs for output in again] == [output.outputs for output in outputs]
    llm.shutdown()


def test_three_adapters_of_one_model(tmp_path):
    from quire import LLM, SamplingParams
    from quire.lora.request import LoRARequest

    paths = [write_adapter(tmp_path / f"adapter-{i}", seed=i) for i in range(3)]
    llm = LLM(
        model="quire-demo",
        enable_lora=True,
        max_loras=3,
        max_lora_rank=64,
        max_cpu_loras=6,
        max_model_len=512,
        gpu_memory_utilization=0.85,
    )
    adapters = [LoRARequest(f"adapter-{i}", i + 1, path) for i, path in enumerate(paths)]
    sampling_params = SamplingParams(temperature=0, max_tokens=24, ignore_eos=True)
    prompt = "Once upon a time"

    alone = [llm.generate(prompt, sampling_params, lora_request=one)[0] for one in [None, *adapters]]
    assert len({output.outputs[0].text for output in alone}) == 4
    assert [output.lora_request for output in alone] == [None, *adapters]
    together = llm.generate([prompt] * 8, sampling_params, lora_request=[None, *adapters] * 2)
    expected = [output.outputs for output in alone] * 2
    assert [output.outputs for output in together] == expected
    chat = llm.chat([{"role": "user", "content": "Hi"}], sampling_params, lora_request=adapters[0])
    assert chat[0].outputs[0].lora_request == adapters[0]
    llm.shutdown()


def test_adapters_that_cannot_be(tmp_path):
    import pytest

    from quire import LLM, LoRARequest

    path = write_adapter(tmp_path / "adapter", seed=1)
    with LLM(model="quire-demo", enable_lora=True, max_lora_rank=8, max_model_len=128) as llm:
        llm.generate("Once", lora_request=LoRARequest("a", 1, path))
        assert llm.generate("Once", lora_request=LoRARequest("a", 1))[0].finished
        with pytest.raises(ValueError, match="nowhere"):
            llm.generate("Once", lora_request=LoRARequest("b", 2, str(tmp_path / "nowhere")))
        with pytest.raises(ValueError, match="unknown"):
            llm.generate("Once", lora_request=LoRARequest("unknown", 3))
        config = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
        (tmp_path / "adapter/adapter_config.json").write_text(json.dumps({**config, "r": 3}))
        with pytest.raises(ValueError, match="rank|shape"):
            llm.generate("Once", lora_request=LoRARequest("c", 4, path))
