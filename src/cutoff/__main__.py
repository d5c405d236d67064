"""The command line: ``python -m cutoff COMMAND [name=value ...]``.

run      bring the stages of one size up to date (``make all``); also takes force=1 to
         start over and stage=04_evaluate to run one stage only
status   which stages are complete, and what the next run would do
plan     what a run of this size needs (memory, disk, hours, cost, power), before anything is spent
params   every parameter with its value, allowed values and the stage it belongs to
ask      answer question="..." from the index, with citations; also takes condition=rag_ft_rag
judge    judge a file of answers: responses=FILE, and questions=FILE unless they are the data set's
clean    remove the results of one size; data sets stay, all sizes share them; yes=1 also removes
         labels that a person has given
"""

import os
import re
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from cutoff import deadline, params, paths
from cutoff.errors import CutoffError, DeadlineReached
from cutoff.params import Params
from cutoff.run import folders, stages

COMMANDS = ("run", "status", "plan", "params", "ask", "judge", "clean")
OPTIONS = ("force", "stage", "question", "condition", "responses", "questions", "yes")
MAKE_ONLY = ("PYTHON", "SHELL")  # variables of the Makefile itself


def main(arguments: list[str]) -> int:
    """Run one command and return the exit status: 0 good, 1 an error said in a sentence,
    75 stopped at ``deadline_minutes``, 130 stopped by the user."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        if not arguments or arguments[0] in ("-h", "--help", "help"):
            print(__doc__)
            return 0
        command, given = arguments[0], arguments[1:]
        if command not in COMMANDS:
            raise CutoffError(f"Unknown command {command!r}; one of {', '.join(COMMANDS)}.")
        if "--make" in given:
            given = [text for text in given if text != "--make"] + make_line()
        return _do(command, given)
    except KeyboardInterrupt:
        print("\nStopped. The next run goes on from here.", file=sys.stderr)
        return 130
    except DeadlineReached as stop:
        print(f"\nStopped: {stop}", file=sys.stderr)
        return deadline.EXIT_STATUS
    except CutoffError as error:
        print(f"\nError: {error}", file=sys.stderr)
    except ModuleNotFoundError as error:
        print(
            f"\nError: the package {error.name!r} is missing in {sys.executable}; install it "
            f'with "{sys.executable}" -m pip install -r requirements.txt',
            file=sys.stderr,
        )
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # `... | head` has read enough
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        print(f"\nError: {error.strerror or error}{place}", file=sys.stderr)
    return 1


def make_line() -> list[str]:
    """The ``name=value`` words of the make line.

    Read from MAKEFLAGS, where make leaves them with blanks and backslashes escaped by a
    backslash and dollars doubled: no shell comes in between, so a value can hold anything.
    """
    words = re.findall(r"(?:\\.|[^\s\\])+", os.environ.get("MAKEFLAGS", ""))
    plain = [re.sub(r"\\(.)|\$(\$)", r"\1\2", word) for word in words]
    given = [word for word in plain if re.match(r"[A-Za-z_]\w*=", word)]
    return [word for word in given if word.split("=")[0] not in MAKE_ONLY]


def _do(command: str, given: list[str]) -> int:
    options, texts = _split(given)
    size = texts.pop("size", "tiny")
    values = {name: params.parse(name, text) for name, text in texts.items()}
    p = params.load(size, values, "the command line")
    if command == "run":
        from cutoff.run import driver

        only = stages.find(options["stage"]) if "stage" in options else None
        force = _yes("force", options.get("force", "0"))
        page = driver.run_all(p, values, only, force)
        print(f"\nReports: {page}")
    elif command == "status":
        _status(p)
    elif command == "plan":
        from cutoff.plan import forecast

        print(forecast.report(p), end="")
    elif command == "params":
        _print_params(p)
    elif command == "ask":
        from cutoff import ask

        condition = options.get("condition", ask.DEFAULT_CONDITION)
        print(ask.answer(p, options.get("question", ""), condition))
    elif command == "judge":
        from cutoff.evaluate.judging import foreign_answers

        if "responses" not in options:
            raise CutoffError("judge needs responses=FILE, the answers to judge.")
        questions = Path(options["questions"]) if "questions" in options else None
        print(foreign_answers.judge_file(p, Path(options["responses"]), questions))
    else:
        _clean(p, _yes("yes", options.get("yes", "0")))
    return 0


def _split(given: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Options of the command, and texts of parameters, from ``name=value`` words."""
    options: dict[str, str] = {}
    texts: dict[str, str] = {}
    for word in given:
        name, sign, value = word.partition("=")
        if not sign:
            raise CutoffError(f"{word!r} is not of the form name=value.")
        if name in OPTIONS:
            options[name] = value
        elif name in params.NAMES:
            texts[name] = value
        else:
            hint = params.nearest(name, [*params.NAMES, *OPTIONS])
            raise CutoffError(f"Unknown parameter {name!r} on the command line; {hint}")
    return options, texts


def _yes(name: str, text: str) -> bool:
    if text.lower() not in ("0", "1", "true", "false", ""):
        raise CutoffError(f"{name} = {text!r} on the command line: must be 1 or 0.")
    return text.lower() in ("1", "true")


def _status(p: Params) -> None:
    top = paths.outputs(p)
    sizes = sorted(path.parent.name for path in top.glob("*/run.json"))
    for size in dict.fromkeys([p.size, *(name for name in sizes if name != "compare")]):
        try:
            of_size = p if size == p.size else params.load(size, {"output_dir": p.output_dir})
        except CutoffError:
            continue  # a folder of a size whose parameter file is gone
        print(f"{size} in {top / size}")
        again = False
        for stage in stages.STAGES:
            entry = stages.entry(stage, of_size)
            reason = stages.why_not_current(stage, of_size)
            if reason is None and not again:
                text = f"complete, finished {entry['finished']}, took {entry['seconds']:.1f} s"
            else:
                text = f"will run: {reason or 'an earlier stage runs again'}"
                again = True
            print(f"  {stage.name:<17} {text}")


def _print_params(p: Params) -> None:
    meanings = params.meanings()
    for name, value in p.as_dict().items():
        shown = "null" if value is None else value
        print(f"{name} = {shown}  ({params.stage_of(name)}; {params.allowed(name)})")
        if name in meanings:
            print(f"    {meanings[name]}")


def _clean(p: Params, with_labels: bool) -> None:
    folder = folders.locate("01_generate", p).folder
    if not folder.is_dir():
        print(f"Nothing to remove: {folder} does not exist.")
        return
    if not (folder / "run.json").is_file():
        raise CutoffError(f"{folder} holds no run.json, so it is not a run; remove it by hand.")
    if stages.labels(folder) and not with_labels:
        raise CutoffError(
            f"{folder / 'calibration.csv'} holds labels that a person has given; move it elsewhere "
            "first, or give yes=1 to remove them too."
        )
    shutil.rmtree(folder)
    print(f"Removed {folder}")


def _stop(*_: Any) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
