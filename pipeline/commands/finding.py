"""What one check of ``doctor`` found."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from transforms.errors import EmbeddingPipelineError

OK, NOTE, FAILED = "ok", "note", "FAILED"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        check: what was looked at, one word.
        state: ``ok``; ``note`` for what a run survives; ``FAILED`` for what ends it.
        message: what was found; unless all is well it says what to do.
        exit_code: what ``run`` would exit with for it, 0 unless the state is ``FAILED``.
    """

    check: str
    state: str
    message: str
    exit_code: int = 0


def failed(check: str, error: EmbeddingPipelineError) -> Finding:
    """Take an error for a finding: its sentence names the remedy, and its class the exit code of a run."""
    return Finding(check, FAILED, str(error), error.exit_code)


def findings_of(check: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """Give a check's findings; an error that would end a run becomes its last one."""
    try:
        yield from look()
    except EmbeddingPipelineError as error:
        yield failed(check, error)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        yield Finding(check, FAILED, f"{error.strerror or error}{where}; mend this, then run doctor again", 1)


def worst_exit_code(findings: Iterable[Finding]) -> int:
    """Return what ``run`` would exit with: its checks go from the config to the documents to the endpoint, 2 to 4."""
    return min((finding.exit_code for finding in findings if finding.exit_code), default=0)
