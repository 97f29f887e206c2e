"""The routing pool as typed, frozen records: what one candidate is, and how a name written by the policy finds it.

Invariants:

- names and aliases are unique over the pool in their canonical form (`pool.names`), so that a written name means one
  candidate or none; a model id means one only where no other candidate has it, or is named like it;
- every candidate has a price;
- a dealt pool has names and candidates for every deal that may be drawn;
- the records hold the NAME of the environment variable with the API key, never the key: they may be logged and pickled.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, model_validator
from pydantic_core import PydanticCustomError

from router_r1.plugins import anchored
from router_r1.pool.messages import Message, MessageTemplate, SystemTemplate, fill
from router_r1.pool.names import canonical
from router_r1.protocol import letters_of


def _single_spaced(text: str) -> str:
    text = " ".join(text.split())
    if not text:
        raise PydanticCustomError("empty", "must not be empty")
    return text


def _writable(name: str) -> str:
    """A name must survive a search, which ends at its tag and splits at its first colon, and hold what is compared."""
    if not letters_of(name):
        raise PydanticCustomError("name", "must hold a letter or digit")
    if re.search(r"[:<>{}]", name):
        raise PydanticCustomError("name", "must hold no colon, angle bracket or brace, or a search could not be read")
    return name


def _base_url(url: str) -> str:
    """An http(s) address without credentials, query or fragment; a trailing slash is dropped."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as fault:
        raise PydanticCustomError("url", "is not an address: {fault}", {"fault": str(fault)}) from fault
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise PydanticCustomError(
            "secret", "must hold no user, password or query; name the variable with the key in api_key_env"
        )
    if parts.scheme not in ("http", "https") or not host or not _is_host(host):
        raise PydanticCustomError("url", "must look like https://host/v1")
    return url.rstrip("/")


def _is_host(name: str) -> bool:
    """Whether it can be looked up: no label of it is empty, or longer than the 63 bytes of RFC 1035."""
    try:
        name.encode("idna")
    except UnicodeError:
        return False
    return True


def _variable(name: str) -> str:
    # The value is not shown: somebody may have put the key itself here.
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
        raise PydanticCustomError(
            "secret", "must be the NAME of an environment variable, in capitals like NVIDIA_API_KEY; never a key"
        )
    return name


def _adapter(written: str) -> str:
    """A name or dotted path; a file's is made absolute, for a process that asks from another folder."""
    if not written.strip():
        raise PydanticCustomError("empty", "must not be empty; leave it out for OpenAI's API")
    try:
        return anchored(written.strip())
    except RuntimeError as fault:  # a ~user whom there is not
        raise PydanticCustomError("path", "is not a path: {fault}", {"fault": str(fault)}) from fault


_KEY_LIKE = re.compile(r"authorization|cookie|key|token|secret|password", re.IGNORECASE)
_OWN_HEADERS = {"connection", "content-encoding", "content-length", "expect", "host", "transfer-encoding", "upgrade"}
_OWN_FIELDS = {"model", "messages", "temperature", "max_tokens", "stream", "n"}


def _extra_headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if _KEY_LIKE.search(name):
            raise PydanticCustomError("secret", "must hold no key; name the variable with the key in api_key_env")
        if name.casefold() in _OWN_HEADERS:
            raise PydanticCustomError("header", "must not set {name}: the route service does", {"name": name})
        if not re.fullmatch(r"[A-Za-z0-9-]+", name) or not re.fullmatch(r"[\x20-\x7e]*", value):
            raise PydanticCustomError("header", "must map header names to one line of ASCII each")
    return headers


def _extra_body(body: dict[str, Any]) -> dict[str, Any]:
    if taken := sorted(_OWN_FIELDS & set(body)):
        raise PydanticCustomError("field", "must not set {taken}: the route service does", {"taken": ", ".join(taken)})
    return body


Text = Annotated[str, AfterValidator(_single_spaced)]
Name = Annotated[str, AfterValidator(_single_spaced), AfterValidator(_writable)]
BaseUrl = Annotated[str, AfterValidator(_base_url)]
Adapter = Annotated[str, AfterValidator(_adapter)]
Variable = Annotated[str, AfterValidator(_variable)]
Headers = Annotated[dict[str, str], AfterValidator(_extra_headers)]
Body = Annotated[dict[str, Any], AfterValidator(_extra_body)]


class Record(BaseModel):
    """Frozen, unknown keys refused, no silent conversion of types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Price(Record):
    """USD per 1M tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)


class CallSettings(Record):
    """How a candidate is called: what a pool file may set once for all under `defaults`."""

    base_url: BaseUrl | None = None
    """The endpoint's address; for OpenAI's API up to and without `/chat/completions`."""
    adapter: Adapter = "openai"
    """How its API is asked: `openai`, or the dotted path of an adapter (`router_r1.routing.adapters`)."""
    api_key_env: Variable | None = None
    """Environment variable with the key; None for an endpoint without one."""
    temperature: float = Field(default=0.0, ge=0, le=2)
    max_tokens: int = Field(default=512, ge=1)
    """Most tokens in one reply."""
    timeout_s: float = Field(default=60.0, gt=0)
    """Longest wait for one attempt, in seconds."""
    max_concurrency: int = Field(default=32, ge=1)
    """Most routes in flight at once."""
    rpm: float | None = Field(default=None, gt=0)
    """Most requests per minute; None for no limit."""
    tpm: float | None = Field(default=None, gt=0)
    """Most tokens per minute, prompt and completion together; None for no limit."""
    extra_headers: Headers = Field(default_factory=dict)
    """Sent with every request; never a key."""
    extra_body: Body = Field(default_factory=dict)
    """Fields added to the body of every request, such as {reasoning_effort: low}."""
    keep_reasoning: bool = False
    """Pass a reasoning model's <think> part on to the policy."""
    message: MessageTemplate = "{query}"
    """The user message; `{query}` is the sub-query, `{name}` the candidate's name."""
    system: SystemTemplate | None = None
    """The system message, with the same placeholders; None for none."""


class Endpoint(Record):
    """One place where a candidate is served."""

    base_url: BaseUrl
    api_key_env: Variable | None = None
    """Not given: the candidate's."""
    model: Text | None = None
    """Model id there; not given: the candidate's."""
    weight: float = Field(default=1.0, gt=0)
    """Share of the requests, relative to the candidate's other endpoints."""


class EndpointLimits(Record):
    """What all candidates at one endpoint may ask of it together."""

    base_url: BaseUrl
    max_concurrency: int | None = Field(default=None, ge=1)
    """Most requests in flight at once; None for no limit."""
    rpm: float | None = Field(default=None, gt=0)
    tpm: float | None = Field(default=None, gt=0)


class Candidate(CallSettings):
    """One external LLM that the policy may ask."""

    name: Name
    """The name the policy is shown and writes."""
    aliases: tuple[Name, ...] = Field(default=(), strict=False)
    """Other names the policy may write."""
    model: Text
    """Model id as the endpoint knows it."""
    price: Price
    descriptor: Text
    """One line for the prompt: strengths, size, price, latency, example performance."""
    base_url: BaseUrl
    endpoints: tuple[Endpoint, ...] = Field(default=(), strict=False)
    """Where it is served, if in several places; then `base_url` is not used."""

    def messages(self, query: str) -> list[Message]:
        """What is sent to it for one sub-query: the templates filled in, the system message first if there is one."""
        user = {"role": "user", "content": fill(self.message, query=query, name=self.name)}
        if self.system is None:
            return [user]
        return [{"role": "system", "content": fill(self.system, query=query, name=self.name)}, user]

    @property
    def names(self) -> tuple[str, ...]:
        """Its name, then its aliases."""
        return (self.name, *self.aliases)

    @property
    def model_ids(self) -> frozenset[str]:
        """Its ids at all endpoints: each whole, and what stands behind its last slash."""
        ids = {self.model, *(endpoint.model for endpoint in self.endpoints if endpoint.model is not None)}
        return frozenset(ids | {model.rpartition("/")[2] for model in ids})

    @property
    def all_endpoints(self) -> tuple[Endpoint, ...]:
        """Where it is served, with every field filled in."""
        if not self.endpoints:
            return (Endpoint(base_url=self.base_url, api_key_env=self.api_key_env, model=self.model),)
        own = {"api_key_env": self.api_key_env, "model": self.model}
        return tuple(Endpoint(**{**own, **endpoint.model_dump(exclude_unset=True)}) for endpoint in self.endpoints)


class Deals(Record):
    """What the deals of a dealt pool are drawn from (`pool.dealing`)."""

    names: tuple[Name, ...] = Field(min_length=1, strict=False)
    """The names that candidates are shown by."""
    sizes: tuple[int, int] = Field(strict=False)
    """Fewest and most candidates of a deal."""
    groups: tuple[Annotated[tuple[Name, ...], Field(strict=False)], ...] = Field(default=(), strict=False)
    """Candidates of which a deal has one at most, or two with `second`, such as rivals in one field."""
    second: float = Field(default=0.0, ge=0, le=1)
    """Probability that a group of which a deal has one gives it another one, as long as there is room."""


class Recorded(Record):
    """Replies from a file, in the place of an endpoint (`router_r1.recorded`)."""

    file: Text
    """JSON lines or parquet; from the pool file's folder if it is relative. `$NAME` is an environment variable."""
    threshold: float = Field(default=0.8, ge=0, le=1)
    """How alike a sub-query must be to a question that is known, to be answered as that one."""
    shown: Literal["whole", "conclusion"] = "whole"
    """What is served of a reply: all of it, or only the number that it comes to. All of it is paid for."""


class RoutingPool(Record):
    """The candidates offered to the policy for one run.

    Raises:
        pydantic.ValidationError: when built directly from bad values; `load_pool` turns it into a `ConfigError`.
    """

    name: Text
    candidates: tuple[Candidate, ...] = Field(min_length=1, strict=False)
    endpoint_limits: tuple[EndpointLimits, ...] = Field(default=(), strict=False)
    """Limits that candidates at the same endpoint share."""
    simulated: bool = False
    """The candidates are those of the simulated pool server, which is started for whoever asks them."""
    recorded: Recorded | None = None
    """The candidates say what they once said; the server is started for whoever asks them, too."""
    deals: Deals | None = None
    """Every question is offered some of the candidates, by names of its own; None: all of them, by their own names."""
    source: str = ""
    """The file this pool was read from, for error texts; "" if none."""
    _by_name: dict[str, Candidate] = PrivateAttr(default_factory=dict)

    @property
    def served_here(self) -> bool:
        """Its server is a process of this project's, started for whoever asks the candidates."""
        return self.simulated or self.recorded is not None

    @model_validator(mode="after")
    def _has_one_server(self) -> RoutingPool:
        if self.simulated and self.recorded is not None:
            context = {"key": "recorded", "value": self.recorded.file}
            raise PydanticCustomError("recorded", "does not go with `simulated: true`; leave one out", context)
        return self

    @model_validator(mode="after")
    def _endpoints_are_known(self) -> RoutingPool:
        known = {endpoint.base_url for candidate in self.candidates for endpoint in candidate.all_endpoints}
        for index, limits in enumerate(self.endpoint_limits):
            if limits.base_url not in known:
                raise PydanticCustomError(
                    "endpoint",
                    "is no candidate's endpoint",
                    {"key": f"endpoint_limits[{index}].base_url", "value": limits.base_url},
                )
        return self

    @model_validator(mode="after")
    def _names_are_unique(self) -> RoutingPool:
        first: dict[str, tuple[int, Candidate]] = {}
        for index, candidate in enumerate(self.candidates):
            written = [("name", candidate.name), *((f"aliases[{i}]", a) for i, a in enumerate(candidate.aliases))]
            for key, name in written:
                other_index, other = first.setdefault(canonical(name), (index, candidate))
                if other_index != index:
                    raise PydanticCustomError(
                        "named_twice",
                        "already names candidate {other}: case, spaces, dashes, dots, underscores, quotes and "
                        "asterisks do not tell names apart; give {own} another",
                        {
                            "key": f"candidates[{index}].{key}",
                            "value": name,
                            "other": other.name,
                            "own": candidate.name,
                        },
                    )
        return self

    @model_validator(mode="after")
    def _deals_can_be_drawn(self) -> RoutingPool:
        if self.deals is None:
            return self
        taken = {canonical(name): c.name for c in self.candidates for name in c.names}
        for index, name in enumerate(self.deals.names):
            if other := taken.get(canonical(name)):
                remedy = "is taken by {other}: case, spaces and punctuation do not tell names apart; give another"
                key = f"deals.names[{index}]"
                raise PydanticCustomError("named_twice", remedy, {"key": key, "value": name, "other": other})
            taken[canonical(name)] = name
        self._check_groups(self.deals)
        fewest, most = self.deals.sizes
        parts = len(self.parted())
        bound = min(parts, len(self.deals.names))
        if not 1 <= fewest <= most <= bound:
            raise PydanticCustomError(
                "sizes",
                "must be the fewest and the most candidates of a deal: [1, {bound}] at the widest, for there are "
                "{parts} candidates (of a group, one) and {names} names",
                {
                    "key": "deals.sizes",
                    "value": f"[{fewest}, {most}]",
                    "bound": bound,
                    "parts": parts,
                    "names": len(self.deals.names),
                },
            )
        return self

    def _check_groups(self, deals: Deals) -> None:
        grouped: set[str] = set()
        for number, group in enumerate(deals.groups):
            for index, name in enumerate(group):
                context = {"key": f"deals.groups[{number}][{index}]", "value": name}
                if name not in self.names:
                    raise PydanticCustomError("unknown", "is no candidate of this pool; give its name", context)
                if name in grouped:
                    raise PydanticCustomError("grouped_twice", "is in a group already; a candidate has one", context)
                grouped.add(name)

    def parted(self) -> list[tuple[str, ...]]:
        """The groups of the deals, in order, and each candidate that is in none as a group of its own."""
        groups = self.deals.groups if self.deals else ()
        grouped = {name for group in groups for name in group}
        return [*filter(None, groups), *((name,) for name in self.names if name not in grouped)]

    def model_post_init(self, context: Any, /) -> None:
        served: dict[str, list[Candidate]] = {}
        for candidate in self.candidates:
            for form in {canonical(model) for model in candidate.model_ids} - {""}:
                served.setdefault(form, []).append(candidate)
        self._by_name.update({form: found[0] for form, found in served.items() if len(found) == 1})
        self._by_name.update({canonical(name): c for c in self.candidates for name in c.names})

    @property
    def names(self) -> tuple[str, ...]:
        """The candidates' canonical names, in the order of the pool."""
        return tuple(c.name for c in self.candidates)

    def at_temperature(self, temperature: float) -> RoutingPool:
        """The same candidates, all of them sampling at this temperature."""
        candidates = tuple(c.model_copy(update={"temperature": temperature}) for c in self.candidates)
        return RoutingPool(
            **{name: getattr(self, name) for name in type(self).model_fields} | {"candidates": candidates}
        )

    def resolve(self, written_name: str) -> Candidate | None:
        """The candidate with exactly this name, alias or model id, in the canonical form; None if there is none.

        Never a partial match: "mixtral-8x7b" must not reach "mixtral-8x22b". A model id may lack what stands before its
        last slash; one that several candidates share finds none, and a name goes before a model id.
        """
        return self._by_name.get(canonical(written_name))

    def candidate(self, name: str) -> Candidate:
        """Like `resolve`, for a name that is known to be in the pool.

        Raises:
            KeyError: no such candidate.
        """
        found = self.resolve(name)
        if found is None:
            raise KeyError(f"no candidate {name!r} in pool {self.name!r}; it has {', '.join(self.names)}")
        return found
