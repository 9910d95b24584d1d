"""What quire does to the process it is in: Ctrl-C, threads, exit, import."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from quire import LLM, AsyncLLM, EngineArgs, LLMEngine, SamplingParams


def run_python(code):
    return subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True,
                          timeout=120, check=False)


def test_ctrl_c_stops_generate_and_leaves_the_model_usable(llm, greedy):
    before = llm.generate("Once", greedy)[0].outputs
    long = SamplingParams(temperature=0, max_tokens=1000, ignore_eos=True)
    sent = []

    def interrupt():
        sent.append(time.monotonic())
        signal.raise_signal(signal.SIGINT)

    timer = threading.Timer(0.3, interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        llm.generate(["Once"] * 256, long)
    assert time.monotonic() - sent[0] < 2.0
    timer.join()
    assert llm.generate("Once", greedy)[0].outputs == before


def test_other_threads_run_meanwhile(llm):
    ticks = []
    stop = threading.Event()

    def tick():
        while not stop.wait(0.01):
            ticks.append(1)

    thread = threading.Thread(target=tick)
    thread.start()
    llm.generate(["Once"] * 32, SamplingParams(temperature=0, max_tokens=200, ignore_eos=True))
    stop.set()
    thread.join()
    assert len(ticks) >= 5


def test_threads_share_the_model(llm, greedy):
    expected = [output.outputs for output in llm.generate(["Once", "The sea"], greedy)]
    results = []

    def call():
        results.append([output.outputs for output in llm.generate(["Once", "The sea"], greedy)])

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 4


@pytest.mark.parametrize("make", [
    lambda: LLM(model="quire-demo", max_model_len=64),
    lambda: LLMEngine(EngineArgs(model="quire-demo", max_model_len=64)),
    lambda: AsyncLLM(model="quire-demo", max_model_len=64),
], ids=["LLM", "LLMEngine", "AsyncLLM"])
@pytest.mark.parametrize("end", ["shutdown", "collection"])
def test_nothing_is_left_of_a_model_that_has_ended(make, end):
    gc.collect()
    num_threads = len(os.listdir("/proc/self/task"))
    model = make()
    tokenizer = model.get_tokenizer()
    assert len(os.listdir("/proc/self/task")) > num_threads
    if end == "shutdown":
        model.shutdown()
        with pytest.raises(RuntimeError, match="shut down"):
            tokenizer.encode("Once")
    else:
        del model, tokenizer
        gc.collect()
    assert len(os.listdir("/proc/self/task")) == num_threads


def test_a_program_may_end_with_models_in_use():
    done = run_python("""
        import asyncio
        from quire import LLM, AsyncLLM, LLMEngine, EngineArgs, SamplingParams
        llm = LLM(model="quire-demo", max_model_len=512)
        engine = LLMEngine(EngineArgs(model="quire-demo", max_model_len=512))
        engine.add_request("a", "Once", SamplingParams(max_tokens=400, ignore_eos=True))
        async_llm = AsyncLLM(model="quire-demo", max_model_len=512)
        generator = async_llm.generate("Once", SamplingParams(max_tokens=400, ignore_eos=True))
        loop = asyncio.new_event_loop()
        loop.run_until_complete(generator.__anext__())
        print("end")
        """)
    assert (done.returncode, done.stdout) == (0, "end\n"), done.stderr
    assert "leaked" not in done.stderr and "Fatal" not in done.stderr


def test_import_is_light():
    code = """
        import sys, time
        start = time.process_time()
        import quire
        seconds = time.process_time() - start
        assert not {"torch", "numpy", "asyncio"} & set(sys.modules)
        print(seconds)
        """
    runs = [run_python(code) for _ in range(3)]
    assert all(run.returncode == 0 for run in runs), runs[0].stderr
    assert min(float(run.stdout) for run in runs) < 0.2
