"""Trains quire-demo for a given time and writes a Hugging Face checkpoint folder.

Phase 1 learns all tokens, mostly of books; phase 2 learns mostly dialogues, and there only the
assistant's tokens.  The learning rate is constant after a warm-up and falls linearly to zero at the end.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn.attention.flex_attention import create_block_mask

from model import Config, Llama, hugging_face_config
from muon import Muon

PHASE_2_START = 0.55  # share of the time
BOOK_SHARE = (0.6, 0.22)  # of the rows, in phase 1 and 2
DECAY_START = 0.5
MUON_RATE, ADAM_RATE = 0.02, 0.004
REFINE_FACTOR = 0.3  # of the rates, when refining a checkpoint


class Rows:
    """Rows of one source on the GPU, handed out in random order, epoch after epoch."""

    def __init__(self, path, generator):
        data = np.load(path)
        self.tokens = torch.from_numpy(data["tokens"].astype(np.int16)).cuda()
        self.documents = torch.from_numpy(data["documents"].astype(np.int16)).cuda()
        self.answers = torch.from_numpy(data["answers"]).cuda()
        self.generator, self.order, self.next, self.epoch = generator, None, 0, -1

    def take(self, count):
        if self.order is None or self.next + count > len(self.order):
            self.order = torch.randperm(len(self.tokens), generator=self.generator).cuda()
            self.next, self.epoch = 0, self.epoch + 1
        index = self.order[self.next : self.next + count]
        self.next += count
        return index


def batch(sources, counts, answers_only):
    """tokens, targets (-100 where nothing is learnt) and documents, all [rows, 2048]."""
    parts = [[], [], []]
    for source, count in zip(sources, counts):
        index = source.take(count)
        for part, column in zip(parts, (source.tokens, source.documents, source.answers)):
            part.append(column[index])
    tokens, documents, answers = (torch.cat(part) for part in parts)
    tokens = tokens.long()
    targets = torch.full_like(tokens, -100)
    keep = documents[:, 1:] == documents[:, :-1]
    if answers_only:
        keep = keep & answers[:, 1:]
    targets[:, :-1] = torch.where(keep, tokens[:, 1:], -100)
    return tokens, targets, documents


def document_mask(documents):
    def same_document(b, h, q, k):
        return (q >= k) & (documents[b, q] == documents[b, k])

    rows, length = documents.shape
    return create_block_mask(same_document, rows, None, length, length, device="cuda", _compile=True)


def save_checkpoint(model, config, folder):
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"model.{name}": p.detach().to(torch.bfloat16).contiguous() for name, p in model.named_parameters()}
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    (folder / "config.json").write_text(hugging_face_config(config))
    generation = {"bos_token_id": None, "eos_token_id": [2, 0], "pad_token_id": 0, "do_sample": True, "temperature": 0.6, "top_p": 0.9}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n")


def learning_rate_factor(progress, refining):
    if refining:
        return REFINE_FACTOR * min(progress / 0.05, 1.0 - progress)
    if progress < 0.01:
        return progress / 0.01
    return min(1.0, (1.0 - progress) / (1.0 - DECAY_START))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--seconds", type=float, default=420)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="checkpoint folder to refine in phase 2, at lower rates")
    parser.add_argument("--eval-every", type=int, default=500)
    args = parser.parse_args()

    torch.manual_seed(1)
    torch.set_float32_matmul_precision("high")
    generator = torch.Generator().manual_seed(1)
    sources = [Rows(args.data / f"{name}.npz", generator) for name in ("books", "dialogues")]
    held_out = [Rows(args.data / f"{name}_validation.npz", generator) for name in ("books", "dialogues")]
    config = Config()
    model = Llama(config).cuda()
    if args.start:
        stored = load_file(str(args.start / "model.safetensors"))
        model.load_state_dict({name.removeprefix("model."): tensor.float() for name, tensor in stored.items()})
    hidden = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.dim() != 2 or "embed" in n]
    muon, adam = Muon(hidden), torch.optim.AdamW(others, lr=ADAM_RATE, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    compiled = torch.compile(model)
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{parameters / 1e6:.2f} M parameters", flush=True)
    log = args.log.open("w")

    def run(rows, counts, answers_only):
        tokens, targets, documents = batch(rows, counts, answers_only)
        with torch.autocast("cuda", torch.bfloat16):
            return compiled(tokens, targets, document_mask(documents))

    book_rows = len(held_out[0].tokens)

    def validate():
        """Mean loss per target on held-out books (all tokens) and dialogues (answers)."""
        for source in held_out:
            source.order, source.next = torch.arange(len(source.tokens)).cuda(), 0
        part = min(book_rows, args.rows // 2)
        losses, counts = run(held_out, (part, args.rows - part), True)
        split = lambda x: (x[:part].sum().item(), x[part:].sum().item())
        (a, b), (m, n) = split(losses.detach()), split(counts)
        return a / m, b / n

    validate()  # compiles
    torch.cuda.synchronize()
    started, step, progress, running = time.time(), 0, 0.0, []
    while progress < 1.0:
        phase = int(args.start is not None or progress >= PHASE_2_START)
        from_books = round(args.rows * BOOK_SHARE[phase])
        losses, counts = run(sources, (from_books, args.rows - from_books), phase == 1)
        loss = losses.sum() / counts.sum()
        loss.backward()
        factor = learning_rate_factor(progress, args.start is not None)
        adam.param_groups[0]["lr"] = ADAM_RATE * factor
        adam.step()
        muon.step(MUON_RATE * factor)
        model.zero_grad(set_to_none=True)
        running.append(loss.detach())
        step += 1
        if step % 20 == 0:
            torch.cuda.synchronize()
            progress = (time.time() - started) / args.seconds
        if step % args.eval_every == 0 or progress >= 1.0:
            books, dialogues = validate()
            elapsed = time.time() - started
            entry = {
                "step": step, "tokens": step * args.rows * 2048, "seconds": round(elapsed, 1), "phase": phase + 1,
                "train_loss": round(torch.stack(running).mean().item(), 4), "books_validation": round(books, 4),
                "dialogues_validation": round(dialogues, 4), "tokens_per_second": round(step * args.rows * 2048 / elapsed),
                "epochs": [source.epoch + 1 for source in sources],
            }
            running = []
            print(json.dumps(entry), flush=True)
            log.write(json.dumps(entry) + "\n")
            log.flush()
            save_checkpoint(model, config, args.output)
    print(f"peak memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB, {parameters} parameters", flush=True)


if __name__ == "__main__":
    main()
