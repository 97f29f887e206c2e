"""The questions of a benchmark: rows of parquet files, checked and with their prompts encoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from router_r1.datasets import Question, check_parquet, kind_of_question
from router_r1.errors import ConfigError
from router_r1.pool import Deal, Shown, offered
from router_r1.prompts import render_messages
from router_r1.rollout.tokens import encode_prompt
from router_r1.settings import RouterSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class PromptedQuestion:
    """One question of a test set, with its prompt."""

    question: Question
    data_source: str
    kind: str  # what the choice of a candidate may depend on: the domain, or else the data source
    index: int  # unique within the data source
    messages: Sequence[Mapping[str, str]]
    place: str  # file and row, for error texts
    cost_weight: float | None = None  # how much cost counts, as the prompt tells it; None if that is not known
    deal: Deal | None = None  # the candidates that the prompt offers; None: the whole pool


def read_test_questions(
    files: Sequence[str | Path], settings: RouterSettings, *, render: bool, limit: int | None
) -> list[PromptedQuestion]:
    """All rows of the files, in order.

    Args:
        render: render every prompt anew from the question; otherwise the prompts of the rows are used as they are.
        limit: at most so many questions of each data source; None for all.

    Raises:
        ConfigError: a file that is no question file, a row without golden answers, or a prompt or deal of another pool.
    """
    import pyarrow.parquet as pq

    questions: list[PromptedQuestion] = []
    places: dict[tuple[str, int], str] = {}
    taken: dict[str, int] = {}
    for file in files:
        check_parquet(file)
        for number, row in enumerate(pq.read_table(file).to_pylist()):
            source = row["data_source"]
            if limit is not None and taken.get(source, 0) >= limit:
                continue
            taken[source] = taken.get(source, 0) + 1
            question = _question(row, f"{file}: row {number}", settings, render)
            first = places.setdefault((source, question.index), question.place)
            if first != question.place:
                remedy = f"is that of {first}, too; name every file once, and give every row an index of its own"
                raise ConfigError(question.place, "extra_info.index", question.index, remedy)
            questions.append(question)
    return questions


def _question(row: dict[str, Any], place: str, settings: RouterSettings, render: bool) -> PromptedQuestion:
    extra, golden = row["extra_info"], row["reward_model"]["ground_truth"]["target"]
    if not golden:
        raise ConfigError(place, "reward_model.ground_truth.target", golden, "must hold at least one golden answer")
    # A method is given the whole pool when it is made, so that no question deals it another.
    deal = None if settings.method else Deal.from_rows(extra.get("candidates"), place)
    if deal is not None:
        deal.check(settings.pool)
    asked = settings.options.cost_weight
    cost_weight = extra.get("cost_weight") if asked is None else asked
    messages = row["prompt"]
    if render:
        cost_weight = settings.cost_weight if cost_weight is None else cost_weight
        messages = render_messages(
            settings.template, settings.pool, extra["question"], deal=deal, cost_weight=cost_weight
        )
    else:
        _check_offers(messages, place, settings, deal)
    question = Question(extra["id"], extra["question"], tuple(golden))
    kind = kind_of_question(row["ability"], row["data_source"])
    return PromptedQuestion(
        question, row["data_source"], kind, extra["index"], messages, place, cost_weight=cost_weight, deal=deal
    )


def _check_offers(
    messages: Sequence[Mapping[str, str]], place: str, settings: RouterSettings, deal: Deal | None
) -> None:
    """See that the prompt offers the candidates of the pool, or those of the question's deal."""
    text = "\n".join(message["content"] for message in messages)
    missing = [name for name in offered(settings.pool, deal).names if name not in text]
    if missing:
        remedy = (
            f"does not offer {missing[0]} of {settings.options.pool}; give --template NAME to write the prompts anew"
        )
        raise ConfigError(place, "prompt", None, remedy)


def offering_only(question: PromptedQuestion, candidate: str, settings: RouterSettings) -> PromptedQuestion:
    """The same question, whose prompt offers one candidate alone, by the name that it is shown by."""
    rows = question.deal.shown if question.deal else ()
    shown = next((one for one in rows if one.candidate == candidate), Shown(candidate, candidate))
    deal = Deal((shown,), question.place)
    messages = render_messages(
        settings.template, settings.pool, question.question.text, deal=deal, cost_weight=question.cost_weight
    )
    return replace(question, deal=deal, messages=messages)


def check_lengths(
    questions: Sequence[PromptedQuestion], tokenizer: PreTrainedTokenizerBase, max_prompt_length: int
) -> None:
    """See, before an engine starts, that every prompt fits.

    Raises:
        ConfigError: for the first that does not.
    """
    for question in questions:
        length = len(encode_prompt(tokenizer, question.messages))
        if length > max_prompt_length:
            remedy = f"has {length} tokens, over max_prompt_length = {max_prompt_length}"
            raise ConfigError(question.place, "prompt", None, remedy)
