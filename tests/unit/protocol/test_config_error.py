"""One line for what pydantic found wrong, without anything secret in it."""

from __future__ import annotations

import pickle

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from router_r1.errors import ConfigError, config_error


class Limits(BaseModel):
    model_config = ConfigDict(extra="forbid")
    rpm: int = Field(ge=1)


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = "x"
    api_key_env: int = 0
    limits: list[Limits] = []

    @field_validator("name")
    @classmethod
    def _no_colon(cls, name: str) -> str:
        if ":" in name:
            raise ValueError("must hold no colon")
        return name


def error_of(data: object) -> ConfigError:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(data)
    return config_error("pool.yaml", caught.value)


def test_it_names_source_key_value_and_remedy():
    error = error_of({"limits": [{"rpm": 3}, {"rpm": 0}]})
    assert str(error) == "pool.yaml: limits[1].rpm = 0: Input should be greater than or equal to 1"
    assert (error.key, error.value) == ("limits[1].rpm", 0)


def test_a_validators_own_words_are_the_remedy():
    assert str(error_of({"name": "a:b"})) == "pool.yaml: name = 'a:b': must hold no colon"


def test_a_misspelt_key_is_told_before_the_missing_one_and_further_faults_are_counted():
    assert str(error_of({"limits": [{"rpms": 3}]})) == "pool.yaml: limits[0].rpms: unknown key (and 1 more)"


@pytest.mark.parametrize(
    "data",
    [
        {"api_key": "sk-secret"},
        {"api_key_env": "sk-secret"},
        {"limits": [{"key": "sk-secret"}]},
        {"limits": {"token": "sk-secret"}},
        ["sk-secret"],
    ],
)
def test_a_secret_in_the_wrong_place_is_not_shown(data):
    error = error_of(data)
    assert "sk-secret" not in str(error) + repr(error)


def test_it_is_one_line_and_survives_pickling():
    error = error_of({"name": "a:\nb" * 100})
    assert "\n" not in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
