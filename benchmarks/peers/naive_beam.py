"""The Beam pipeline one writes first: match, read, cut, batch, post, write."""

import argparse
import json

import apache_beam as beam
import pyarrow as pa
import requests
from apache_beam.io.fileio import MatchFiles, ReadMatches
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

CHUNK_CHARS = 1000


class Chunk(beam.DoFn):
    def process(self, file):
        text = file.read_utf8()
        for at in range(0, len(text), CHUNK_CHARS):
            yield {"id": f"{file.metadata.path}:{at}", "chunk": text[at : at + CHUNK_CHARS]}


class Embed(beam.DoFn):
    def __init__(self, base_url, dimensions):
        self.base_url, self.dimensions = base_url, dimensions

    def setup(self):
        self.session = requests.Session()

    def process(self, rows):
        body = {
            "model": "text-embedding-3-small",
            "input": [row["chunk"] for row in rows],
            "dimensions": self.dimensions,
        }
        answer = self.session.post(f"{self.base_url}/embeddings", json=body, timeout=60)
        answer.raise_for_status()
        for row, one in zip(rows, answer.json()["data"], strict=True):
            yield {**row, "vector": one["embedding"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("base_url")
    parser.add_argument("output")
    parser.add_argument("--dimensions", type=int, required=True)
    parser.add_argument("--inputs", type=int, required=True)
    parser.add_argument("--in-flight", type=int)  # it has one request in flight, whatever is asked
    given = parser.parse_args()
    schema = pa.schema([("id", pa.string()), ("chunk", pa.string()), ("vector", pa.list_(pa.float32()))])
    with beam.Pipeline(runner=FnApiRunner(), argv=[]) as root:
        _ = (
            root
            | MatchFiles(f"{given.folder}/**")
            | ReadMatches()
            | beam.ParDo(Chunk())
            | beam.BatchElements(given.inputs, given.inputs)
            | beam.ParDo(Embed(given.base_url, given.dimensions))
            | beam.io.WriteToParquet(given.output, schema, num_shards=1)
        )
    print(json.dumps({}))


if __name__ == "__main__":
    main()
