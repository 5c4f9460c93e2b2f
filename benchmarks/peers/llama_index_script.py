"""LlamaIndex's ingestion pipeline, and one Parquet file."""

import argparse
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from llama_index.core import Document
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.embeddings.openai import OpenAIEmbedding


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("base_url")
    parser.add_argument("output")
    parser.add_argument("--dimensions", type=int, required=True)
    parser.add_argument("--inputs", type=int, required=True)
    parser.add_argument("--in-flight", type=int, required=True)
    given = parser.parse_args()
    embedding = OpenAIEmbedding(
        model="text-embedding-3-small",
        api_key="none",
        api_base=given.base_url,
        dimensions=given.dimensions,
        embed_batch_size=given.inputs,
        num_workers=given.in_flight,
    )
    pipeline = IngestionPipeline(transformations=[SentenceSplitter(chunk_size=256, chunk_overlap=0), embedding])
    documents = [
        Document(text=path.read_text(encoding="utf-8"), doc_id=str(path)) for path in sorted(given.folder.rglob("*.*"))
    ]
    nodes = pipeline.run(documents=documents)
    vectors = np.array([node.embedding for node in nodes], np.float32)
    vector = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), given.dimensions)
    table = pa.table({"id": [n.node_id for n in nodes], "chunk": [n.get_content() for n in nodes], "vector": vector})
    pq.write_table(table, given.output, compression="zstd")
    print(json.dumps({"chunks": len(nodes)}))


if __name__ == "__main__":
    main()
