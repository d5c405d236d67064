"""Differences between sizes are paired: both answered the same questions."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cutoff import files, params, paths
from cutoff.compare import between_sizes
from cutoff.evaluate import results
from cutoff.evaluate.stats import effect_table
from cutoff.run import folders

CONDITIONS = ("base", "base_rag", "instruct_ft", "instruct_ft_rag", "rag_ft", "rag_ft_rag")
RATES = {"tiny-xs": (0.1, 0.5, 0.3, 0.5, 0.2, 0.55), "tiny": (0.1, 0.5, 0.5, 0.6, 0.2, 0.75)}


@pytest.fixture(scope="module")
def two_sizes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict]]:
    """Made-up verdicts of two sizes on the same 480 questions on 60 papers,
    analysed by 04's own statistics and written as 04 writes them."""
    outputs = tmp_path_factory.mktemp("outputs")
    rng = np.random.default_rng(3)
    papers = [f"p{i % 60}" for i in range(480)]
    # How easy a question is, and how well its evidence was retrieved, is shared by all sizes.
    shared = rng.normal(0, 0.8, (2, 60))[:, np.arange(480) % 60] + rng.normal(0, 0.8, (2, 480))
    ease = {name: shared[int(name.endswith("_rag"))] for name in CONDITIONS}
    strata = [("seen", "unseen_fact", "unseen_paper")[(i % 60) // 20] for i in range(480)]
    questions = pd.DataFrame(
        {"question_id": [f"q{i}" for i in range(480)], "paper_id": papers, "stratum": strata}
    )
    runs = []
    for size, rates in RATES.items():
        frames = []
        for condition, rate in zip(CONDITIONS, rates, strict=True):
            latent = ease[condition] + rng.normal(0, 0.3, 480)
            passed = latent < stats.norm.ppf(rate) * (0.64 * 2 + 0.09) ** 0.5
            frames.append(questions.assign(condition=condition, passed=passed, judge="reference"))
        verdicts = pd.concat(frames)
        stage = folders.Run(
            "04_evaluate", params.load(size), outputs / size, outputs / "datasets/d1"
        )
        parity = {"provider": "llama_cpp", "n_parameters": {"tiny-xs": 1e6, "tiny": 1e7}[size]}
        files.write_json_atomic(stage.folder / "parity.json", parity)
        analysed = (
            effect_table.pass_rates(verdicts),
            effect_table.planned_contrasts(verdicts, 500, 0),
        )
        found = results.build(stage, *analysed, ["One claim."], {})
        files.write_json_atomic(outputs / size / "results.json", found)
        runs.append(found)
        columns = ["question_id", "paper_id", "stratum", "condition", "passed", "judge"]
        write_lines(outputs / size / "judgements.jsonl", verdicts[columns].to_dict("records"))
    return outputs, runs


def write_lines(path: Path, records: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def row(table: pd.DataFrame, name: str, stratum: str) -> pd.Series:
    return table[(table["name"] == name) & (table["stratum"] == stratum)].iloc[0]


def test_the_paired_error_is_that_of_resampling_papers_for_both_sizes_at_once(two_sizes) -> None:
    outputs, runs = two_sizes
    tables, lacking = between_sizes.verdicts(outputs, runs)
    assert lacking == []
    for name, plus, minus in (
        ("ft_under_rag_rag", ["rag_ft_rag"], ["base_rag"]),
        ("interaction_rag", ["rag_ft_rag", "base"], ["base_rag", "rag_ft"]),
    ):
        rows = {r["size"]: x for r in runs for x in r["contrasts"]
                if (x["name"], x["stratum"]) == (name, "all_post")}  # fmt: skip
        matrix = between_sizes.covariance(rows, tables)
        values = [
            tables[s][plus].sum(axis=1) - tables[s][minus].sum(axis=1) for s in ("tiny-xs", "tiny")
        ]
        by_paper = (values[1] - values[0]).groupby(level="paper_id").sum().to_numpy()
        rng = np.random.default_rng(0)
        drawn = by_paper[rng.integers(0, 60, (4000, 60))].sum(axis=1) / 480
        error = np.sqrt(matrix[0, 0] + matrix[1, 1] - 2 * matrix[0, 1])
        assert error == pytest.approx(drawn.std(), rel=0.12)


def test_shared_difficulty_makes_the_difference_of_two_sizes_better_known(two_sizes) -> None:
    outputs, runs = two_sizes
    tables, _ = between_sizes.verdicts(outputs, runs)
    both = between_sizes.between(runs, tables)
    apart = between_sizes.between(runs, {})
    one, other = (row(t, "ft_instead_of_rag", "seen") for t in (both, apart))
    assert one["paired"] and not other["paired"]
    assert one["difference"] == other["difference"]
    assert one["ci_high"] - one["ci_low"] < 0.8 * (other["ci_high"] - other["ci_low"])
    truth = row(both, "ft_under_rag_rag", "all_post")
    assert truth["ci_low"] < 0.20 < truth["ci_high"] and truth["ci_low"] > 0
    assert "RAG-style training on top of retrieval (all new papers)" in between_sizes.reading(both)


def test_verdicts_that_contradict_the_results_or_are_votes_are_not_used(
    two_sizes, tmp_path: Path
) -> None:
    outputs, runs = two_sizes
    changed = json.loads(json.dumps(runs[0]))
    changed["conditions"]["base"]["passed"] += 1
    tables, lacking = between_sizes.verdicts(outputs, [changed])
    assert tables == {} and "not those that its results.json was made from" in lacking[0]
    lines = (outputs / "tiny-xs/judgements.jsonl").read_text()
    (tmp_path / "tiny-xs").mkdir()
    (tmp_path / "tiny-xs/judgements.jsonl").write_text(lines + lines.splitlines()[0] + "\n")
    tables, lacking = between_sizes.verdicts(tmp_path, [runs[0]])
    assert tables == {} and "one for each, are not at hand" in lacking[0]


def test_the_notebook_compares_two_sizes(two_sizes, tmp_path: Path, capsys) -> None:
    """Every cell, on made-up runs: with one size alone most of them have little to show."""
    outputs, _ = two_sizes
    shutil.copytree(outputs, tmp_path / "outputs")
    cells = files.read_json(paths.root() / "notebooks/05_compare_sizes.ipynb")["cells"]
    names = {"output_dir": str(tmp_path / "outputs")}
    for cell in cells:
        if cell["cell_type"] == "code" and cell["id"] != "setup":
            exec("".join(cell["source"]), names)
    assert len(names["between"]) == 13
    assert names["between"]["paired"].all() and names["unpaired"] == []
    folder = tmp_path / "outputs/compare"
    kept = pd.read_csv(folder / "contrasts.csv")
    assert set(kept["size"]) == {"tiny", "tiny-xs", "0.5b"} and len(kept) == 2 * 40 + 2
    text = (folder / "comparison.md").read_text()
    assert "tiny-xs (this repository, n = 480)" in text
    assert "Training on top of retrieval" in text
    assert len(pd.read_csv(folder / "cost.csv")) == 2 and "nan" not in text
