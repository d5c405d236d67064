"""The same question is the same text on every side."""

from cutoff import prompts


def test_prompts_hold_composed_text_without_blanks_around_it() -> None:
    decomposed = " cafe\u0301?\n"
    [_, closed] = prompts.render_closed_book(decomposed)
    assert closed["content"] == "Question: caf\u00e9?"
    [_, rag] = prompts.render_rag(decomposed, ["  A nai\u0308ve one. ", "B."])
    assert rag["content"] == "Passages:\n[1] A na\u00efve one.\n[2] B.\nQuestion: caf\u00e9?"


def test_the_system_texts_are_already_in_that_form() -> None:
    for text in (prompts.SYSTEM_CLOSED_BOOK, prompts.SYSTEM_RAG):
        assert prompts.plain(text) == text
