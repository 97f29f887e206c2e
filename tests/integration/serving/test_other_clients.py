"""Clients other than OpenAI's own, each as its documentation shows it."""

from __future__ import annotations

import pytest

from tests.integration.serving.conftest import QUESTION, reply_to


async def test_langchain_gets_answers_whole_and_streamed(serve):
    chat_openai = pytest.importorskip("langchain_openai").ChatOpenAI
    async with serve() as served:
        model = chat_openai(base_url=f"{served.url}/v1", api_key="any", model="router-r1", max_retries=0)
        whole = await model.ainvoke(QUESTION)
        pieces = [chunk async for chunk in model.astream([("system", "Be brief."), ("human", QUESTION)])]
    assert whole.content == reply_to(QUESTION)
    assert whole.usage_metadata["output_tokens"] > 0
    assert whole.response_metadata["finish_reason"] == "stop"
    assert "".join(piece.content for piece in pieces)
    assert len(pieces) > 2


@pytest.mark.filterwarnings("ignore")  # its own
async def test_litellm_gets_answers_and_reasoning_whole_and_streamed(serve, monkeypatch):
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # it would ask another machine for prices
    litellm = pytest.importorskip("litellm")
    async with serve() as served:
        asked = {"model": "openai/router-r1", "api_base": f"{served.url}/v1", "api_key": "any", "num_retries": 0}
        messages = [{"role": "user", "content": QUESTION}]
        whole = await litellm.acompletion(**asked, messages=messages)
        stream = await litellm.acompletion(**asked, messages=messages, stream=True)
        deltas = [chunk.choices[0].delta async for chunk in stream]
    message = whole.choices[0].message
    assert (message.content, whole.choices[0].finish_reason) == (reply_to(QUESTION), "stop")
    assert "Ask specialist science expert Newton-8B" in message.reasoning_content
    assert "".join(delta.content or "" for delta in deltas) == reply_to(QUESTION)
    reasoning = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    assert reasoning == message.reasoning_content
