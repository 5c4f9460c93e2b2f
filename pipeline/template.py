"""What Dataflow's launcher of the Flex Template starts: the template's parameters become one ``embedbeam run``.

The secret kept is how the launcher hands them over: each as ``--name=value``, among Beam's own options. The parameters stand
in configs/flex_template.json. The container image holds this file once more, outside the package, as the launcher wants it.
"""

import argparse
import sys
from collections.abc import Sequence

from pipeline.cli import main as embedbeam
from pipeline.cli import silence_libraries


def command_of(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the command line for these parameters, and the names of options that Beam does not know.

    The launcher may add options that this Beam has never heard of; they are left out, for Dataflow has held what people wrote
    against the template's parameters already.
    """
    from pipeline.engine import unknown_flags  # loads Beam

    parser = argparse.ArgumentParser(prog="embedbeam template", allow_abbrev=False)
    parser.add_argument("--config", required=True, help="the YAML config, on gs://")
    parser.add_argument("--set", default="", help="config keys to override: key.path=value, separated by semicolons")
    parser.add_argument("--accept_new_canary", choices=("true", "false"), default="false")
    own, flags = parser.parse_known_args(arguments)
    command = ["run", own.config]
    for setting in filter(None, own.set.split(";")):
        command += ["--set", setting]
    if own.accept_new_canary == "true":
        command.append("--accept-new-canary")
    unknown = unknown_flags(flags)
    return [*command, "--", *(flag for flag in flags if flag.partition("=")[0] not in unknown)], unknown


def main(arguments: Sequence[str]) -> int:
    """Launch the run; returns its exit code, 0 once the job graph is written."""
    silence_libraries(debug=False)
    command, unknown = command_of(arguments)
    if unknown:
        sys.stderr.write(
            f"embedbeam: options that this version of Beam does not know are left out: {', '.join(unknown)}\n"
        )
    return embedbeam(command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
