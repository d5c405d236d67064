"""Base models from the hub, over real HTTP: downloaded once, or a sentence that says what to do."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hub_server import COMMIT, HubServer

from cutoff import models, params, paths
from cutoff.errors import CutoffError
from cutoff.run import folders

NAME = "someone/a-model"
SCRIPT = """
import sys
from cutoff import models, params
from cutoff.errors import CutoffError
values = dict(word.split("=") for word in sys.argv[1:])
try:
    print(models.base_folder(params.load("tiny", values)))
except CutoffError as error:
    sys.exit(f"sentence: {error}")
"""

Ask = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def hub(base_model: Path, tmp_path: Path) -> Iterator[HubServer]:
    folder = Path(shutil.copytree(base_model, tmp_path / "on the hub"))
    (folder / "pytorch_model.bin").write_bytes(b"weights that could run code")
    server = HubServer(NAME, folder)
    yield server
    server.close()


@pytest.fixture
def ask(hub: HubServer, tmp_path: Path) -> Ask:
    """Asks for a base model in a process of its own: the hub's library reads its settings once."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("HF_", "CUTOFF"))
    }
    environment |= {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "cache"),
        "HF_HUB_DISABLE_XET": "1",
        "PYTHONPATH": str(Path(folders.__file__).parents[2]),
    }

    def command(**values: str) -> subprocess.CompletedProcess[str]:
        given = {"base_model": NAME, **values}
        token = {"HF_TOKEN": given.pop("token")} if "token" in given else {}
        return subprocess.run(
            [sys.executable, "-c", SCRIPT, *(f"{name}={value}" for name, value in given.items())],
            env={**environment, **token},
            cwd=paths.root(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return command


def test_a_hub_model_is_downloaded_once_and_used_without_the_hub_afterwards(
    ask: Ask, hub: HubServer, base_model: Path
) -> None:
    first = ask()
    assert first.returncode == 0, first.stderr
    folder = Path(first.stdout.strip())
    assert folder.name == COMMIT
    assert models.base_sha256(folder) == models.base_sha256(base_model)
    assert not list(folder.glob("*.bin")) and "pytorch_model.bin" not in hub.served
    served = len(hub.served)
    assert ask().stdout == first.stdout and len(hub.served) == served
    hub.close()
    assert ask().stdout == first.stdout


def test_a_gated_model_asks_for_a_token_and_takes_it(ask: Ask, hub: HubServer) -> None:
    hub.gated = True
    refused = ask()
    assert "sentence" in refused.stderr and "gated" in refused.stderr
    assert "HF_TOKEN" in refused.stderr and "Traceback" not in refused.stderr
    allowed = ask(token=hub.token)
    assert allowed.returncode == 0, allowed.stderr
    assert hub.token not in allowed.stdout + allowed.stderr


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"base_model": "someone/else"}, "no model 'someone/else'"),
        ({"base_model_revision": "v9"}, "no revision 'v9'"),
    ],
)
def test_an_unknown_model_or_revision_is_named(
    ask: Ask, values: dict[str, str], words: str
) -> None:
    answer = ask(**values)
    assert answer.returncode == 1 and words in answer.stderr and "Traceback" not in answer.stderr


def test_a_hub_that_does_not_answer_is_a_sentence(ask: Ask, hub: HubServer) -> None:
    hub.close()
    answer = ask()
    assert "did not answer" in answer.stderr and "Traceback" not in answer.stderr


def test_a_name_that_is_nothing_is_refused(tmp_path: Path) -> None:
    for name in ("qwen", str(tmp_path / "nowhere"), "./nowhere/at-all"):
        with pytest.raises(CutoffError, match="neither"):
            models.base_folder(params.load("tiny", {"base_model": name}))


def test_an_incomplete_folder_names_what_is_missing(base_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(base_model, tmp_path / "incomplete"))
    (folder / "model.safetensors").unlink()
    with pytest.raises(CutoffError, match=r"no \*\.safetensors"):
        models.base_folder(params.load("tiny", {"base_model": str(folder)}))


def test_an_adapter_of_other_base_weights_is_refused(base_model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(base_model, tmp_path / "other"))
    training = {"variant": "rag_ft", "base_sha256": models.base_sha256(folder)}
    models.require_same_base(folder, training)
    config = folder / "config.json"
    config.write_text(config.read_text().replace("10000", "20000"))
    with pytest.raises(CutoffError, match="base_model_revision"):
        models.require_same_base(folder, training)


def test_adapters_of_further_seeds_have_names_of_their_own() -> None:
    p = params.load("tiny", {"training_seed": 3, "training_seeds": 2})
    assert models.adapters(p) == {
        "instruct_ft": ("instruct_ft", 3),
        "rag_ft": ("rag_ft", 3),
        "instruct_ft.seed-4": ("instruct_ft", 4),
        "rag_ft.seed-4": ("rag_ft", 4),
    }
