"""Beam's own way to embed: MLTransform with OpenAITextEmbeddings."""

import argparse
import json
import os
import tempfile

import apache_beam as beam
import pyarrow as pa
from apache_beam.io.fileio import MatchFiles, ReadMatches
from apache_beam.ml.transforms.base import MLTransform
from apache_beam.ml.transforms.embeddings.open_ai import OpenAITextEmbeddings
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

CHUNK_CHARS = 1000


def cut(file):
    text = file.read_utf8()
    for at in range(0, len(text), CHUNK_CHARS):
        chunk = text[at : at + CHUNK_CHARS]
        yield {"id": f"{file.metadata.path}:{at}", "chunk": chunk, "vector": chunk}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("base_url")
    parser.add_argument("output")
    parser.add_argument("--dimensions", type=int, required=True)
    parser.add_argument("--inputs", type=int, required=True)
    parser.add_argument("--in-flight", type=int)  # it has one request in flight, whatever is asked
    given = parser.parse_args()
    # Its own dimensions= is sent as a list of one string, which no endpoint takes; the model has 1,536 without it.
    os.environ["OPENAI_BASE_URL"] = given.base_url
    embeddings = OpenAITextEmbeddings(
        model_name="text-embedding-3-small",
        columns=["vector"],
        api_key="none",
        max_batch_size=given.inputs,
    )
    schema = pa.schema([("id", pa.string()), ("chunk", pa.string()), ("vector", pa.list_(pa.float32()))])
    with tempfile.TemporaryDirectory() as artifacts, beam.Pipeline(runner=FnApiRunner(), argv=[]) as root:
        _ = (
            root
            | MatchFiles(f"{given.folder}/**")
            | ReadMatches()
            | beam.FlatMap(cut)
            | MLTransform(write_artifact_location=artifacts).with_transform(embeddings)
            | beam.Map(lambda row: {"id": row["id"], "chunk": row["chunk"], "vector": row["vector"]})
            | beam.io.WriteToParquet(given.output, schema, num_shards=1)
        )
    print(json.dumps({}))


if __name__ == "__main__":
    main()
