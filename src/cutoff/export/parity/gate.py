"""Is the model that is served the model that was trained?

03 measures every link of the chain (``measurement``) and writes them to ``parity.json``. 04
calls ``require_open``, which does not let it start when a link is broken or a model file is no
longer the one that was measured.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cutoff import files
from cutoff.errors import CutoffError
from cutoff.export.file_facts import fingerprint
from cutoff.export.parity.chain import Link, road

WORDS = {"min": "at least ", "max": "at most ", "equal": ""}


def write(folder: Path, found: Sequence[Link], measured: Sequence[Path], **about: Any) -> None:
    """Write ``parity.json`` into the folder of a size; ``measured`` are its files.

    ``about`` says how it was measured (anything JSON can hold).
    """
    names = {path: path.relative_to(folder).as_posix() for path in dict.fromkeys(measured)}
    content = {
        "passed": not broken(found),
        "links": list(found),
        "sizes_bytes": {path.name: path.stat().st_size for path in names},
        "fingerprints": {name: fingerprint(path) for path, name in names.items()},
        **about,
    }
    files.write_json_atomic(folder / "parity.json", content)


def first_broken(found: Sequence[Link]) -> dict[str, str]:
    """Model -> the first broken link of its chain, for models whose chain is broken."""
    return {row["model"]: row["link"] for row in reversed(found) if not row["passed"]}


def broken(found: Sequence[Link]) -> list[str]:
    """One phrase per model with a broken chain: its first broken link, whatever follows from it.

    A gate that measured nothing is broken as well.
    """
    if not found:
        return ["nothing was compared"]
    first = first_broken(found)
    base_holds = any(row["model"] == "base" for row in found) and "base" not in first
    phrases = []
    for model in dict.fromkeys(row["model"] for row in found if row["model"] in first):
        name = first[model]
        numbers = " and ".join(
            f"{row['metric']} is {row['value']:g}, must be {WORDS[row['rule']]}{row['threshold']:g}"
            for row in found
            if (row["model"], row["link"], row["passed"]) == (model, name, False)
        )
        of_adapter = name.startswith(road("")) and base_holds
        hint = " (the base model's holds, so it is the adapter that is lost)" if of_adapter else ""
        phrases.append(f"{model}, {name}: {numbers}{hint}")
    return phrases


def require_open(folder: Path) -> None:
    """Raise ``CutoffError`` naming every broken link, or a file that is not the measured one.

    Called before anything is evaluated; reads a few MB of each file.
    """
    path = folder / "parity.json"
    if not path.is_file():
        raise CutoffError(f"{path} is missing: run 03_export_gguf first.")
    content = files.read_json(path)
    if phrases := broken(content["links"]):
        raise CutoffError(
            "The parity gate is closed: what would be evaluated is not the model that was "
            f"trained ({'; '.join(phrases)}). See the report 03_export_gguf."
        )
    for name, measured in content["fingerprints"].items():
        if not (folder / name).is_file() or fingerprint(folder / name) != measured:
            raise CutoffError(
                f"{folder / name} is missing or not the file that the parity gate measured; run "
                "03_export_gguf again."
            )
