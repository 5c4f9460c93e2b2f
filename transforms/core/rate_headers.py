"""What an answer's headers and error text say about rate limits: limits, what is left, and how long to wait."""

import math
import re
from collections.abc import Mapping
from datetime import timezone
from email.utils import parsedate_to_datetime
from typing import Final

from transforms.core.pacing import Announced

_UNIT_SECONDS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 1e-6, "µs": 1e-6}
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)(ms|us|µs|h|m|s))")
_TRY_AGAIN = re.compile(
    r"(?:try again|retry) (?:in|after) (\d[\d.hmsuµ]*)(?:\s*(milliseconds|seconds|second|minutes|minute))?", re.I
)
_WORDS: Final = {"milliseconds": 0.001, "seconds": 1.0, "second": 1.0, "minutes": 60.0, "minute": 60.0}
_YEAR_SECONDS: Final = 366 * 86_400
_RATE_LIMIT_T = re.compile(r"(?:^|[;,\s])t=(\d+)")


def read_announced(headers: Mapping[str, str]) -> Announced:
    """Read ``x-ratelimit-*``; values that are no positive number count as not given (Azure sends 0 and -1).

    Args:
        headers: names in lower case.
    """
    return Announced(
        _number(headers.get("x-ratelimit-limit-requests"), 0.0),
        _number(headers.get("x-ratelimit-remaining-requests"), -1.0),
        _number(headers.get("x-ratelimit-limit-tokens"), 0.0),
        _number(headers.get("x-ratelimit-remaining-tokens"), -1.0),
    )


def read_wait(headers: Mapping[str, str], message: str, max_seconds: float) -> float | None:
    """Find how long the server asks us to wait, in whichever form it says so.

    Precedence: ``retry-after-ms``, ``Retry-After`` in seconds (a fraction is tolerated) or as a date, less the answer's own
    ``Date`` so that no local clock matters; then the reset of the resource that is used up; then ``RateLimit``; then the
    text. Zero, negative and unreadable values count as not given.

    Returns:
        Seconds above 0, which may lie above ``max_seconds``; a value above a year is taken for a timestamp and ignored.
        None when nothing was said.

    Source: RFC 9110 section 10.2.3; draft-ietf-httpapi-ratelimit-headers-11; OpenAI's and Azure's rate limit guides.
    """
    said = (
        _number(headers.get("retry-after-ms"), 0.0) / 1000,
        _retry_after(headers),
        _reset_of_exhausted(headers, max_seconds),
        _rate_limit(headers.get("ratelimit", "")),
        _from_text(message),
    )
    return next((seconds for seconds in said if 0 < seconds < _YEAR_SECONDS), None)


def read_duration(text: str) -> float:
    """Read a duration such as ``6m0s``, ``12ms``, ``1h2m3.5s`` or a bare number of seconds; 0.0 when it is none."""
    text = text.strip()
    if _DURATION.sub("", text) == "" and text:
        return sum(float(amount) * _UNIT_SECONDS[unit] for amount, unit in _DURATION.findall(text))
    return max(0.0, _number(text, 0.0))


def _number(text: str | None, otherwise: float) -> float:
    try:
        value = float(text) if text is not None else otherwise
    except ValueError:
        return otherwise
    return value if math.isfinite(value) else otherwise


def _retry_after(headers: Mapping[str, str]) -> float:
    text = headers.get("retry-after", "")
    seconds = _number(text or None, math.nan)
    if not math.isnan(seconds):
        return seconds
    try:
        until, sent = parsedate_to_datetime(text), parsedate_to_datetime(headers.get("date", ""))
        return (until.replace(tzinfo=timezone.utc) - sent.replace(tzinfo=timezone.utc)).total_seconds()
    except (ValueError, TypeError):
        return 0.0


def _reset_of_exhausted(headers: Mapping[str, str], max_seconds: float) -> float:
    """Take the longest reset of what is used up; a reset beyond what we would wait means "full again" and is cut."""
    waits = [
        read_duration(headers.get(f"x-ratelimit-reset-{name}", ""))
        for name in ("requests", "tokens")
        if _number(headers.get(f"x-ratelimit-remaining-{name}"), -1.0) == 0
    ]
    return min(max(waits, default=0.0), max_seconds)


def _rate_limit(text: str) -> float:
    found = _RATE_LIMIT_T.search(text)
    return float(found.group(1)) if found else 0.0


def _from_text(message: str) -> float:
    found = _TRY_AGAIN.search(message)
    if not found:
        return 0.0
    amount, word = found.groups()
    return read_duration(amount.rstrip(".")) * _WORDS[word.lower() if word else "seconds"]
