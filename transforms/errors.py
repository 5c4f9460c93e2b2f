"""Every way in which a run can fail, as one tree; retry and exit codes act on these types, never on message text.

    EmbeddingPipelineError
    ├─ ConfigError            the run never starts; lists all problems
    ├─ Rejected               this record cannot be processed; becomes a Reject
    │   ├─ UnreadableDocument     its bytes cannot be had, or are no text
    │   └─ InputRefused           the endpoint refuses this text
    ├─ TransientError         another attempt may succeed
    └─ FatalError             stop the run, on every thread and worker
        ├─ RunRefused             budget, other model, too many rejects, no document matched      exit 3
        ├─ ProviderRefused        key, model, path or balance: the endpoint refuses for good      exit 4
        ├─ CommitConflict         another run committed first                                     exit 5
        ├─ StorageFailed          the disk or the bucket failed; the same command goes on         exit 1
        └─ RunInterrupted         somebody asked the run to stop; it can be resumed               exit 130

Beam rebuilds an exception from its arguments, with the step's name added to the first one, so every class here takes one
string and nothing else.
"""


class EmbeddingPipelineError(Exception):
    """The root of the tree; its text says what was being done, with which values, and what to do."""

    exit_code = 1


class ConfigError(EmbeddingPipelineError):
    """The configuration or the command line cannot be used; the text lists every problem found, one a line."""

    exit_code = 2


class Rejected(EmbeddingPipelineError):
    """One record cannot be processed; the run goes on without it and counts it."""


class UnreadableDocument(Rejected):
    """A document's bytes cannot be read, or hold no text that can be decoded."""


class InputRefused(Rejected):
    """The endpoint refuses this one text, whatever else is in the request."""


class TransientError(EmbeddingPipelineError):
    """The attempt failed and another one may succeed."""


class FatalError(EmbeddingPipelineError):
    """Nothing that this run can do will help: it stops, and what was paid stays in the journal."""


class RunRefused(FatalError):
    """The run may not go on: budget, a dataset of another model, too many rejects, or no document at all."""

    exit_code = 3


class ProviderRefused(FatalError):
    """The endpoint refuses for good (key, model, path, balance), or has been out of reach for too long."""

    exit_code = 4


class CommitConflict(FatalError):
    """Another run committed a version first; this run's paid vectors stay in the journal."""

    exit_code = 5


class StorageFailed(FatalError):
    """The disk or the bucket refuses to be written or read (full, gone, not allowed); the same command goes on later."""


class RunInterrupted(FatalError):
    """The run was asked to stop; answers in flight are in the journal and the same command goes on."""

    exit_code = 130


STOPPING_ERRORS: dict[str, type[EmbeddingPipelineError]] = {
    kind.__name__: kind
    for kind in (ConfigError, FatalError, RunRefused, ProviderRefused, CommitConflict, StorageFailed, RunInterrupted)
}
"""What a stop notice may name."""
