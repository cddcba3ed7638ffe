"""`bedside serve` beside llama.cpp's own server: the same file, slots, threads and questions, taking turns in one run.

    python benchmarks/serve.py [--rounds 5] [--tokens 64] [--threads 2] [--requests 2000]

Both servers run throughout, each in a process of its own, and one at a time is asked; who is first changes with each
round. A round asks each with 1, 4 and 16 clients at once, each with a question of its own, and takes the stream apart:
milliseconds until the first text, and tokens a second of all clients together. Figures are medians over the rounds,
with the lowest and highest ratio of a round. Bedside runs as it comes, audit log included; only its pace of requests a
minute is lifted. Then `--requests` short questions are asked of each, four at a time, and its resident memory is
compared with that after the first tenth.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import httpx

from bedside.models.locate import embedded_gguf

CLIENTS = (1, 4, 16)
SLOTS = max(CLIENTS)
CONTEXT = 1024
PATIENCE_S = 600
MEMORY_CLIENTS = 4
MEMORY_TOKENS = 8


@dataclass(frozen=True)
class Server:
    name: str
    url: str
    process: int

    @property
    def resident_mib(self) -> float:
        status = Path(f"/proc/{self.process}/status").read_text(encoding="ascii")
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


@dataclass(frozen=True)
class Measured:
    first_ms: float
    tokens_per_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, help="a GGUF file; default: the embedded one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64, help="of each answer")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--requests", type=int, default=2000, help="for memory; 0 leaves it out")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    model = arguments.model or embedded_gguf()
    if arguments.worker:
        llama_cpp(model, arguments.threads)
        return
    with ExitStack() as stack:
        ours = stack.enter_context(bedside(model, arguments.threads))
        theirs = stack.enter_context(started("llama.cpp", [__file__, "--worker", "--model", str(model),
                                                           "--threads", str(arguments.threads)]))  # fmt: skip
        print(f"{model.name}, {SLOTS} slots, {arguments.threads} threads, {arguments.rounds} rounds of"
              f" {arguments.tokens} tokens\n")  # fmt: skip
        speed(ours, theirs, arguments.rounds, arguments.tokens)
        if arguments.requests:
            memory(ours, theirs, arguments.requests)


def speed(ours: Server, theirs: Server, rounds: int, tokens: int) -> None:
    print(
        "| clients | first text, ms: Bedside | llama.cpp | more | tokens/s: Bedside | llama.cpp | ratio | from | to |"
    )
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for server in (ours, theirs):
        asyncio.run(asked(server, SLOTS, tokens, "warm-up"))
    for clients in CLIENTS:
        seen: dict[str, list[Measured]] = {ours.name: [], theirs.name: []}
        for number in range(rounds):
            for server in (ours, theirs) if number % 2 else (theirs, ours):
                seen[server.name].append(asyncio.run(asked(server, clients, tokens, f"{clients}.{number}")))
        print(line(clients, seen[ours.name], seen[theirs.name]), flush=True)


def line(clients: int, ours: list[Measured], theirs: list[Measured]) -> str:
    first = [median(one.first_ms for one in side) for side in (ours, theirs)]
    more = median(a.first_ms - b.first_ms for a, b in zip(ours, theirs, strict=True))
    rate = [median(one.tokens_per_s for one in side) for side in (ours, theirs)]
    ratios = [a.tokens_per_s / b.tokens_per_s for a, b in zip(ours, theirs, strict=True)]
    return (
        f"| {clients} | {first[0]:.1f} | {first[1]:.1f} | {more:+.1f} | {rate[0]:.1f} | {rate[1]:.1f} |"
        f" {median(ratios):.3f} | {min(ratios):.3f} | {max(ratios):.3f} |"
    )


def memory(ours: Server, theirs: Server, requests: int) -> None:
    """Resident memory grows by what is kept of each request, and by what the allocator has not given back."""
    warm_up = requests // 10
    print(f"\n| server | MiB after {warm_up} requests | after {requests} | growth | highest |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for server in (ours, theirs):
        seen = [server.resident_mib]
        for number in range(10):
            asyncio.run(many(server, warm_up, number))
            seen.append(server.resident_mib)
        print(
            f"| {server.name} | {seen[1]:.1f} | {seen[-1]:.1f} | {100 * (seen[-1] / seen[1] - 1):+.2f} % |"
            f" {max(seen):.1f} |",
            flush=True,
        )


async def asked(server: Server, clients: int, tokens: int, salt: str) -> Measured:
    """One question of each client, all at once."""
    async with connected(server) as client:
        began = time.perf_counter()
        each = await asyncio.gather(*[streamed(client, f"{salt}.{n}", tokens) for n in range(clients)])
        taken_s = time.perf_counter() - began
    return Measured(median(first for first, _ in each) * 1000, sum(count for _, count in each) / taken_s)


def connected(server: Server) -> httpx.AsyncClient:
    """A connection for each question: llama.cpp's server hangs up on one that was used for some time."""
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.AsyncClient(base_url=server.url, timeout=PATIENCE_S, trust_env=False, limits=limits)


async def streamed(client: httpx.AsyncClient, salt: str, tokens: int) -> tuple[float, int]:
    """Seconds until the first text, and the tokens that the server counted."""
    body = {
        "messages": [{"role": "user", "content": f"Case {salt}: count from one to two hundred in words, slowly."}],
        "max_tokens": tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    first, counted, began = 0.0, 0, time.perf_counter()
    async with client.stream("POST", "v1/chat/completions", json=body) as response:
        assert response.status_code == 200, await response.aread()
        async for text in response.aiter_lines():
            if not text.startswith("data: {"):
                continue
            if not first and is_said(text):
                first = time.perf_counter() - began
            if '"completion_tokens"' in text:
                counted = json.loads(text[6:])["usage"]["completion_tokens"]
    assert counted, "no tokens were counted"
    return first, counted


def is_said(text: str) -> bool:
    """Whether an event holds text; llama.cpp's first one only says who speaks."""
    delta = json.loads(text[6:])["choices"][0]["delta"]
    return bool(delta.get("content") or delta.get("reasoning_content"))


async def many(server: Server, requests: int, number: int) -> None:
    seats = asyncio.Semaphore(MEMORY_CLIENTS)
    async with connected(server) as client:

        async def one(salt: str) -> None:
            async with seats:
                await streamed(client, salt, MEMORY_TOKENS)

        await asyncio.gather(*[one(f"{number}.{n}") for n in range(requests)])


@contextmanager
def bedside(model: Path, threads: int) -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as home:
        command = ["-m", "bedside", "serve", str(model), "serve.requests_per_minute=0", f"serve.audit={home}/audit",
                   f"serve.keys={home}/keys", f"serve.feedback={home}/feedback", "--port", "0", "--slots", str(SLOTS),
                   "--context", str(CONTEXT), "--threads", str(threads)]  # fmt: skip
        with started("Bedside", command) as server:
            yield server


@contextmanager
def started(name: str, command: list[str]) -> Iterator[Server]:
    """A server in a process of its own, once it has told its address on stderr."""
    with subprocess.Popen([sys.executable, *command], stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr
            lines: list[str] = []
            for told in process.stderr:
                lines.append(told)
                url = next((word for word in told.split() if word.startswith("http://")), None)
                if url:
                    yield Server(name, url, process.pid)
                    return
            sys.exit(f"{name} did not start:\n{''.join(lines)}")
        finally:
            process.kill()


def llama_cpp(model: Path, threads: int) -> None:
    """llama.cpp's own HTTP server, set as Bedside sets it."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.n_ctx = CONTEXT * SLOTS
    parameters.n_parallel = SLOTS
    parameters.cache_ram_mib = 0
    parameters.cache_idle_slots = False
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    parameters.model.path = str(model)
    parameters.verbosity = -1
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    server = xllamacpp.Server(parameters)
    print(server.listening_address, file=sys.stderr, flush=True)
    time.sleep(24 * 3600)


if __name__ == "__main__":
    main()
