"""``embedbeam rehearse``: serve a provider on loopback to try limits and failures on before paying anybody."""

import argparse
import asyncio
import signal
import socket
from collections.abc import Callable
from typing import TextIO

from aiohttp import web

from pipeline.rehearsal import BODY_STYLES, FAULTS, LIMITERS, RehearsalProvider, RehearsalSettings
from transforms.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--requests-per-minute", type=int, metavar="N", help="quota of requests; none by default")
    parser.add_argument("--tokens-per-minute", type=int, metavar="N", help="quota of tokens; none by default")
    parser.add_argument("--limiter", choices=LIMITERS, default="token-bucket", help="how the quota is measured")
    parser.add_argument(
        "--announce-limits", action=argparse.BooleanOptionalAction, default=True, help="send x-ratelimit headers"
    )
    parser.add_argument("--latency-ms", type=float, default=0.0, metavar="MS", help="mean time to an answer")
    parser.add_argument("--latency-jitter-ms", type=float, default=0.0, metavar="MS", help="evenly around the mean")
    parser.add_argument("--dimensions", type=int, default=1536, metavar="D", help="length of a vector")
    parser.add_argument("--model", default="", help="the only model served; any by default")
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="KIND=RATE",
        help=f"share of requests that fail: {', '.join(FAULTS)}",
    )
    parser.add_argument(
        "--poison", action="append", default=[], metavar="TEXT=STATUS", help="refuse requests that contain this text"
    )
    parser.add_argument("--body-style", choices=BODY_STYLES, default="openai", help="whose error bodies to send")
    parser.add_argument("--api-key", default="", metavar="KEY", help="the key to require; none by default")
    parser.add_argument("--no-balance", action="store_true", help="answer as an account without credit")
    parser.add_argument("--max-inputs", type=int, default=2048, metavar="N", help="texts in one request")
    parser.add_argument(
        "--max-tokens-per-input", type=int, metavar="N", help="refuse longer texts; no limit by default"
    )
    parser.add_argument("--no-base64", action="store_true", help="always answer floats")
    parser.add_argument("--price", type=float, default=0.02, metavar="USD", help="per million tokens, in the catalog")
    parser.add_argument(
        "--exact-tokens", action="store_true", help="count with the model's tokenizer instead of a quarter of the bytes"
    )
    parser.add_argument("--seed", type=int, default=0, help="of latencies and faults")


def run(arguments: argparse.Namespace, out: TextIO) -> int:
    """Serve until interrupted; the one line on stdout is the base URL, printed when requests can come.

    Raises:
        ConfigError: an option has a value that is not allowed, or the port is taken.
    """
    try:
        settings = _settings(arguments)
    except ValueError as error:
        raise ConfigError(f"rehearse: {error}") from error
    provider = RehearsalProvider(settings, _token_counter(settings))
    try:
        listener = socket.create_server(("127.0.0.1", arguments.port), backlog=512)
    except OSError as error:
        raise ConfigError(
            f"rehearse: cannot listen on port {arguments.port}: {error.strerror}; use --port 0"
        ) from error
    asyncio.run(_serve(provider, listener, out))
    return 0


def _settings(arguments: argparse.Namespace) -> RehearsalSettings:
    return RehearsalSettings(
        requests_per_minute=arguments.requests_per_minute,
        tokens_per_minute=arguments.tokens_per_minute,
        limiter=arguments.limiter,
        announce_limits=arguments.announce_limits,
        latency_ms=arguments.latency_ms,
        latency_jitter_ms=arguments.latency_jitter_ms,
        dimensions=arguments.dimensions,
        model=arguments.model,
        faults={kind: float(rate) for kind, rate in map(_pair, arguments.fault)},
        poison={piece: int(status) for piece, status in map(_pair, arguments.poison)},
        body_style=arguments.body_style,
        api_key=arguments.api_key,
        balance=not arguments.no_balance,
        max_inputs=arguments.max_inputs,
        max_tokens_per_input=arguments.max_tokens_per_input,
        base64=not arguments.no_base64,
        price=arguments.price,
        exact_tokens=arguments.exact_tokens,
        seed=arguments.seed,
    )


def _pair(option: str) -> tuple[str, str]:
    name, separator, value = option.rpartition("=")
    if not separator or not name:
        raise ValueError(f"expected NAME=VALUE, got {option!r}")
    return name, value


def _token_counter(settings: RehearsalSettings) -> Callable[[str], int] | None:
    if not settings.exact_tokens:
        return None
    from transforms.core.tokens import tokenizer_for_model

    tokenizer = tokenizer_for_model(settings.model or "text-embedding-3-small")
    count: Callable[[str], int] = tokenizer.count
    return count


async def _serve(provider: RehearsalProvider, listener: socket.socket, out: TextIO) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    runner = web.AppRunner(provider.application(), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    await web.SockSite(runner, listener, shutdown_timeout=0.5).start()
    out.write(f"http://127.0.0.1:{listener.getsockname()[1]}/v1\n")
    out.flush()
    await stopped.wait()
    await runner.cleanup()
