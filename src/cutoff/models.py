"""The models of a run: where the base model lies, and the names of what is trained from it."""

from cutoff.params import Params

VARIANTS = ("instruct_ft", "rag_ft")


def adapters(p: Params) -> dict[str, tuple[str, int]]:
    """Name of each adapter -> its variant and training seed, those of the first seed first.

    ``{"instruct_ft": ("instruct_ft", 0), "rag_ft": ("rag_ft", 0)}``, and with
    ``training_seeds: 2`` also ``instruct_ft.seed-1`` and ``rag_ft.seed-1``.
    """
    seeds = range(p.training_seed, p.training_seed + p.training_seeds)
    return {
        variant if seed == p.training_seed else f"{variant}.seed-{seed}": (variant, seed)
        for seed in seeds
        for variant in VARIANTS
    }


def served_name(size: str, model: str) -> str:
    """What a server calls a model of this run: ``cutoff-7b-rag-ft``."""
    return f"cutoff-{size}-{model}".replace("_", "-").lower()
