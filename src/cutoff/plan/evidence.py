"""What judging costs and what the questions can show."""

from cutoff.evaluate.judging import panel
from cutoff.evaluate.stats import power
from cutoff.experiment import POST_STRATA
from cutoff.params import Params
from cutoff.plan import prices, workload
from cutoff.plan.lines import AMBER, GREEN, PLAIN, RED, Row
from cutoff.plan.workload import Workload
from cutoff.report.wording import label

DISCORDANCE = 0.25  # share of questions on which two conditions disagree
CORRELATION = 0.1  # of questions about one paper
FOUND = (0.10, 0.20)  # a smallest detectable effect up to here is green, amber


def costs(p: Params, work: Workload) -> list[Row]:
    """A row per hosted judge; a model without a known price is said to have none."""
    section, result = "Cost of hosted judges", []
    for judge in panel.members(p):
        if judge.provider not in ("openai", "anthropic"):
            continue
        if p.judge_base_url is not None:
            result.append(Row(section, judge.name, None, "$", "an own server: no price here", PLAIN,
                              "", "judge_base_url"))  # fmt: skip
            continue
        read, written = workload.judge_tokens(p, work, thinking=True)
        known = prices.cost(judge.model, read, written)
        formula = f"{read / 1e6:.1f} M tokens read, at most {written / 1e6:.1f} M written"
        if known is None:
            result.append(Row(section, judge.name, None, "$", "price not known; none is guessed",
                              AMBER, formula, "cutoff.plan.prices"))  # fmt: skip
            continue
        dollars, price = known
        least = read * price.read / 1e6
        text = f"${least:.2f} to ${dollars:.2f} (prices of {price.day})"
        formula += f", at ${price.read:g} and ${price.written:g} per million"
        result.append(Row(section, judge.name, dollars, "$", text, PLAIN, formula, price.source))
    return result


def power_of_questions(p: Params, work: Workload) -> list[Row]:
    """A row per stratum: the smallest difference that its questions find."""
    section = "Smallest difference that is found with 80 % power"
    train = p.n_post_papers - p.n_unseen_papers
    papers = {"seen": train, "unseen_fact": train, "unseen_paper": p.n_unseen_papers,
              "control": p.n_control_papers, "all_post": p.n_post_papers}  # fmt: skip
    counts = {**work.questions, "all_post": sum(work.questions[name] for name in POST_STRATA)}
    result = []
    for stratum, n in counts.items():
        if not n:
            continue
        design = 1 + (max(1.0, n / papers[stratum]) - 1) * CORRELATION
        alone, effect = (
            power.minimum_detectable_effect(size, DISCORDANCE) for size in (n, n / design)
        )
        needed = power.sample_size(power.WORTH_FINDING, DISCORDANCE) * design
        formula = f"Connor at {DISCORDANCE:g} discordance, n / {design:.2f} for papers"
        if effect != effect:
            text, state = f"n = {n}: too few questions", RED
        else:
            text = (
                f"n = {n}: {100 * effect:.1f} points ({100 * alone:.1f} if questions were "
                f"independent); 5 points need {needed:,.0f}"
            )
            state = GREEN if effect <= FOUND[0] else AMBER if effect <= FOUND[1] else RED
        amount = None if effect != effect else 100 * effect
        source = "Connor 1987, Biometrics 43; correlation 0.1 within a paper assumed"
        result.append(Row(section, label(stratum), amount, "points", text, state, formula, source))
    return result
