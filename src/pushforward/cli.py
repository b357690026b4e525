"""The command ``pushforward``. Each sub-command is one function; ``fit`` reads its flags from the method's constructor."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types
import typing
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro
from tyro.conf import Positional

from pushforward.errors import PushforwardError, nearest_name

if TYPE_CHECKING:
    from pushforward.method import Method

_FLAG_TYPES = (int, float, str, bool, type(None))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status (0 done, 2 refused or failed with a message, 130 interrupted)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    warnings.showwarning = _show_warning
    if not given or given[0] in ("-h", "--help"):
        _say(_usage())
        return 0
    if given[0] in ("-V", "--version"):
        from pushforward import __version__

        _say(f"pushforward {__version__}")
        return 0
    try:
        if given[0] not in COMMANDS:
            raise ValueError(
                f"there is no command {given[0]!r}.{nearest_name(given[0], COMMANDS)} Commands: {', '.join(COMMANDS)}."
            )
        return COMMANDS[given[0]](given[1:]) or 0
    except (PushforwardError, ValueError) as error:
        sys.stderr.write(f"pushforward: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("pushforward: aborted\n")
        return 130
    except BrokenPipeError:
        return 1


# ---------------------------------------------------------------------- fit and resume


@dataclasses.dataclass
class RunFlags:
    """How to fit.

    Args:
        out: folder of the run; by default runs/METHOD-DATA.
        budget: how long, such as 60s, 5min, "2000 steps" or "30 epochs"; by default the method's own.
        seed: of all randomness.
        device: auto, cpu, cuda, cuda:1 ...
        validation: share of the rows held out, never trained on, for the numbers of the report.
        condition: "labels" for a model conditioned on the labels of the data, or the name of a table's column.
        overwrite: replace a run that is already in the folder.
        checkpoint_every: seconds between two checkpoints.
    """

    out: Path | None = None
    budget: str | None = None
    seed: int = 0
    device: str = "auto"
    validation: float = 0.1
    condition: str | None = None
    overwrite: bool = False
    checkpoint_every: float = 30.0


def _fit(arguments: list[str]) -> int:
    """Fit a method to data: pushforward fit METHOD DATA [--flags]; METHOD --help lists the flags."""
    from pushforward.method import find_method, registry

    if not arguments or arguments[0] in ("-h", "--help"):
        names = "\n".join(f"  {name.lower():<14} {_first_line(cls)}" for name, cls in sorted(registry().items()))
        _say(
            f"usage: pushforward fit METHOD DATA [--flags]\n\nmethods:\n{names}\n\nflags: pushforward fit METHOD --help"
        )
        return 0 if arguments else 2
    cls = find_method(arguments[0])
    chosen = tyro.cli(
        _fit_form(cls), args=arguments[1:], prog=f"pushforward fit {arguments[0]}", description=_first_line(cls)
    )
    data, flags, settings = chosen
    return _run_fit(cls(**dataclasses.asdict(settings)), data, flags)


def _fit_form(cls: type[Method]) -> Callable[..., tuple[str, RunFlags, Any]]:
    """A function whose signature is DATA, the run's flags and the method's constructor."""

    def form(data: Any, run: Any, settings: Any) -> tuple[str, RunFlags, Any]:
        return data, run, settings

    bare, settings_type = tyro.conf.arg(name=""), settings_of(cls)
    form.__annotations__ = {
        "data": Annotated[
            Positional[str], tyro.conf.arg(metavar="DATA", help="file, folder of pictures, or named set: digits, mnist ...")
        ],
        "run": Annotated[RunFlags, bare],
        "settings": Annotated[settings_type, bare],
    }
    form.__defaults__ = (RunFlags(), settings_type())
    signature = inspect.signature(form)
    required = [
        p.replace(default=inspect.Parameter.empty) if p.name == "data" else p for p in signature.parameters.values()
    ]
    form.__dict__["__signature__"] = signature.replace(parameters=required)
    return form


def settings_of(cls: type[Method]) -> Any:
    """A dataclass of those constructor arguments that a flag can give, with their help from the docstring."""
    hints, help_of = get_type_hints(cls.__init__), _argument_help(inspect.getdoc(cls) or "")
    fields = []
    for name, parameter in inspect.signature(cls).parameters.items():
        kind = _flag_type(hints[name])
        if kind is not None:
            described: Any = Annotated[kind, tyro.conf.arg(help=help_of.get(name, ""))]
            fields.append((name, described, dataclasses.field(default=parameter.default)))
    return dataclasses.make_dataclass(f"{cls.__name__}Settings", fields, namespace={"__doc__": " "})


def _flag_type(hint: Any) -> Any:
    """The part of a type that a flag can give; None where nothing is left (networks, say)."""
    if get_origin(hint) in (Union, types.UnionType):
        parts = [kind for kind in map(_flag_type, get_args(hint)) if kind is not None]
        real = [kind for kind in parts if kind is not type(None)]
        return Union[tuple(parts)] if real else None  # noqa: UP007 - built at run time
    return hint if hint in _FLAG_TYPES or get_origin(hint) is Literal else None


def flags_of(method: Method) -> list[str]:
    """The command-line flags that give this method's parameters."""
    flags: list[str] = []
    for name in (field.name for field in dataclasses.fields(settings_of(type(method)))):
        value, flag = getattr(method, name), name.replace("_", "-")
        flags += [f"--{flag}" if value else f"--no-{flag}"] if isinstance(value, bool) else [f"--{flag}", str(value)]
    return flags


def _run_fit(method: Method, source: str, flags: RunFlags) -> int:
    from pushforward.data import load_data
    from pushforward.run import Run

    data = load_data(source)
    out = flags.out or Path("runs") / f"{type(method).__name__}-{data.name}".lower()
    run = Run(
        out=out,
        seed=flags.seed,
        device=flags.device,
        validation=flags.validation,
        budget=flags.budget,
        progress=True,
        checkpoint_every=flags.checkpoint_every,
        overwrite=flags.overwrite,
    )
    run.note(f"{type(method).__name__} on {data.name}: {len(data)} rows, {run.device.type}, into {out}")
    method.fit(data, condition=flags.condition, run=run)
    return _close(method, data, out, leader=run.world.leader)


def _resume(arguments: list[str]) -> int:
    """Continue an interrupted fit: pushforward resume RUN."""
    from pushforward.data import load_data
    from pushforward.errors import ModelError
    from pushforward.saving import read_config, resume
    from pushforward.world import World

    def form(run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")], data: str | None = None) -> tuple[Path, str | None]:
        """Continue an interrupted fit.

        Args:
            run: its folder.
            data: where the data are now, if they were moved.
        """
        return run, data

    folder, moved = tyro.cli(form, args=arguments, prog="pushforward resume")
    source = moved or read_config(folder)["data"]["source"]
    if source is None:
        raise ModelError(f"the run in {folder} was fitted to data in memory; give them with --data.")
    data = load_data(source)
    method = resume(folder, data, progress=True)
    return _close(method, data, folder, leader=World.join().leader)


def _close(method: Method, data: Any, out: Path, *, leader: bool) -> int:
    """The report, and a line that says where everything is."""
    if not leader:
        return 0
    from pushforward.report import write_report

    write_report(out / "report.html", method=method, data=data)
    numbers = "  ".join(f"{name} {value:.3g}" for name, value in method.validation_.items())
    _say(f"held-out numbers: {numbers}" if numbers else "no held-out numbers: too few rows were held out")
    made = [
        name
        for name in ("samples.png", "samples.csv", "report.html", "README.md", "history.jsonl")
        if (out / name).exists()
    ]
    _say(f"in {out}: {', '.join(made)}")
    if method.run_["status"] == "interrupted":
        _say(f"interrupted: the model so far is usable; continue with: pushforward resume {out}")
        return 130
    return 0


# ---------------------------------------------------------------------- the other commands


def _sample(arguments: list[str]) -> int:
    """Draw samples from a saved model: pushforward sample RUN -n 64 --out grid.png"""
    from pushforward.output import write_samples
    from pushforward.saving import load

    def form(
        run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")],
        n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 64,
        out: Path | None = None,
        seed: int | None = None,
        condition: str | None = None,
    ) -> tuple[Path, int, Path | None, int | None, str | None]:
        """Draw samples from a saved model.

        Args:
            run: folder of the model.
            n: number of samples.
            out: file to write (.png grid, .npy, .csv, .parquet), or a name without ending for a folder of PNG files; by default
                samples.png or samples.csv in the present folder.
            seed: equal seeds give equal samples.
            condition: a label, for a conditional model.
        """
        return run, n, out, seed, condition

    folder, n, out, seed, condition = tyro.cli(form, args=arguments, prog="pushforward sample")
    model = load(folder)
    path = out or Path("samples.png" if model.schema_.kind == "image" else "samples.csv")
    _say(f"wrote {write_samples(model.sample(n, seed=seed, condition=condition), model.schema_, path)}")
    return 0


def _show(arguments: list[str]) -> int:
    """Say what is in the folder of a run: pushforward show RUN"""
    from pushforward.saving import read_config

    def form(run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]) -> Path:
        """Say what is in the folder of a run.

        Args:
            run: its folder.
        """
        return run

    folder = tyro.cli(form, args=arguments, prog="pushforward show")
    config = read_config(folder)
    for title in ("method", "status", "data", "run", "parameters", "validation", "seconds", "versions"):
        _say(f"{title:<12} {_line(config[title])}")
    for text in config["warnings"]:
        _say(f"warning      {text}")
    _say(
        f"{'files':<12} {', '.join(sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith('.')))}"
    )
    return 0


def _methods(arguments: list[str]) -> int:
    """List the methods: pushforward methods --can log_prob --data table"""
    from pushforward.method import ABILITIES, registry

    def form(
        can: str | None = None, data: Literal["image", "table", "vector"] | None = None
    ) -> tuple[str | None, str | None]:
        """List the methods and what each can do.

        Args:
            can: only those with this ability: sample, log_prob, encode, decode, reconstruct, interpolate, outlier_score ...
            data: only those that take this kind of data.
        """
        return can, data

    can, kind = tyro.cli(form, args=arguments, prog="pushforward methods")
    if can is not None and can.replace("-", "_") not in ABILITIES:
        raise ValueError(
            f"can: there is no ability {can!r}.{nearest_name(can, ABILITIES)} Abilities: {', '.join(ABILITIES)}."
        )
    found = [
        cls
        for _, cls in sorted(registry().items())
        if (can is None or can.replace("-", "_") in cls.can()) and (kind is None or kind in cls.kinds)
    ]
    for cls in found:
        able = ", ".join(name for name in ABILITIES if name in cls.can())
        _say(f"{cls.__name__:<14} {_first_line(cls)}\n{'':<14} data: {', '.join(sorted(cls.kinds))}; can: {able}")
    if not found:
        _say("no method does that yet")
    return 0


def _cite(arguments: list[str]) -> int:
    """Print the BibTeX entry of a method: pushforward cite METHOD"""
    from pushforward.method import cite

    def form(method: Annotated[Positional[str], tyro.conf.arg(metavar="METHOD")]) -> str:
        """Print the BibTeX entry of a method.

        Args:
            method: its name, such as neurosql.
        """
        return method

    _say(cite(tyro.cli(form, args=arguments, prog="pushforward cite")))
    return 0


def _describe(arguments: list[str]) -> int:
    """Say what is understood of data: pushforward describe DATA"""
    from pushforward.data import describe

    def form(data: Annotated[Positional[str], tyro.conf.arg(metavar="DATA")]) -> str:
        """Say what is understood of data, before fitting anything.

        Args:
            data: file, folder of pictures, or named set.
        """
        return data

    _say(describe(tyro.cli(form, args=arguments, prog="pushforward describe")))
    return 0


def _doctor(arguments: list[str]) -> int:
    """Check the installation: pushforward doctor"""
    from pushforward.doctor import findings

    def form() -> None:
        """Check the installation: versions, device, solver, data folders."""

    tyro.cli(form, args=arguments, prog="pushforward doctor")
    healthy = True
    for finding in findings():
        _say(f"{'ok' if finding.good else 'PROBLEM':<8} {finding.name:<18} {finding.text}")
        healthy = healthy and finding.good
    return 0 if healthy else 1


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "fit": _fit,
    "resume": _resume,
    "sample": _sample,
    "show": _show,
    "describe": _describe,
    "methods": _methods,
    "cite": _cite,
    "doctor": _doctor,
}


# ---------------------------------------------------------------------- helpers


def _usage() -> str:
    lines = [f"  {name:<10} {(command.__doc__ or '').splitlines()[0]}" for name, command in COMMANDS.items()]
    return "pushforward: generative modelling through optimal transport\n\ncommands (each has --help):\n" + "\n".join(
        lines
    )


def _argument_help(docstring: str) -> dict[str, str]:
    """The ``Args:`` section of a Google docstring as one text a name."""
    found: dict[str, str] = {}
    name = ""
    for line in docstring.partition("Args:\n")[2].splitlines():
        if not line.startswith("    "):
            break
        if not line.startswith("     ") and ":" in line:
            name, _, text = line.strip().partition(":")
            found[name] = text.strip()
        elif name:
            found[name] += " " + line.strip()
    return {key: text.replace("``", "") for key, text in found.items()}


def _first_line(cls: type[Any]) -> str:
    return (inspect.getdoc(cls) or "").splitlines()[0]


def _line(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(
            f"{key}={part:.4g}" if isinstance(part, float) else f"{key}={part}" for key, part in value.items()
        )
    return str(value)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _show_warning(message: Warning | str, category: type[Warning], *rest: typing.Any, **more: typing.Any) -> None:
    sys.stderr.write(f"warning: {message}\n")
