"""The tiny policy's tokenizer and untrained network."""

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from router_r1.pool import draw_deal, load_pool
from router_r1.prompts import load_template, render_messages
from router_r1.prompts.cost_words import LEVELS
from router_r1.protocol import STOP_STRINGS, render_answer, render_observation, render_search, render_think
from router_r1.rollout.tokens import decode, encode_observation, encode_prompt
from router_r1.sim.tiny_policy.demonstrations import candidate_names
from router_r1.sim.tiny_policy.repetitions import draw_repetition
from router_r1.sim.tiny_policy.vocabulary import graded_words, tokenizer_corpus
from router_r1.sim.tiny_policy.weights import (
    END_OF_TURN,
    PAD,
    START_OF_TURN,
    build_model,
    build_tokenizer,
    token_ids_of,
)
from router_r1.sim.world.facts import NAMES


@pytest.fixture(scope="module")
def pool(project_root):
    return load_pool(project_root / "configs/pools/dealt.yaml")


@pytest.fixture(scope="module")
def tokenizer(pool):
    return build_tokenizer(tokenizer_corpus(pool, load_template("tiny")), (*candidate_names(pool), *NAMES))


@pytest.fixture(scope="module")
def model(tokenizer):
    return build_model(tokenizer, seed=0)


@pytest.fixture(scope="module")
def saved(tokenizer, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("policy")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "text", ["", " ", "\n\n ", "Zoë's 日本 🙂", " Omni-72B", "Omni-72B", "</search>", "a  b\t<think>x", "\u200b\x00"]
)
def test_any_text_decodes_to_itself(tokenizer, text):
    assert decode(tokenizer, tokenizer.encode(text, add_special_tokens=False)) == text


@given(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from(NAMES))
def test_any_text_around_a_name_decodes_to_itself(tokenizer, text, name):
    text = f"{text} {name}{text}"
    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_names_and_tags_are_single_tokens_and_not_special(tokenizer, pool):
    names = (*candidate_names(pool), *NAMES)
    ids = token_ids_of(tokenizer, names)
    assert [tokenizer.encode(f" {name}", add_special_tokens=False) for name in names] == [[i] for i in ids]
    assert not set(ids) & set(tokenizer.all_special_ids)
    for stop in STOP_STRINGS:
        assert len(tokenizer.encode(f" {stop}", add_special_tokens=False)) == 1
        assert tokenizer.decode(tokenizer.encode(stop), skip_special_tokens=True) == stop


def test_words_of_the_world_are_single_tokens(tokenizer):
    think, search = (
        render_think(
            "Here directed is about film, specialist light, generalist expert. In this question cost counts little. "
            "Ask specialist film light Nova."
        ),
        render_search("Nova", f"Who directed {NAMES[0]}?"),
    )
    assert len(tokenizer.encode(f"{think}\n{search}")) == 27 + 1 + 8


def test_a_turn_and_an_observation_meet_at_a_token_border(tokenizer, pool):
    turn, body = render_search("Nova", "Who?"), f"{NAMES[0]} directed {NAMES[1]}."
    observation, text = encode_observation(tokenizer, body, 64)
    assert text == render_observation(body)
    pieces = [*tokenizer.encode(turn), *observation, *tokenizer.encode(render_answer(NAMES[0]))]
    assert pieces == tokenizer.encode(turn + text + render_answer(NAMES[0]))


def test_the_prompt_has_the_control_tokens_of_the_chat_template(tokenizer, pool):
    offered = draw_deal(pool, 0).pool(pool)
    ids = encode_prompt(
        tokenizer, render_messages(load_template("tiny"), offered, "Who directed Bakor?", cost_weight=0.4)
    )
    text = tokenizer.decode(ids)
    first = offered.candidates[0]
    assert text.startswith(f"{START_OF_TURN}user\nCandidates: {first.descriptor} {first.name};")
    assert "\nIn this question cost counts some.\n" in text
    assert text.endswith(f"Who directed Bakor?{END_OF_TURN}\n{START_OF_TURN}assistant\n")
    assert ids[0] == tokenizer.convert_tokens_to_ids(START_OF_TURN)
    assert len(ids) < 70


def test_padding_is_not_the_end_of_a_turn(tokenizer, model):
    assert (tokenizer.pad_token, tokenizer.eos_token) == (PAD, END_OF_TURN)
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id != tokenizer.pad_token_id


def test_control_tokens_in_a_reply_are_plain_characters(tokenizer):
    ids, text = encode_observation(tokenizer, f"x{END_OF_TURN}{PAD}", 64)
    assert not set(ids) & set(tokenizer.all_special_ids)
    assert f"{END_OF_TURN}{PAD}" in text


def test_a_name_that_is_not_ascii_is_refused():
    with pytest.raises(ValueError, match="ASCII"):
        build_tokenizer(["some text"], ["Zoë"])


def test_the_network_is_a_small_plain_qwen2(model, tokenizer):
    config = model.config
    assert config.model_type == "qwen2"
    assert config.tie_word_embeddings
    assert config.max_position_embeddings >= 2048
    assert 0.5e6 < sum(p.numel() for p in model.parameters()) < 3e6
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert config.vocab_size == len(tokenizer)


def test_the_saved_folder_loads_to_the_same_policy(saved, model, tokenizer):
    assert sum(file.stat().st_size for file in saved.iterdir()) < 8e6
    loaded, reread = AutoModelForCausalLM.from_pretrained(saved), AutoTokenizer.from_pretrained(saved)
    text = f"{render_think('Zoë')} {NAMES[3]} {STOP_STRINGS[0]}"
    ids = tokenizer.encode(text)
    assert reread.encode(text) == ids
    assert reread.chat_template == tokenizer.chat_template
    with torch.no_grad():
        assert torch.equal(loaded(torch.tensor([ids])).logits, model(torch.tensor([ids])).logits)


def test_the_seed_decides_tokenizer_and_weights(pool, tokenizer, model):
    again = build_tokenizer(tokenizer_corpus(pool, load_template("tiny")), (*candidate_names(pool), *NAMES))
    assert again.get_vocab() == tokenizer.get_vocab()
    before = torch.random.get_rng_state()
    same, other = build_model(again, seed=0).state_dict(), build_model(again, seed=1).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(weight, same[key]) for key, weight in model.state_dict().items())
    assert not torch.equal(other["model.embed_tokens.weight"], same["model.embed_tokens.weight"])


def test_graded_words_lie_in_order_along_a_line(tokenizer):
    graded = graded_words()
    assert [*graded] == [*LEVELS.values()]
    assert [*graded.values()] == sorted(graded.values())
    embeddings = build_model(tokenizer, seed=0, graded_words=graded).model.embed_tokens.weight.detach()
    plain = build_model(tokenizer, seed=0).model.embed_tokens.weight.detach()
    shift = (embeddings - plain)[token_ids_of(tokenizer, [*graded])]
    line = shift[-1] / shift[-1].norm()
    places = torch.tensor([*graded.values()])
    assert torch.allclose(shift @ line, places / places[-1] * shift[-1].norm(), atol=1e-5)
    others = [i for i in range(len(tokenizer)) if i not in token_ids_of(tokenizer, [*graded])]
    assert torch.equal(embeddings[others], plain[others])


def test_the_untrained_network_already_copies(model, tokenizer):
    """Without the placed heads, a right next token of a repetition would be one in two thousand."""
    rng = random.Random(0)
    examples = [draw_repetition(rng, range(3, len(tokenizer)), 64) for _ in range(32)]
    ids = torch.tensor([example.ids for example in examples])
    trained = torch.tensor([example.trained for example in examples])[:, 1:]
    with torch.no_grad():
        guess = model(ids).logits[:, :-1].argmax(-1)
    assert (guess == ids[:, 1:])[trained].float().mean() > 0.2
