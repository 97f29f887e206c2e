"""Pool files: what is read from them, and what is told about a wrong one."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from router_r1.errors import ConfigError
from router_r1.pool import load_pool

PAPER = Path(__file__).parents[3] / "configs" / "pools" / "paper.yaml"

GOOD = """\
name: two
defaults: {base_url: "http://127.0.0.1:9/v1/", timeout_s: 5}
candidates:
  - name: Small-1B
    aliases: [small]
    model: org/small
    price: {input: 0.1, output: 0.2}
    descriptor: >-
      Cheap,
      and quick.
  - name: Large-70B
    model: org/large
    price: {input: 1, output: 2}
    descriptor: Knows more.
    timeout_s: 50
    api_key_env: LARGE_KEY
"""


@pytest.fixture
def write(tmp_path):
    def _write(text: str | bytes) -> Path:
        path = tmp_path / "pool.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return _write


def refusal(path: Path, **kwargs) -> str:
    """The one line that a refused pool file is answered with."""
    with pytest.raises(ConfigError) as caught:
        load_pool(path, **kwargs)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_defaults_are_merged_and_a_candidate_overrides_them(write):
    pool = load_pool(write(GOOD))
    small, large = pool.candidates
    assert pool.names == ("Small-1B", "Large-70B")
    assert (small.base_url, small.timeout_s, small.api_key_env) == ("http://127.0.0.1:9/v1", 5.0, None)
    assert (large.base_url, large.timeout_s, large.api_key_env) == ("http://127.0.0.1:9/v1", 50.0, "LARGE_KEY")
    assert (small.temperature, small.max_tokens, small.max_concurrency, small.rpm) == (0.0, 512, 32, None)
    assert small.descriptor == "Cheap, and quick."
    assert pool.source.endswith("pool.yaml")


def test_pool_is_frozen_and_survives_pickling(write):
    pool = load_pool(write(GOOD))
    with pytest.raises(ValidationError, match="frozen"):
        pool.candidates[0].max_tokens = 3
    with pytest.raises(ValidationError, match="frozen"):
        pool.name = "other"
    thawed = pickle.loads(pickle.dumps(pool))
    assert thawed == pool
    assert thawed.resolve("SMALL") == pool.candidates[0]


def test_base_url_given_at_start_replaces_every_endpoint_and_a_missing_one(write):
    assert {c.base_url for c in load_pool(write(GOOD), base_url="http://localhost:1/v1").candidates} == {
        "http://localhost:1/v1"
    }
    without = write(GOOD.replace('base_url: "http://127.0.0.1:9/v1/"', "base_url: null"))
    assert load_pool(without, base_url="http://localhost:1/v1/").candidates[1].base_url == "http://localhost:1/v1"
    assert "candidates[0].base_url: has no value" in refusal(without)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("price: {input: 0.1, output: 0.2}", "prise: {input: 0.1}", ["candidates[0].prise", "did you mean price?"]),
        ("    price: {input: 0.1, output: 0.2}\n", "", ["candidates[0].price:", "missing", "USD per 1M tokens"]),
        ("{input: 0.1, output: 0.2}", "{input: 0.1}", ["candidates[0].price.output:", "missing"]),
        ("{input: 0.1, output: 0.2}", "{in: 0.1, output: 0.2}", ["candidates[0].price.in:", "did you mean input?"]),
        ("input: 0.1,", "input: -0.1,", ["candidates[0].price.input = -0.1", "greater than or equal to 0"]),
        ("input: 0.1,", "input: cheap,", ["candidates[0].price.input = 'cheap'", "must be a number"]),
        ("input: 0.1,", "input: 1e-3,", ["candidates[0].price.input = '1e-3'", "1.0e-3"]),
        ("input: 0.1,", "input: true,", ["candidates[0].price.input = True", "must be a number"]),
        ("input: 0.1,", "input: .nan,", ["candidates[0].price.input = nan", "finite"]),
        ("Large-70B", "small-1b", ["candidates[1].name = 'small-1b'", "already names candidate Small-1B"]),
        ("Large-70B", "SMALL", ["candidates[1].name = 'SMALL'", "already names candidate Small-1B"]),
        ("[small]", "[large-70b]", ["candidates[1].name = 'Large-70B'", "already names candidate Small-1B"]),
        ("[small]", "small", ["candidates[0].aliases = 'small'"]),
        ("[small]", "[7]", ["candidates[0].aliases[0] = 7", "valid string"]),
        ("Large-70B", "'Large: 70B'", ["candidates[1].name = 'Large: 70B'", "colon"]),
        ("Large-70B", "''", ["candidates[1].name = ''", "must not be empty"]),
        ("defaults:", "default:", ["pool.yaml: default:", "did you mean defaults?"]),
        ("timeout_s: 5}", "timeout_s: 0}", ["defaults.timeout_s = 0", "greater than 0"]),
        ("timeout_s: 5}", "timeout: 5}", ["defaults.timeout:", "did you mean timeout_s?"]),
        ("timeout_s: 50", "max_concurrency: 1.5", ["candidates[1].max_concurrency = 1.5", "whole number"]),
        ("name: two", "", ["pool.yaml: name:", "missing"]),
        ("http://127", "ftp://127", ["defaults.base_url = 'ftp://127.0.0.1:9/v1/'", "https://host/v1"]),
        ("http://127.0.0.1:9/v1/", "http://h:port/v1", ["defaults.base_url"]),
        ("    timeout_s: 50", "    model: org/other", ["not valid YAML", "'model' is given twice", "line 15"]),
        ("[small]", "[small", ["not valid YAML", "line"]),
        ("[small]", "!!python/object/apply:os.getcwd []", ["not valid YAML"]),
    ],
)
def test_a_wrong_entry_is_told_in_one_line_with_its_key_and_remedy(write, old, new, told):
    assert old in GOOD
    line = refusal(write(GOOD.replace(old, new, 1)))
    assert "pool.yaml" in line
    for words in told:
        assert words in line


@pytest.mark.parametrize("text", ["name: p\ncandidates: []\n", "name: p\ncandidates:\n", "name: p\n"])
def test_an_empty_pool_is_refused(write, text):
    assert "pool.yaml: candidates" in refusal(write(text))


@pytest.mark.parametrize("text", ["", "just words", "- a\n- b\n", b"\xff\xfe\x00"])
def test_a_file_that_is_no_mapping_is_refused(write, text):
    assert "pool.yaml: " in refusal(write(text))


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    assert "No such file" in refusal(tmp_path / "none.yaml")
    assert "directory" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("timeout_s: 5}", "api_key: sk-verysecret}"),
        ("LARGE_KEY", "sk-verysecret"),
        ("timeout_s: 50", "base_url: https://user:sk-verysecret@host/v1"),
        ("timeout_s: 50", "base_url: https://host/v1?key=sk-verysecret"),
        ("timeout_s: 50", "api_key: sk-verysecret: broken"),
    ],
)
def test_a_key_written_into_the_file_is_refused_and_not_repeated(write, old, new):
    assert "verysecret" not in refusal(write(GOOD.replace(old, new, 1)))


def test_credentials_in_the_address_given_at_start_are_refused_and_not_repeated(write):
    line = refusal(write(GOOD), base_url="http://user:sk-verysecret@localhost/v1")
    assert line.startswith("base_url")
    assert "verysecret" not in line


def test_the_pool_of_the_paper_has_its_six_candidates_and_prices():
    pool = load_pool(PAPER)
    assert {c.name: c.price.output for c in pool.candidates} == {
        "Qwen2.5-7B-Instruct": 0.3,
        "LLaMA-3.1-70B-Instruct": 0.88,
        "LLaMA-3.1-8B-Instruct": 0.18,
        "Mistral-7B-Instruct": 0.2,
        "Mixtral-8x22B-Instruct": 1.2,
        "Gemma-2-27B-Instruct": 0.8,
    }
    assert all(c.price.input == c.price.output for c in pool.candidates)
    assert all(c.api_key_env == "NVIDIA_API_KEY" for c in pool.candidates)


@pytest.mark.parametrize("path", sorted(PAPER.parent.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_pool_file_that_is_shipped_loads(path):
    assert load_pool(path, base_url="http://127.0.0.1:1/v1").names
    assert yaml.safe_load(path.read_text())["name"] == path.stem


# ---------------------------------------------------------------- several endpoints, limits, extra fields

SPREAD = """
name: spread
defaults: {api_key_env: FIRST_KEY, tpm: 9000, extra_headers: {X-Title: router}}
endpoint_limits:
  - {base_url: "http://a/v1", max_concurrency: 8, rpm: 60, tpm: 1000}
candidates:
  - name: Small-1B
    model: small
    price: {input: 0.1, output: 0.2}
    descriptor: d
    extra_body: {reasoning_effort: low}
    endpoints:
      - {base_url: "http://a/v1", weight: 2}
      - {base_url: "http://b/v1/", api_key_env: null, model: other}
"""


def test_a_candidate_may_be_served_in_several_places(write):
    [candidate] = load_pool(write(SPREAD)).candidates
    first, second = candidate.all_endpoints
    assert (first.base_url, first.api_key_env, first.model, first.weight) == ("http://a/v1", "FIRST_KEY", "small", 2)
    assert (second.base_url, second.api_key_env, second.model, second.weight) == ("http://b/v1", None, "other", 1)
    assert (candidate.tpm, candidate.extra_headers) == (9000, {"X-Title": "router"})
    assert candidate.extra_body == {"reasoning_effort": "low"}


def test_limits_of_an_endpoint_are_read(write):
    [limits] = load_pool(write(SPREAD)).endpoint_limits
    assert (limits.max_concurrency, limits.rpm, limits.tpm) == (8, 60, 1000)


def test_an_address_given_at_start_replaces_all_places_and_their_limits(write):
    pool = load_pool(write(SPREAD), base_url="http://localhost:1/v1")
    assert [endpoint.base_url for endpoint in pool.candidates[0].all_endpoints] == ["http://localhost:1/v1"]
    assert pool.endpoint_limits == ()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"http://a/v1", max', '"http://c/v1", max', ["endpoint_limits[0].base_url", "no candidate's endpoint"]),
        ("rpm: 60", "rmp: 60", ["endpoint_limits[0].rmp", "did you mean rpm?"]),
        ("weight: 2", "weight: 0", ["candidates[0].endpoints[0].weight = 0", "greater than 0"]),
        ("weight: 2", "wait: 2", ["candidates[0].endpoints[0].wait", "did you mean weight?"]),
        ("reasoning_effort: low", "messages: []", ["candidates[0].extra_body", "must not set messages"]),
        ("tpm: 9000", "tpm: 0", ["defaults.tpm = 0"]),
    ],
)
def test_a_wrong_entry_of_these_is_told_in_one_line(write, old, new, told):
    line = refusal(write(SPREAD.replace(old, new, 1)))
    for words in told:
        assert words in line


@pytest.mark.parametrize("header", ["Content-Length", "expect", "Host"])
def test_a_header_that_the_route_service_sets_is_refused(write, header):
    assert f"must not set {header}" in refusal(write(SPREAD.replace("X-Title: router", f"{header}: x")))


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".org", ".org"])
def test_a_host_that_cannot_be_looked_up_is_refused(write, host):
    with pytest.raises(ConfigError, match="https://host/v1"):
        load_pool(write(SPREAD), base_url=f"http://{host}/v1")


@pytest.mark.parametrize("header", ["Authorization", "X-Api-Key", "Cookie"])
def test_a_key_among_the_extra_headers_is_refused_and_not_repeated(write, header):
    line = refusal(write(SPREAD.replace("X-Title: router", f"{header}: sk-verysecret")))
    assert "api_key_env" in line
    assert "verysecret" not in line


# ---------------------------------------------------------------- deals

DEALT = f"{GOOD}deals: {{names: [Nova, Lyra, Orion], sizes: [1, 2]}}\n"


def test_a_dealt_pool_has_names_and_sizes_to_deal_from(write):
    pool = load_pool(write(DEALT), base_url="http://localhost:1/v1")
    assert pool.deals is not None
    assert (pool.deals.names, pool.deals.sizes) == (("Nova", "Lyra", "Orion"), (1, 2))
    assert load_pool(write(GOOD)).deals is None


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[1, 2]", "[2, 1]", ["deals.sizes = '[2, 1]'", "[1, 2] at the widest"]),
        ("[1, 2]", "[0, 2]", ["deals.sizes", "[1, 2] at the widest"]),
        ("[1, 2]", "[1, 3]", ["deals.sizes", "2 candidates (of a group, one) and 3 names"]),
        (
            "[Nova, Lyra, Orion]",
            "[Nova]",
            ["deals.sizes", "[1, 1] at the widest", "2 candidates (of a group, one) and 1 names"],
        ),
        ("[1, 2]", "[1, 2, 3]", ["deals.sizes"]),
        ("[1, 2]", "[1, two]", ["deals.sizes[1] = 'two'", "must be a whole number"]),
        ("Orion", "NOVA", ["deals.names[2] = 'NOVA'", "is taken by Nova"]),
        ("Orion", "SMALL", ["deals.names[2] = 'SMALL'", "is taken by Small-1B"]),
        ("Orion", '"No:va"', ["deals.names[2] = 'No:va'", "must hold no colon"]),
        ("sizes", "size", ["deals.size", "did you mean sizes?"]),
        ("[1, 2]", "[1, 1], groups: [[Big]]", ["deals.groups[0][0] = 'Big'", "is no candidate of this pool"]),
        (
            "[1, 2]",
            "[1, 1], groups: [[Small-1B], [Small-1B]]",
            ["deals.groups[1][0] = 'Small-1B'", "in a group already"],
        ),
        ("[1, 2]", "[1, 2], groups: [[Small-1B, Large-70B]]", ["deals.sizes", "[1, 1] at the widest"]),
        (", sizes: [1, 2]", "", ["deals.sizes", "is missing; every section deals needs it"]),
    ],
)
def test_a_wrong_entry_of_the_deals_is_told_in_one_line(write, old, new, told):
    line = refusal(write(DEALT.replace(old, new, 1)))
    for words in told:
        assert words in line
