"""LangChain's splitter and embeddings, and one Parquet file."""

import argparse
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from langchain_openai import OpenAIEmbeddings
from langchain_text_splitters import RecursiveCharacterTextSplitter

CHUNK_CHARS = 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("base_url")
    parser.add_argument("output")
    parser.add_argument("--dimensions", type=int, required=True)
    parser.add_argument("--inputs", type=int, required=True)
    parser.add_argument("--in-flight", type=int)  # it has one request in flight, whatever is asked
    given = parser.parse_args()
    splitter = RecursiveCharacterTextSplitter(chunk_size=CHUNK_CHARS, chunk_overlap=0)
    embeddings = OpenAIEmbeddings(
        model="text-embedding-3-small",
        api_key="none",
        base_url=given.base_url,
        dimensions=given.dimensions,
        chunk_size=given.inputs,
        check_embedding_ctx_length=False,  # otherwise it sends token ids, which few compatible endpoints take
    )
    ids, texts = [], []
    for path in sorted(given.folder.rglob("*.*")):
        chunks = splitter.split_text(path.read_text(encoding="utf-8"))
        ids += [f"{path}:{at}" for at in range(len(chunks))]
        texts += chunks
    vectors = np.array(embeddings.embed_documents(texts), np.float32)
    vector = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), given.dimensions)
    pq.write_table(pa.table({"id": ids, "chunk": texts, "vector": vector}), given.output, compression="zstd")
    print(json.dumps({"chunks": len(texts)}))


if __name__ == "__main__":
    main()
