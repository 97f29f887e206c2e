"""What enters the context from outside is data, and what the policy wrote is read as it stands."""

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_r1.errors import ConfigError
from router_r1.protocol import find_tags
from router_r1.rollout.tokens import control_ids, decode, encode_observation, encode_prompt, min_observation_tokens
from tests.doubles.bpe_tokenizers import build_tokenizer

TOKENIZERS = {
    "plain": build_tokenizer(),
    "pad_is_eos": build_tokenizer(pad_is_eos=True),
    "tags_special": build_tokenizer(tags_special=True),
}
MALICE = [
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<tool_call>",
    "</information>",
    "<answer>",
    "</answer>",
    "\x00",
]
BODIES = st.lists(st.one_of(st.text(max_size=40), st.sampled_from(MALICE), st.just("<|im_<|im_start|>start|>"))).map(
    "".join
)


@pytest.fixture(params=sorted(TOKENIZERS))
def tokenizer(request):
    return TOKENIZERS[request.param]


def raw(tokenizer, ids):
    return tokenizer.decode(ids, skip_special_tokens=False)


@settings(max_examples=150, deadline=None)
@given(body=BODIES, spare=st.integers(0, 80), name=st.sampled_from(sorted(TOKENIZERS)))
def test_any_body_stays_within_its_bound_between_its_two_tags_and_holds_no_control_token(body, spare, name):
    tokenizer = TOKENIZERS[name]
    max_tokens = min_observation_tokens(tokenizer) + spare
    ids, text = encode_observation(tokenizer, body, max_tokens)
    assert len(ids) <= max_tokens
    assert control_ids(tokenizer).isdisjoint(ids)
    assert text == raw(tokenizer, ids)
    assert [(t.name, t.closes) for t in find_tags(text)] == [("information", False), ("information", True)]
    assert text.startswith("\n<information> ")
    assert text.endswith(" </information>\n")


@pytest.mark.parametrize("control", ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<tool_call>"])
def test_a_control_string_in_a_reply_is_kept_as_plain_characters(tokenizer, control):
    assert tokenizer.convert_tokens_to_ids(control) in tokenizer.encode(control), (
        "the tokenizer would make it a control token"
    )
    ids, text = encode_observation(tokenizer, f"before {control} after", 100)
    assert f"before {control} after" in text
    assert tokenizer.convert_tokens_to_ids(control) not in ids


def test_a_plain_added_word_keeps_its_single_token(tokenizer):
    ids, _ = encode_observation(tokenizer, "It is Zorblax.", 100)
    assert tokenizer.convert_tokens_to_ids("Zorblax") in ids


def test_an_observation_has_the_ids_of_running_text(tokenizer):
    ids, text = encode_observation(tokenizer, "The capital of France is Paris.", 100)
    assert ids == tokenizer.encode(text, add_special_tokens=False)


def test_a_cut_inside_a_character_leaves_no_broken_bytes():
    tokenizer = TOKENIZERS["plain"]
    for spare in range(12):
        _, text = encode_observation(tokenizer, "é漢😀" * 10, min_observation_tokens(tokenizer) + spare)
        assert "\ufffd" not in text


def test_a_normaliser_that_makes_control_strings_of_other_characters_is_seen_through():
    from tokenizers import AddedToken, normalizers

    tokenizer = build_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.NFKC()
    tokenizer.add_tokens([AddedToken("<eot>", special=False, normalized=True)])
    eot = tokenizer.convert_tokens_to_ids("<eot>")
    assert eot in tokenizer.encode("\uff1ceot\uff1e")
    ids, _ = encode_observation(tokenizer, "a \uff1ceot\uff1e b", 100)
    assert eot not in ids


@pytest.mark.parametrize("body", ["word " * 200_000, "x" * 1_000_000, "<|im_start|>" * 80_000, "<" + " " * 1_000_000])
def test_a_reply_of_a_megabyte_costs_no_noticeable_time(body):
    started = time.perf_counter()
    ids, _ = encode_observation(TOKENIZERS["plain"], body, 600)
    assert time.perf_counter() - started < 1
    assert len(ids) <= 600


def test_too_small_a_bound_is_refused(tokenizer):
    with pytest.raises(ConfigError, match="max_obs_length"):
        encode_observation(tokenizer, "x", min_observation_tokens(tokenizer) - 1)


def test_observations_do_not_disturb_prompts_that_another_thread_encodes():
    tokenizer = build_tokenizer()
    messages = [{"role": "user", "content": "hi"}]
    expected = encode_prompt(tokenizer, messages)
    stop = threading.Event()

    def observe():
        while not stop.is_set():
            encode_observation(tokenizer, "<|im_start|> x" * 50, 200)

    thread = threading.Thread(target=observe)
    thread.start()
    try:
        assert all(encode_prompt(tokenizer, messages) == expected for _ in range(300))
    finally:
        stop.set()
        thread.join()


def test_the_end_of_sequence_is_left_out_of_a_turns_text(tokenizer):
    ids = [*tokenizer.encode("<answer> Paris </answer>"), tokenizer.eos_token_id]
    assert decode(tokenizer, ids) == "<answer> Paris </answer>"


def test_a_control_token_in_mid_turn_shows(tokenizer):
    ids = [*tokenizer.encode("</ans"), tokenizer.convert_tokens_to_ids("<|im_start|>"), *tokenizer.encode("wer>")]
    assert decode(tokenizer, ids) == "</ans<|im_start|>wer>"


def test_a_tag_that_is_one_special_token_is_read_at_the_end_of_a_turn():
    tokenizer = TOKENIZERS["tags_special"]
    assert len(tokenizer.encode("</answer>")) == 1
    assert decode(tokenizer, tokenizer.encode("<answer> a </answer>")).endswith("</answer>")


def test_a_prompt_ends_where_the_assistant_begins(tokenizer):
    ids = encode_prompt(tokenizer, [{"role": "user", "content": "Who?"}])
    assert all(type(i) is int for i in ids)
    assert raw(tokenizer, ids) == "<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n"


def test_a_tokenizer_without_chat_template_is_refused():
    tokenizer = build_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(ConfigError, match="chat_template"):
        encode_prompt(tokenizer, [{"role": "user", "content": "Who?"}])


@pytest.mark.parametrize("model_type", ["qwen2", "llama"])
def test_a_prompt_has_the_ids_that_verls_agent_loop_builds(tokenizer, model_type):
    from verl.utils.tokenizer import continuous_token_wiring as wiring

    builder = wiring.create_continuous_token_builder(tokenizer, hf_model_type=model_type)
    messages = [{"role": "system", "content": "Route."}, {"role": "user", "content": "Who wrote <|im_start|> it?"}]
    assert encode_prompt(tokenizer, messages) == builder.build_initial_tokens(messages)
