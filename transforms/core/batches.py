"""How a corpus is guessed from its listing, and how much of it is packed into one batch of the shuffle."""

BYTES_PER_TOKEN = 4
"""Of English prose in cl100k, within 0.1 % over 24 MB; estimates rows only, so other languages get larger parts."""

_TEXT_BYTES = 8_000_000
"""Text held before it is packed: large batches compress well, small ones bound memory."""
_TEXT_BYTES_PER_BUCKET = 16_000
"""With many buckets a batch grows, so that each bucket's share of it stays worth its header of 2 kB ..."""
_TEXT_BYTES_AT_MOST = 64_000_000
"""... up to this."""


def estimated_rows(listed_bytes: int, tokens_per_chunk: int) -> int:
    """Guess how many chunks documents of so many bytes give, when a full chunk brings so many new tokens."""
    return -(-listed_bytes // (tokens_per_chunk * BYTES_PER_TOKEN))


def text_in_batch(bits: int) -> int:
    """Return how much text, in bytes, is packed at once when ``bits`` bits name a bucket; each bucket gets its share of it."""
    return min(_TEXT_BYTES_AT_MOST, max(_TEXT_BYTES, _TEXT_BYTES_PER_BUCKET << bits))
