"""The command ``pushforward``. Each sub-command is one function; ``fit`` reads its flags from the method's constructor."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import Positional

from pushforward.cli_benchmark import benchmark_command
from pushforward.cli_compare import compare_command
from pushforward.errors import PushforwardError, nearest_name
from pushforward.flags import first_line, flags_of, settings_of

if TYPE_CHECKING:
    from pushforward.method import Method

__all__ = ["COMMANDS", "flags_of", "main", "settings_of"]


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
    except KeyboardInterrupt as stopped:
        sys.stderr.write(f"pushforward: {stopped or 'aborted'}\n")
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
        condition: "labels" for a model conditioned on the labels of the data, or the name of a table's column or of an array
            of the .npz.
        group: a table's column, or an array of the .npz, that says which rows belong together (subject, say); a group is
            trained on, or held out, as a whole.
        source: data that are carried to DATA, for methods that translate or restore: file, folder of pictures, or named set.
        overwrite: replace a run that is already in the folder.
        checkpoint_every: seconds between two checkpoints.
    """

    out: Path | None = None
    budget: str | None = None
    seed: int = 0
    device: str = "auto"
    validation: float = 0.1
    condition: str | None = None
    group: str | None = None
    source: str | None = None
    overwrite: bool = False
    checkpoint_every: float = 30.0


def _fit(arguments: list[str]) -> int:
    """Fit a method to data: pushforward fit METHOD DATA [--flags]; METHOD --help lists the flags."""
    from pushforward.method import find_method, registry

    if not arguments or arguments[0] in ("-h", "--help"):
        names = "\n".join(f"  {name.lower():<14} {first_line(cls)}" for name, cls in sorted(registry().items()))
        _say(
            f"usage: pushforward fit METHOD DATA [--flags]\n\nmethods:\n{names}\n\nflags: pushforward fit METHOD --help"
        )
        return 0 if arguments else 2
    cls = find_method(arguments[0])
    chosen = tyro.cli(
        _fit_form(cls), args=arguments[1:], prog=f"pushforward fit {arguments[0]}", description=first_line(cls)
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
            Positional[str],
            tyro.conf.arg(metavar="DATA", help="file, folder of pictures, or named set: digits, mnist ..."),
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
    method.fit(data, condition=flags.condition, group=flags.group, source=flags.source, run=run)
    return _close(method, data, out, leader=run.world.leader)


def _resume(arguments: list[str]) -> int:
    """Continue an interrupted fit: pushforward resume RUN."""
    from pushforward.data import load_data
    from pushforward.errors import ModelError
    from pushforward.saving import read_config, resume
    from pushforward.world import World

    def form(
        run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")], data: str | None = None
    ) -> tuple[Path, str | None]:
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


def _translate(arguments: list[str]) -> int:
    """Carry rows of the source to the target by a saved model: pushforward translate RUN DATA --out restored.png"""
    from pushforward.output import write_samples
    from pushforward.saving import load

    def form(
        run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")],
        data: Annotated[Positional[str], tyro.conf.arg(metavar="DATA")],
        out: Path | None = None,
        condition: str | None = None,
    ) -> tuple[Path, str, Path | None, str | None]:
        """Carry rows of the source to the target: translate or restore them.

        Args:
            run: folder of a model that was fitted with a source.
            data: file, folder of pictures, or named set, of the kind of the source.
            out: file to write (.png grid, .npy, .csv, .parquet), or a name without ending for a folder of PNG files; by default
                translated.png or translated.csv in the present folder.
            condition: a label, for a conditional model.
        """
        return run, data, out, condition

    folder, data, out, condition = tyro.cli(form, args=arguments, prog="pushforward translate")
    model = load(folder)
    path = out or Path("translated.png" if model.schema_.kind == "image" else "translated.csv")
    _say(f"wrote {write_samples(model.translate(data, condition=condition), model.schema_, path)}")
    return 0


def _evaluate(arguments: list[str]) -> int:
    """Measure a saved model on held-out data: pushforward evaluate RUN HELDOUT"""

    def form(
        run: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")],
        heldout: Annotated[Positional[str], tyro.conf.arg(metavar="HELDOUT")],
        n: Annotated[int | None, tyro.conf.arg(aliases=["-n"])] = None,
        seed: int = 0,
        features: Literal["raw", "pca", "classifier", "random"] | None = None,
        train: str | None = None,
        target: str | None = None,
        out: Path | None = None,
    ) -> tuple[Path, str, Path | None, str | None, dict[str, Any]]:
        """Measure a saved model on data that it has never seen.

        Writes metrics.json into the folder of the model, and renews its README.md and report.html with the numbers.

        Args:
            run: folder of the model.
            heldout: file, folder of pictures, or named set, of the kind of the training data.
            n: samples to draw; by default as many as there are held-out rows.
            seed: of the samples and of the metrics.
            features: what rows are compared by; by default for pictures a classifier trained on the labels of the training
                data, or random features where there are none; for others the values, or principal components of many.
            train: where the training data are now, if they were moved.
            target: a table's column for train-on-synthetic-test-on-real.
            out: file for the numbers instead of metrics.json; the folder of the model is then left as it is.
        """
        return run, heldout, out, train, {"n": n, "seed": seed, "features": features, "target": target}

    folder, heldout, out, train, options = tyro.cli(form, args=arguments, prog="pushforward evaluate")
    return _run_evaluate(folder, heldout, out, train, options)


def _run_evaluate(folder: Path, heldout: str, out: Path | None, train: str | None, options: dict[str, Any]) -> int:
    from pushforward.evaluate import as_json, evaluate, write_evaluation
    from pushforward.folders import write_atomically
    from pushforward.saving import load
    from pushforward.training_rows import find_training_rows

    model = load(folder)
    whole = find_training_rows(model, train).whole
    cache = folder / "features.safetensors" if out is None else None
    found = evaluate(model, heldout, train=train if whole is None else whole, cache=cache, **options)
    _say(str(found))
    if out is not None:
        write_atomically(out, as_json(found))
        _say(f"wrote {out}")
        return 0
    _say(f"in {folder}: {', '.join(write_evaluation(found, model, folder, whole))}")
    if whole is None and (folder / "report.html").exists():
        _say("report.html is left as it was, because the training data cannot be read again; give them with --train.")
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
        _say(f"{cls.__name__:<14} {first_line(cls)}\n{'':<14} data: {', '.join(sorted(cls.kinds))}; can: {able}")
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
    "translate": _translate,
    "evaluate": _evaluate,
    "compare": compare_command,
    "benchmark": benchmark_command,
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
