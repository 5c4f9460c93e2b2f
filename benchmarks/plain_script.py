"""The script one writes in an afternoon: read, cut, count tokens, embed over a few threads, write one Parquet file.

No dedupe, no journal, no resume, no retries, no bill: what the pipeline is measured against. It is made as fast as such a
script can be: one session, base64, orjson, tiktoken's own count, answers written while others are on their way.
"""

import argparse
import base64
import json
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import requests
import tiktoken

CHUNK_CHARS = 1000
ROWS_PER_ROW_GROUP = 8192

Rows = list[tuple[str, str, int]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("base_url")
    parser.add_argument("output", type=Path)
    parser.add_argument("--dimensions", type=int, required=True)
    parser.add_argument("--inputs", type=int, required=True)
    parser.add_argument("--in-flight", type=int, required=True)
    given = parser.parse_args()
    session = requests.Session()
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=given.in_flight))

    def embed(rows: Rows) -> np.ndarray:
        body = {
            "model": "text-embedding-3-small",
            "input": [text for _, text, _ in rows],
            "encoding_format": "base64",
            "dimensions": given.dimensions,
        }
        headers = {"Content-Type": "application/json"}
        answer = session.post(f"{given.base_url}/embeddings", data=orjson.dumps(body), headers=headers, timeout=60)
        answer.raise_for_status()
        data = orjson.loads(answer.content)["data"]
        return np.stack([np.frombuffer(base64.b64decode(one["embedding"]), "<f4") for one in data])

    chunks = tokens = 0
    fields = [("id", pa.string()), ("chunk", pa.string()), ("token_count", pa.int32())]
    schema = pa.schema([*fields, ("vector", pa.list_(pa.float32(), given.dimensions))])
    held: list[pa.Table] = []
    waiting: deque[tuple[Rows, Future[np.ndarray]]] = deque()

    def take(writer: pq.ParquetWriter, left: int) -> None:
        while len(waiting) > left:
            rows, future = waiting.popleft()
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(future.result().reshape(-1)), given.dimensions)
            ids, texts, counts = zip(*rows, strict=True)
            held.append(pa.table([list(ids), list(texts), pa.array(counts, pa.int32()), vectors], schema=schema))
            if sum(table.num_rows for table in held) >= ROWS_PER_ROW_GROUP or not waiting:
                writer.write_table(pa.concat_tables(held), row_group_size=ROWS_PER_ROW_GROUP)
                held.clear()

    with (
        ThreadPoolExecutor(given.in_flight) as pool,
        pq.ParquetWriter(given.output, schema, compression="zstd", use_dictionary=False) as writer,
    ):
        for rows in batches(given.folder, given.inputs):
            chunks += len(rows)
            tokens += sum(count for _, _, count in rows)
            waiting.append((rows, pool.submit(embed, rows)))
            take(writer, 2 * given.in_flight)
        take(writer, 0)
    print(json.dumps({"chunks": chunks, "tokens": tokens}))


def batches(folder: Path, inputs: int) -> Iterator[Rows]:
    encoding = tiktoken.get_encoding("cl100k_base")
    rows: Rows = []
    for path in sorted(folder.rglob("*.*")):
        text = path.read_text(encoding="utf-8")
        for at in range(0, len(text), CHUNK_CHARS):
            chunk = text[at : at + CHUNK_CHARS]
            rows.append((f"{path}:{at}", chunk, len(encoding.encode_ordinary(chunk))))
            if len(rows) == inputs:
                yield rows
                rows = []
    if rows:
        yield rows


if __name__ == "__main__":
    main()
