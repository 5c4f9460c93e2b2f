"""What ``--help`` says of a command beside its arguments: what it does, examples, exit codes, files, environment."""

from collections.abc import Sequence
from dataclasses import dataclass

EXIT_CODES = {
    0: "done, or nothing to do",
    1: "a bug (a traceback is shown), or the machine failed (a full disk)",
    2: "the config or the command line cannot be used; every problem is listed",
    3: "refused: the budget, other vectors than the dataset's, too many rejects",
    4: "the provider refuses for good (key, model, path, balance) or is out of reach",
    5: "another process committed first; nothing that was paid is lost",
    130: "interrupted; the same command goes on",
}
_KEY = ("COMETAPI_KEY", "the API key; embedding.api_key_env names another variable")
_GOOGLE = ("GOOGLE_APPLICATION_CREDENTIALS", "credentials for gs://, where the machine has none of its own")
_EMULATOR = ("STORAGE_EMULATOR_HOST", "a storage server to use in place of Google's, for tests")
_PROXY = ("HTTPS_PROXY, NO_PROXY", "the way to the endpoint, where it leads through a proxy")
_CONFIG = ("CONFIG", "YAML; `embedbeam init` writes one with every key and its default")
_DATASET = ("DATASET/manifest.json", "the committed version; what it names is the dataset")
_PARTS = ("DATASET/versions/000001/part-*.parquet", "the rows; any Parquet reader opens them")
_JOURNAL = ("DATASET/_journal/", "what is paid for and not committed yet; leave it alone")


@dataclass(frozen=True, slots=True)
class Page:
    """One command's page.

    Attributes:
        about: paragraphs, separated by empty lines.
        examples: command lines, each with what it is for.
        exit_codes: those that it ends with.
    """

    about: str
    examples: Sequence[tuple[str, str]]
    exit_codes: Sequence[int] = (0, 1, 2)
    files: Sequence[tuple[str, str]] = ()
    environment: Sequence[tuple[str, str]] = ()


PAGES = {
    "run": Page(
        "Read and chunk the documents, embed every text that is not paid for yet, and commit the result as the "
        "dataset's next version.\n\nThe bill is known, and held against the budget, before the first request. Each "
        "answer is on disk before anything else happens to it: after a kill, a crash or a full disk the same command "
        "goes on where it was, and pays at most for the requests that were in flight. A run that finds nothing changed "
        "commits nothing and calls nobody.",
        (
            ("embedbeam run my.yaml", "one run, or the rest of one"),
            ("embedbeam run my.yaml --set budget.max_cost_usd=5 --set limits.tokens_per_minute=1000000", "with limits"),
            ("embedbeam run my.yaml --json --quiet", "for scripts: the summary as one JSON object"),
            ("embedbeam run my.yaml -- --direct_num_workers=2 --direct_running_mode=multi_processing", "two processes"),
        ),
        tuple(EXIT_CODES),
        (_CONFIG, _DATASET, _PARTS, _JOURNAL),
        (_KEY, _PROXY, _GOOGLE, _EMULATOR),
    ),
    "plan": Page(
        "Read and chunk the documents and say what a run would do: documents, chunks, texts reused and new, tokens, "
        "requests, cost, time, size. Calls no embedding endpoint, needs no key, commits nothing.\n\nA plan that a run "
        "would be refused for ends with exit code 3, so that a schedule can ask first.",
        (
            ("embedbeam plan my.yaml", "the bill"),
            ("embedbeam plan my.yaml --set embedding.model=text-embedding-3-large", "what another model would cost"),
            ("embedbeam plan my.yaml --json --quiet", "the bill as one JSON object"),
        ),
        (0, 1, 2, 3),
        (_CONFIG, _DATASET),
        (_GOOGLE, _EMULATOR),
    ),
    "init": Page(
        "Write a config that explains itself, with every key and its default; asks nothing and overwrites nothing. With "
        "--schema, print the JSON Schema of configs, with which editors complete and check them.",
        (
            ("embedbeam init", "writes embedbeam.yaml"),
            ("embedbeam init configs/handbook.yaml", "another file"),
            ("embedbeam init --schema > embedbeam.schema.json", "for your editor"),
        ),
    ),
    "doctor": Page(
        "Look at everything that a run needs, all at once: the config, the key, the endpoint, the model, its price, the "
        "documents, the dataset, the engine. One line a check, each with its remedy. Costs under a hundred tokens and "
        "commits nothing. The exit code is the one that a run would end with.",
        (
            ("embedbeam doctor my.yaml", "what to mend before a run"),
            ("embedbeam doctor my.yaml --json", "for scripts"),
            ("embedbeam doctor my.yaml -- --runner=PrismRunner", "with the options for Beam that the run will get"),
        ),
        (0, 1, 2, 3, 4),
        (_CONFIG,),
        (_KEY, _PROXY, _GOOGLE, _EMULATOR),
    ),
    "inspect": Page(
        "Show what a dataset holds: model, dimensions, rows, sizes, rejects, versions, what the last run cost, a few "
        "rows. With --verify, read every part and compare it with the manifest; damage ends with exit code 3.",
        (
            ("embedbeam inspect out/handbook", "at a glance"),
            ("embedbeam inspect out/handbook --rows 0 --json", "for scripts"),
            ("embedbeam inspect gs://bucket/handbook --verify", "is every byte what was committed?"),
        ),
        (0, 1, 2, 3),
        (_DATASET, _PARTS),
        (_GOOGLE, _EMULATOR),
    ),
    "search": Page(
        "Embed a query with the model that the dataset is stamped with, compare it with every vector, and show the "
        "nearest chunks. The search is exact; of equal scores the smaller id comes first. One tiny request is paid, "
        "none with the local model.\n\nA key is sent only where it belongs: COMETAPI_KEY to CometAPI or to this machine, "
        "another one only when you name it with --api-key-env.",
        (
            ('embedbeam search out/handbook "why does bread dough rise?"', "the five nearest chunks"),
            ('embedbeam search out/handbook "tides" -k 20 --where-source "sea/*"', "only chunks of some documents"),
            (
                'embedbeam search out/handbook "Gezeiten" --where-metadata language=de --json',
                "by metadata, for scripts",
            ),
            ('embedbeam search out/e5 "tides" --query-prefix "query: "', "a model that tells queries from documents"),
            (
                'embedbeam search out/own "tides" --base-url http://localhost:8080/v1 --api-key-env ""',
                "your own server",
            ),
        ),
        (0, 1, 2, 3, 4),
        (_DATASET, _PARTS),
        (("COMETAPI_KEY", "the API key; --api-key-env names another variable"), _PROXY, _GOOGLE, _EMULATOR),
    ),
    "diff": Page(
        "List what a vector database must do to go from one version to another: ids added and updated are to be "
        "upserted, ids removed are to be deleted.",
        (
            ("embedbeam diff out/handbook", "the last version against the one before"),
            ("embedbeam diff out/handbook --from 3 --to 7 --to-parquet changes.parquet", "between any two, as a file"),
            ("embedbeam diff out/handbook --from 0 --json", "everything, for scripts"),
        ),
        (0, 1, 2, 3),
        (("DATASET/versions/000002/changes.parquet", "what that version changed: id, change, doc_id"),),
        (_GOOGLE, _EMULATOR),
    ),
    "export": Page(
        "Write a version as files that another system loads. Names and types change, texts and vectors do not; the "
        "dataset stays as it is. An export that was cut off goes on in the same folder.",
        (
            ("embedbeam export out/handbook --to qdrant out/for-qdrant", "the current version"),
            ("embedbeam export out/handbook --to pinecone out/changes --since 3", "only what changed since version 3"),
        ),
        (0, 1, 2, 3),
        (_DATASET, _PARTS),
        (_GOOGLE, _EMULATOR),
    ),
    "derive": Page(
        "Make a smaller dataset from vectors that are paid for, without a call: shorter vectors (the first N numbers, "
        "brought to length 1), or smaller numbers. The result is a dataset of its own, which inspect, search, diff and "
        "every Parquet reader open, with the measured recall in its manifest.\n\nfloat16 halves the size. int8 quarters "
        "it: number = code x scale, one scale a dimension, in the stamp (embedding.scales: base64 of float32). binary "
        "keeps one bit a dimension, 1 for a number above 0, eight to a byte, highest bit first.\n\nRecall@10 is the "
        "share of a text's ten nearest texts that stay among its ten nearest, by exact search on both sides, over a "
        "sample of the corpus's own texts. Real questions may fare differently.\n\nDeriving again after a run makes only "
        "the parts whose source has changed; with nothing changed it does nothing.",
        (
            ("embedbeam derive out/handbook --dimensions 256 --to out/handbook-256", "a sixth of the size"),
            ("embedbeam derive out/handbook --type int8 --to out/handbook-int8", "a quarter"),
            (
                "embedbeam derive out/handbook --dimensions 512 --type binary --to gs://bucket/small --json",
                "for scripts",
            ),
        ),
        (0, 1, 2, 3, 5),
        (_DATASET, ("DEST/", "the derived dataset, laid out as the source is")),
        (_GOOGLE, _EMULATOR),
    ),
    "compare": Page(
        "Embed a sample of the corpus with another model and say how far the two models agree: which share of a text's "
        "ten nearest texts is the same in both, how the rankings agree, which texts they see most differently, and what "
        "the whole corpus would cost with either.\n\nThe sample is chosen by hash: the same every time, and a larger one "
        "holds all of a smaller one. Vectors of the config's own model come from its dataset, where it is committed; else "
        "they are paid for now, and the run that follows finds them. The bill is said first and held against the "
        "config's budget; nothing is paid twice, and what was compared once costs nothing again.\n\nThe config's price "
        "is not taken for the other model: its catalog is asked, or --with budget.price_per_million_tokens says it.",
        (
            ("embedbeam compare my.yaml --model text-embedding-3-large", "on one text in a hundred"),
            ("embedbeam compare my.yaml --model text-embedding-3-large --dry-run", "what the sample would cost"),
            (
                "embedbeam compare my.yaml --model text-embedding-3-small --dimensions 512 --sample 0.1",
                "fewer dimensions",
            ),
            (
                "embedbeam compare my.yaml --model bge-m3 --with embedding.base_url=http://localhost:8080/v1 "
                "--with embedding.api_key_env='\"\"' --html comparison.html",
                "another server, as a page",
            ),
        ),
        tuple(EXIT_CODES),
        (_CONFIG, ("DATASET/_compare/", "the samples; delete it when you have decided")),
        (_KEY, _PROXY, _GOOGLE, _EMULATOR),
    ),
    "size": Page(
        "Reckon what a config means for a corpus of any size: parts, requests, hours at the quota, memory, storage. "
        "Reads the config only and calls nobody.",
        (
            ("embedbeam size my.yaml", "for a million chunks, a hundred million, a billion"),
            ("embedbeam size my.yaml --chunks 5000000 --tokens-per-chunk 300 --workers 8 --json", "for scripts"),
        ),
        (0, 1, 2),
        (_CONFIG,),
    ),
    "gc": Page(
        "Remove what no reader and no later run needs: old versions, folders without a manifest, what dead runs have "
        "staged, and journals whose every text the committed version holds. What a living run writes is never "
        "touched.\n\nPaid vectors that the committed version does not hold stay, because a run may want them. With "
        "--drop-journal they go, too, and the command says what they would cost again.",
        (
            ("embedbeam gc out/handbook --dry-run", "what would go"),
            ("embedbeam gc out/handbook --keep 1", "only the current version stays"),
            ("embedbeam gc out/handbook --drop-journal --dry-run", "what giving up paid vectors would cost"),
        ),
        (0, 1, 2),
        (_DATASET, _JOURNAL),
        (_GOOGLE, _EMULATOR),
    ),
    "rehearse": Page(
        "Serve an embedding endpoint on this machine that behaves as providers do on bad days: quotas, latency, errors, "
        "dropped connections, refused texts. Its vectors mean nothing, and nothing is paid. Prints its address and "
        "serves until it is interrupted. Needs: pip install 'embedbeam[rehearsal]'.",
        (
            ("embedbeam rehearse --port 8080", "a patient server"),
            (
                "embedbeam rehearse --port 8080 --requests-per-minute 600 --fault 500=0.05 --fault drop=0.01",
                "a bad day",
            ),
        ),
        (0, 1, 2, 130),
    ),
    "completion": Page(
        "Print a script that lets a shell complete commands, options and files. Static: nothing of embedbeam runs while "
        "you type. Make it again after an update. Needs: pip install 'embedbeam[completion]'.",
        (
            ("embedbeam completion bash > ~/.local/share/bash-completion/completions/embedbeam", "bash"),
            ("embedbeam completion zsh > ~/.zfunc/_embedbeam", "zsh, with ~/.zfunc in fpath"),
            ("embedbeam completion fish > ~/.config/fish/completions/embedbeam.fish", "fish"),
        ),
    ),
}
