"""The script one writes in an afternoon: read, cut, count tokens, embed over 8 threads, write one Parquet file.

No dedupe, no journal, no resume, no retries beyond urllib3's, no bill: what the pipeline is measured against.
"""

import argparse
import base64
import glob
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import requests

from transforms.core.tokens import tokenizer_for_model

CHUNK_CHARS, BATCH = 1000, 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pattern")
    parser.add_argument("base_url")
    parser.add_argument("output")
    parser.add_argument("--dimensions", type=int, default=1536)
    parser.add_argument("--threads", type=int, default=8)
    given = parser.parse_args()
    count = tokenizer_for_model("text-embedding-3-small").count
    session = requests.Session()
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=given.threads))
    ids, texts, tokens = [], [], []
    for path in sorted(glob.glob(given.pattern, recursive=True)):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        for at in range(0, len(text), CHUNK_CHARS):
            ids.append(f"{path}:{at}")
            texts.append(text[at : at + CHUNK_CHARS])
            tokens.append(count(texts[-1]))

    def embed(at: int) -> np.ndarray:
        body = {
            "model": "text-embedding-3-small",
            "input": texts[at : at + BATCH],
            "encoding_format": "base64",
            "dimensions": given.dimensions,
        }
        answer = session.post(f"{given.base_url}/embeddings", data=orjson.dumps(body), timeout=60)
        answer.raise_for_status()
        data = orjson.loads(answer.content)["data"]
        return np.stack([np.frombuffer(base64.b64decode(one["embedding"]), "<f4") for one in data])

    with ThreadPoolExecutor(given.threads) as pool:
        vectors = np.concatenate(list(pool.map(embed, range(0, len(texts), BATCH))))
    vector = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), given.dimensions)
    table = pa.table({"id": ids, "chunk": texts, "token_count": tokens, "vector": vector})
    pq.write_table(table, given.output, compression="zstd", use_dictionary=False)
    print(len(texts), "chunks", sum(tokens), "tokens")


if __name__ == "__main__":
    main()
