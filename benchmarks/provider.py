"""Measure the client against the rehearsal provider: quota used, refusals, faults survived, time to give up.

Run it as ``python -m benchmarks.provider``; it prints one Markdown table. ``--seconds`` sets how long each quota is driven.
"""

import argparse
import json
import multiprocessing
import subprocess
import sys
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from pipeline.rehearsal import rehearsal_vectors
from transforms.clients.base import Answer, Refusal
from transforms.clients.http import EndpointSettings
from transforms.clients.open_client import close_clients, open_client
from transforms.core.pacing import Quota
from transforms.core.requests import RequestLimits
from transforms.errors import FatalError

LATENCY = ("--latency-ms", "200", "--latency-jitter-ms", "100")


@contextmanager
def provider(*options: str) -> Iterator[str]:
    """Serve a rehearsal provider in a process of its own; yields its base URL."""
    command = [sys.executable, "-m", "pipeline", "rehearse", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def ask(base_url: str, path: str, body: dict[str, object] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(f"{base_url.removesuffix('/v1')}/rehearsal/{path}", data) as response:
        answer: dict[str, Any] = json.load(response)
        return answer


@dataclass
class Drive:
    """Keep a client busy with texts of one shape and check every vector that comes back."""

    base_url: str
    quota: Quota
    inputs: int = 1
    words: int = 2
    dimensions: int = 64
    run_id: str = field(default_factory=lambda: f"bench-{time.monotonic_ns()}")
    model: str = "text-embedding-3-small"
    texts_seen: int = 0
    wrong: int = 0
    refused: list[Refusal] = field(default_factory=list)
    failed: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, *, seconds: float | None = None, texts: list[str] | None = None, name: str = "") -> None:
        settings = EndpointSettings(
            base_url=self.base_url, model=self.model, dimensions=self.dimensions, api_key_env="", profile="openai"
        )
        limits = RequestLimits(max_inputs=self.inputs)
        client = open_client(settings, self.quota, limits, run_id=self.run_id, lanes=1)
        end = time.monotonic() + (seconds or 1e9)
        source = (
            iter(texts)
            if texts is not None
            else (f"{name} {number} " + "word " * self.words for number in range(10**9))
        )
        waiting: deque[Future[tuple[Refusal, ...]]] = deque()
        try:
            while time.monotonic() < end:
                size = min(self.inputs, client.request_limits().max_inputs)
                batch = list(islice(source, size))
                if not batch:
                    break
                waiting.append(client.submit(batch, [max(1, len(text) // 4) for text in batch], self.keeper(batch)))
                if len(waiting) >= 3 * self.quota.concurrent_requests:
                    self.refused += waiting.popleft().result()
            if texts is None:
                client.stop("measured long enough")
            for future in waiting:
                self.refused += future.result()
        except FatalError as error:
            self.failed = str(error)
        self.limited_by, self.usage = client.limited_by(), client.usage()
        close_clients(self.run_id, 30)

    def keeper(self, batch: list[str]) -> Any:
        def keep(answer: Answer) -> None:
            expected = rehearsal_vectors([batch[position] for position in answer.positions], self.dimensions)
            wrong = int((~np.isclose(answer.vectors, expected, atol=1e-7).all(axis=1)).sum())
            with self.lock:
                self.wrong += wrong
                self.texts_seen += len(answer.positions)

        return keep


def used(statistics: dict[str, Any], per_minute: float, start: int, end: int, key: str = "accepted_by_second") -> float:
    return sum(amount for second, amount in statistics[key].items() if start <= int(second) < end) / (
        per_minute / 60 * (end - start)
    )


def refused_share(statistics: dict[str, Any], start: int = 0, end: int = 10**9) -> float:
    refused = sum(amount for second, amount in statistics["throttled_by_second"].items() if start <= int(second) < end)
    good = sum(amount for second, amount in statistics["accepted_by_second"].items() if start <= int(second) < end)
    return refused / max(1, refused + good)


def row(name: str, wanted: str, got: str) -> None:
    print(f"| {name} | {wanted} | {got} |", flush=True)


def stated_quota(seconds: int, limiter: str) -> None:
    with provider("--requests-per-minute", "1200", "--limiter", limiter, *LATENCY) as base_url:
        drive = Drive(base_url, Quota(1200, None, 16))
        drive.run(seconds=seconds)
        statistics = ask(base_url, "statistics")
    share = used(statistics, 1200, 5, seconds - 2)
    row(
        f"1,200 RPM stated, {limiter}",
        "≥ 97 % / ≤ 0.1 %",
        f"{share:.1%} / {refused_share(statistics):.2%}, limited by {drive.limited_by}",
    )


def stated_tokens(seconds: int) -> None:
    with provider("--tokens-per-minute", "600000", "--limiter", "sliding-window", *LATENCY) as base_url:
        drive = Drive(base_url, Quota(None, 600_000, 16), inputs=128, words=200)
        drive.run(seconds=seconds)
        statistics = ask(base_url, "statistics")
    share = used(statistics, 600_000, 5, seconds - 2, "tokens_by_second")
    row(
        "600 k TPM stated, sliding-window",
        "≥ 97 % / ≤ 0.1 %",
        f"{share:.1%} / {refused_share(statistics):.2%}, limited by {drive.limited_by}",
    )


def unknown_quota(seconds: int, limiter: str) -> None:
    """Blind: no headers either. A token bucket gives away a stored minute, which is taken off."""
    with provider("--requests-per-minute", "1200", "--limiter", limiter, "--no-announce-limits", *LATENCY) as base_url:
        drive = Drive(base_url, Quota(None, None, 16))
        drive.run(seconds=seconds)
        statistics = ask(base_url, "statistics")
    stored = 1200 if limiter == "token-bucket" else 0
    accepted = sum(statistics["accepted_by_second"].values()) - stored
    share = accepted / (1200 / 60 * seconds)
    # Whole minutes only: servers with windows let requests through in lumps of a minute.
    later = used(statistics, 1200, 120, 120 + 60 * ((seconds - 120) // 60))
    text = f"{share:.1%} / {refused_share(statistics):.2%} from the start; "
    text += f"from minute 2 on {later:.1%} / {refused_share(statistics, 120):.2%}"
    row(f"1,200 RPM not stated, no headers, {limiter}, {seconds} s", "≥ 85 % / ≤ 3 %", text)


def halved(seconds: int, limiter: str) -> None:
    with provider("--requests-per-minute", "1200", "--limiter", limiter, *LATENCY) as base_url:
        drive = Drive(base_url, Quota(1200, None, 16))
        thread = threading.Thread(target=lambda: drive.run(seconds=seconds + 150))
        thread.start()
        time.sleep(seconds)
        ask(base_url, "settings", {"requests_per_minute": 600})
        thread.join()
        statistics = ask(base_url, "statistics")
    begin = seconds + 75
    share = used(statistics, 600, begin, seconds + 148)
    row(
        f"halved in the middle, headers, {limiter}",
        "≥ 95 % / ≤ 0.1 % a minute later",
        f"{share:.1%} / {refused_share(statistics, begin):.2%}",
    )


def _one_of_four(base_url: str, run_id: str, number: int, seconds: float) -> None:
    Drive(base_url, Quota(1200, None, 16), run_id=run_id).run(seconds=seconds, name=f"process {number}")


def four_processes(seconds: int) -> None:
    run_id = f"bench-four-{time.monotonic_ns()}"
    spawn = multiprocessing.get_context("spawn")
    with provider("--requests-per-minute", "1200", "--limiter", "sliding-window", *LATENCY) as base_url:
        workers = [spawn.Process(target=_one_of_four, args=(base_url, run_id, number, seconds)) for number in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        statistics = ask(base_url, "statistics")
    share = used(statistics, 1200, 5, seconds - 3)
    row(
        "four processes on 1,200 RPM, sliding-window",
        "≥ 97 % / ≤ 0.1 %",
        f"{share:.1%} / {refused_share(statistics):.2%}, at most {statistics['peak_in_flight']} in flight",
    )


def no_limit(seconds: int) -> None:
    with provider("--latency-ms", "200") as base_url:
        drive = Drive(base_url, Quota(None, None, 16), inputs=32, words=40, dimensions=1536)
        drive.run(seconds=seconds)
        statistics = ask(base_url, "statistics")
    ideal = 16 / 0.2
    rate = sum(statistics["accepted_by_second"].values()) / statistics["seconds"]
    row(
        "no limit, 200 ms × 16 in flight, 32 × 1,536",
        "≥ 0.9 of ideal",
        f"{rate / ideal:.2f}, limited by {drive.limited_by}",
    )


def storm(count: int) -> None:
    kinds = ("drop", "500", "502-html", "truncated", "short-answer", "nan", "reorder", "429")
    faults = [option for kind in kinds for option in ("--fault", f"{kind}=0.05")]
    with provider(*faults) as base_url:
        drive = Drive(base_url, Quota(None, None, 16), inputs=128)
        began = time.monotonic()
        drive.run(texts=[f"text number {number} of the storm" for number in range(count)])
        seconds = time.monotonic() - began
    lost = count - drive.texts_seen
    text = f"{drive.wrong} wrong, {lost} lost, {len(drive.refused)} refused, {seconds:.1f} s, "
    text += f"{drive.usage.requests} requests {drive.failed}"
    row(f"storm of 8 faults at 5 % each, {count:,} texts", "0 wrong, 0 lost", text)


def refusals() -> None:
    cases = {
        "wrong key": ("--api-key", "right"),
        "wrong model": ("--model", "another"),
        "wrong model (503)": ("--model", "another", "--body-style", "cometapi"),
        "empty balance (429)": ("--no-balance",),
        "empty balance (403)": ("--no-balance", "--body-style", "cometapi"),
        "wrong path (404)": (),
        "wrong path (HTML)": ("--body-style", "cometapi"),
    }
    for name, options in cases.items():
        with provider(*options) as base_url:
            wrong = base_url.removesuffix("/v1") + "/wrong" if "path" in name else base_url
            drive = Drive(wrong, Quota(None, None, 16), inputs=8)
            began = time.monotonic()
            drive.run(texts=[f"text {number}" for number in range(1000)])
            seconds = time.monotonic() - began
            requests = ask(base_url, "statistics")["requests"]
        row(name, "≤ 3 s, < 20 requests", f"{seconds:.2f} s, {requests} requests: {drive.failed}")


def poison() -> None:
    texts = [f"text {number}" for number in range(1000)]
    bad = set(range(37, 1000, 100))
    for position in bad:
        texts[position] += " poison"
    for status in (400, 500):
        with provider("--poison", f"poison={status}") as base_url:
            drive = Drive(base_url, Quota(None, None, 8), inputs=128)
            drive.run(texts=texts)
            statistics = ask(base_url, "statistics")
        extra = (statistics["requests"] - 2 - 8) / 10
        text = f"{len(drive.refused)} refused, {1000 - 10 - drive.texts_seen} lost, {extra:.1f} extra requests each"
        row(f"ten poisoned texts in 1,000, status {status}", "exactly they, ≤ 10 each", text)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=70)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    seconds = arguments.seconds
    print("| what | wanted | measured |\n|---|---|---|")
    measurements: dict[str, Any] = {
        "stated": lambda: [stated_quota(seconds, limiter) for limiter in ("token-bucket", "sliding-window", "fixed-window")],
        "tokens": lambda: stated_tokens(seconds),
        "four": lambda: four_processes(seconds),
        "ideal": lambda: no_limit(30),
        "storm": lambda: storm(100_000),
        "refusals": refusals,
        "poison": poison,
        "unknown-bucket": lambda: unknown_quota(5 * seconds, "token-bucket"),
        "unknown-sliding": lambda: unknown_quota(5 * seconds, "sliding-window"),
        "unknown-fixed": lambda: unknown_quota(5 * seconds, "fixed-window"),
        "halved": lambda: [halved(seconds, limiter) for limiter in ("token-bucket", "sliding-window")],
    }  # fmt: skip
    for name, measure in measurements.items():
        if not arguments.only or name in arguments.only.split(","):
            measure()


if __name__ == "__main__":
    main()
