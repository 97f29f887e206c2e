"""`router-r1 COMMAND`: the commands, each imported when it is asked for, and what they have in common."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Parameter
from pydantic import ValidationError

from router_r1 import __version__
from router_r1.errors import ConfigError, config_error
from router_r1.exit_codes import ExitCode

_COMMANDS = {
    "train": ("router_r1.cli.train:train", "Train a router."),
    "sft": ("router_r1.cli.sft:sft", "Fine-tune a model on questions and their answers: a baseline."),
    "plan": ("router_r1.cli.plan:plan", "See what a training needs, and which settings make it fit."),
    "bench": ("router_r1.cli.bench:bench", "Benchmark a trained router, or another method, on test sets."),
    "compare": ("router_r1.cli.compare:compare", "Put several benchmarks side by side."),
    "findings": ("router_r1.cli.findings:findings", "See which of the paper's findings hold in the small."),
    "ask": ("router_r1.cli.ask:ask", "Ask a trained router, or another method."),
    "serve": ("router_r1.cli.serve:serve", "Serve a router to programs that speak OpenAI's API."),
    "trajectories": ("router_r1.cli.trajectories:app", "Export the trajectories that a server kept."),
    "view": ("router_r1.cli.view:view", "Look at runs and benchmarks in a browser."),
    "data": ("router_r1.cli.data:app", "Write question files."),
    "pool": ("router_r1.cli.pool:app", "Look at a routing pool, and have its descriptors written."),
    "scores": ("router_r1.cli.scores:app", "What every candidate scores on every question: gather, import, look."),
    "cache": ("router_r1.cli.cache:app", "Look at the replies kept on disk, delete or export them."),
    "sim": ("router_r1.cli.sim:app", "The simulated candidates, their questions, the tiny policy."),
    "doctor": ("router_r1.cli.doctor:doctor", "Show what this machine and this environment have."),
}
"""Command -> where it is, and what the overview says of it."""


def make_app() -> App:
    """The command line. Options may be written with dashes or with underscores."""
    app = App(
        name="router-r1",
        help="Train, benchmark and ask a router that is itself an LLM.",
        version=__version__,
        help_format="plaintext",  # what stands in <angle brackets> is no markup
        # --base-url A B C, and no --no-resume beside --resume
        default_parameter=Parameter(consume_multiple=True, negative=(), allow_repeating=True),
    )
    for order, (name, (place, summary)) in enumerate(_COMMANDS.items()):
        app.command(place, name=name, help=summary, sort_key=order)
    app.register_install_completion_command()
    return app


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code (`ExitCode`). What a user wrote wrong is told in one line on standard error."""
    try:
        code = make_app()(
            list(sys.argv[1:] if argv is None else argv),
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except CycloptsError as fault:
        print(f"error: {_told(fault)}", file=sys.stderr)
        return ExitCode.REFUSED
    return int(code or ExitCode.DONE)


def _told(fault: CycloptsError) -> str:
    if isinstance(fault.__cause__, ValidationError):
        refused = config_error("command line", fault.__cause__)
        return str(ConfigError("command line", _option(refused.key), refused.value, refused.remedy))
    where = " ".join(fault.command_chain or ())
    return f"{' '.join(str(fault).split())} (router-r1 {where} --help)".replace("  ", " ")


def _option(key: str) -> str:
    """A field of an options model as it is typed."""
    return "--" + key.removeprefix("routing.").replace("_", "-") if key else ""
