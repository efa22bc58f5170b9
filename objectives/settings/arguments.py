"""The command's arguments: which there are, and one line for each mistake; touches nothing."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from collections.abc import Sequence
from pathlib import Path
import re
from typing import final
from typing import NoReturn

from objectives.errors import UserError
from objectives.settings.config_errors import near


__all__ = ["check_choice", "one_process_arguments", "read_arguments"]

_PROGRAM = "python -m objectives.tune"
NOT_A_WORKER_S = (
    *("file", "workers", "search_only", "warm", "until"),
    *("of_proxy", "last"),
    *("on", "slurm", "ray", "detach", "cancel_on_interrupt"),
)


def read_arguments(
    arguments: Sequence[str] | None, samplers: Collection[str], pruners: Collection[str]
) -> argparse.Namespace:
    """The arguments, each None where it is not given.

    Args:
        arguments: By default those of this process.
        samplers: Names to choose from.
        pruners: Names to choose from.

    Raises:
        UserError: There is no such option, or a value is missing or of another kind.
    """
    parser = _parser(samplers, pruners)
    parsed, unknown = parser.parse_known_args(arguments)
    for argument in unknown:
        option = argument.partition("=")[0]
        if not option.startswith("-"):
            raise UserError(f"{argument}: is one argument too many; give one experiment file")
        names = re.findall(r"--([a-z-]+)", parser.format_usage())
        way_out = near(option.lstrip("-"), names, "--{}", f"{_PROGRAM} --help lists them")
        raise UserError(f"{option}: there is no such option; {way_out}")
    return parsed


def check_choice(option: str, value: str, choices: Collection[str]) -> None:
    """Refuses a name that is none of the choices."""
    if value not in choices:
        meant = near(value, choices, "{}", otherwise="")
        rule = f"{option} {value}: must be one of {', '.join(choices)}"
        raise UserError(f"{rule}; {meant}" if meant else rule)


def one_process_arguments(parsed: argparse.Namespace) -> list[str]:
    """What the command was given, without its workers, and no more.

    A password in the file does not go on a screen.
    """
    options = [  # of one word each: a value may begin with a dash
        f"--{'study' if name == 'name' else name.replace('_', '-')}={each}"
        for name, value in vars(parsed).items()
        if name not in NOT_A_WORKER_S and value is not None
        for each in (value if isinstance(value, list) else [value])
    ]
    cold = [] if parsed.warm is None else ["--cold"]
    return [str(parsed.file), *options, *cold]


@final
class _Parser(argparse.ArgumentParser):
    """argparse shows all options with every mistake, and ends the process."""

    def error(self, message: str) -> NoReturn:
        if message.startswith("the following arguments are required"):
            raise UserError(
                f"the experiment file is missing; for example {_PROGRAM} examples/standin.toml"
            )
        option, _, what = message.removeprefix("argument ").partition(": ")
        told = f"{option} {what}" if "must be" in what else f"{option}: {what}"
        raise UserError(f"{told}; {_PROGRAM} --help says more")


def _parser(samplers: Collection[str], pruners: Collection[str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=_PROGRAM,
        description="Searches the hyperparameters of a LoRA fine-tuning, or of your own trainer. "
        "The options override [study] of the file.",
    )
    parser.add_argument("file", type=Path, help="the experiment, TOML (see examples/)")
    parser.add_argument("--storage", help="the study's storage, a URL; default sqlite in --output")
    parser.add_argument("--study", dest="name", help="name of the study; default the file's")
    parser.add_argument("--sampler", help=f"one of {', '.join(samplers)}; default bamsoo")
    parser.add_argument(
        "--trials",
        type=_whole,
        help="finished trials wanted, earlier runs included; default 50, or none with --budget",
    )
    parser.add_argument(
        "--budget", help="how long to search, the final test included: 3h, 1h30m, 2d, 20trainings"
    )
    parser.add_argument("--seed", type=_whole, help="of a sampler that draws; default 0")
    parser.add_argument(
        "--previous",
        action="append",
        metavar="NAME[@URL]",
        help="an earlier study that tells bamsoo where to look; may be given several times",
    )
    parser.add_argument(
        "--proxy",
        type=_number,
        metavar="SHARE",
        help="search with a share of the training rows first, and from there with all of them",
    )
    parser.add_argument("--pruner", help=f"one of {', '.join(pruners)}; default none")
    parser.add_argument("--output", help="folder for adapters and report; default runs")
    parser.add_argument(
        "--workers",
        type=_whole,
        help="processes on this machine, or --on; default this one; 0 with --on ends them",
    )
    parser.add_argument("--on", help="where the workers run instead of this machine: slurm, ray")
    parser.add_argument(
        "--slurm", metavar="OPTIONS", help='of sbatch, as "partition=gpu gres=gpu:1 time=08:00:00"'
    )
    parser.add_argument(
        "--ray", metavar="OPTIONS", help='of an actor, as "address=ray://host:10001 num_gpus=1"'
    )
    parser.add_argument(
        "--detach",
        action="store_true",
        help="with --on: leave when the workers are submitted; the same command attaches again",
    )
    parser.add_argument(
        "--cancel-on-interrupt",
        action="store_true",
        help="with --on: Ctrl-C ends the workers too; they go on unless told otherwise",
    )
    parser.add_argument(
        "--gpus-per-trial",
        type=_whole,
        help="processes that train a trial together, each on a GPU; default the worker itself",
    )
    parser.add_argument(
        "--launcher",
        help="command that starts those processes, on other machines as well; default none",
    )
    parser.add_argument(
        "--pack", type=_pack, help="trials trained together on one base, or auto; default one"
    )
    parser.add_argument("--time-limit", type=_number, help="seconds for a trial; default none")
    parser.add_argument(
        "--cold",
        dest="warm",
        action="store_const",
        const=False,
        help="new processes for every trial: slower, and nothing of a trial is left behind",
    )
    parser.add_argument(
        "--search-only",
        action="store_true",
        help="no final test and no report: one worker among many (see docs/workers.md)",
    )
    # of a worker: whether it searches the proxy
    parser.add_argument("--of-proxy", action="store_true", help=argparse.SUPPRESS)
    # of a worker: when the command that has started it must be done with all
    parser.add_argument("--until", type=_number, help=argparse.SUPPRESS)
    # of an engine's last job: it follows a search, and begins none anew
    parser.add_argument("--last", action="store_true", help=argparse.SUPPRESS)
    return parser


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: must be a whole number") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: must be a number") from None


def _pack(text: str) -> int | str:
    if text != "auto" and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text}: must be a number of trials, or auto")
    return text if text == "auto" else int(text)
