"""A model for tests of the engine."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def varied_weights(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantom's shape with random weights in Q4_K_M: every prompt gets another answer.

    The next token is always close, so the smallest change of the arithmetic shows.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from cutoff.export import gguf_writer, quantise

    folder = tmp_path_factory.mktemp("varied")
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base_model))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() == 2:  # with small weights a model repeats the last token
                weight.mul_(4 if "embed" not in name else 25)
    model.save_pretrained(folder / "base")
    AutoTokenizer.from_pretrained(base_model).save_pretrained(folder / "base")
    gguf_writer.write_gguf(folder / "base", None, folder / "model.F16.gguf")
    quantise.quantise(folder / "model.F16.gguf", folder / "model.Q4_K_M.gguf", "Q4_K_M")
    return folder / "model.Q4_K_M.gguf"
