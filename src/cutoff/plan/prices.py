"""What hosted judges cost: prices as data, with the day they were read and where.

Prices change; the report names the day. A model that is not in the table has no price here,
and none is guessed from its name.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens read and written."""

    read: float
    written: float
    day: str
    source: str


_OPENAI = (
    "2026-03-21",
    "OpenAI's price page, via deploybase.ai/articles/openai-pricing",
)
_ANTHROPIC = ("2026-10-10", "platform.claude.com/docs/en/about-claude/pricing, via docs.rs/synaps")
PRICES = {
    "gpt-4o": Price(2.50, 10.00, *_OPENAI),
    "gpt-4o-mini": Price(0.15, 0.60, *_OPENAI),
    "gpt-4.1": Price(2.00, 8.00, *_OPENAI),
    "gpt-4.1-mini": Price(0.40, 1.60, *_OPENAI),
    "gpt-4.1-nano": Price(0.10, 0.40, *_OPENAI),
    "gpt-5": Price(1.25, 10.00, *_OPENAI),
    "gpt-5-mini": Price(0.25, 2.00, *_OPENAI),
    "gpt-5-nano": Price(0.05, 0.40, *_OPENAI),
    "gpt-5.1": Price(1.25, 10.00, *_OPENAI),
    "gpt-5.4": Price(2.50, 15.00, *_OPENAI),
    "o3": Price(2.00, 8.00, *_OPENAI),
    "o4-mini": Price(1.10, 4.40, *_OPENAI),
    "claude-haiku-4-5": Price(1.00, 5.00, *_ANTHROPIC),
    "claude-sonnet-4-5": Price(3.00, 15.00, *_ANTHROPIC),
    "claude-sonnet-4-6": Price(3.00, 15.00, *_ANTHROPIC),
    "claude-sonnet-5": Price(2.00, 10.00, *_ANTHROPIC),
    "claude-sonnet-5-5": Price(2.00, 10.00, *_ANTHROPIC),
    "claude-opus-4-5": Price(5.00, 25.00, *_ANTHROPIC),
    "claude-opus-5": Price(5.00, 25.00, *_ANTHROPIC),
    "claude-opus-5-5": Price(4.00, 20.00, *_ANTHROPIC),
}


def cost(model: str, read: int, written: int) -> tuple[float, Price] | None:
    """Dollars for ``read`` and ``written`` tokens with the price used; None: price not known."""
    price = PRICES.get(model.strip().lower())
    if price is None:
        return None
    return (read * price.read + written * price.written) / 1e6, price
