"""A saved model: a folder with config.yaml, model.safetensors, README.md, samples and history. No pickle.

config.yaml is for people and for rebuilding the method; the weights file carries checksums of it, so that a file that was
edited or swapped is noticed instead of giving wrong samples.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from pushforward.condition import Condition
from pushforward.data import Schema
from pushforward.errors import ModelError
from pushforward.folders import claim, write_atomically, write_json_lines

if TYPE_CHECKING:
    from pushforward.method import Method

FORMAT = 1
_KEYS = (
    "method",
    "parameters",
    "status",
    "run",
    "data",
    "validation",
    "seconds",
    "warnings",
    "condition",
    "schema",
) + ("versions",)
_PLAIN = (str, int, float, bool, type(None))
_SAMPLES = 64


def save_model(method: Method, folder: Path, *, overwrite: bool) -> Path:
    """Save a fitted method into ``folder``, which is made, or replaced where ``overwrite`` is set."""
    folder = folder.expanduser()
    held = claim(folder, overwrite=overwrite, resume=False)
    try:
        write_model(method, folder)
        write_json_lines(folder / "history.jsonl", method.history_)
        held.complete()
    except BaseException:
        held.restore()
        raise
    finally:
        held.release()
    return folder


def write_model(method: Method, folder: Path) -> None:
    """Write weights, configuration, model card and samples; the configuration comes last and makes the model whole."""
    from safetensors.torch import save

    tensors = {f"law.{name}": tensor.detach().cpu().contiguous() for name, tensor in _untied(method.law_).items()}
    tensors["rows.train"] = torch.as_tensor(np.asarray(method.train_rows_), dtype=torch.int64)
    tensors["rows.held"] = torch.as_tensor(np.asarray(method.held_rows_), dtype=torch.int64)
    config = config_of(method, method.run_.get("status", "finished"))
    content = save(tensors, metadata={"core": _digest(_core(config)), "format": str(FORMAT)})
    write_atomically(folder / "model.safetensors", content)
    _write_extras(method, folder)
    config["weights_sha256"] = hashlib.sha256(content).hexdigest()
    write_atomically(folder / "config.yaml", _yaml(config))


def write_config(method: Method, folder: Path, status: str) -> None:
    """Write config.yaml before training, so that the run can be resumed by its folder alone."""
    config = config_of(method, status)
    write_atomically(folder / "config.yaml", _yaml(config))


def _write_extras(method: Method, folder: Path) -> None:
    """The model card, and samples as a picture or a table."""
    from pushforward.report.card import model_card

    write_atomically(folder / "README.md", model_card(method, method.data_info_["name"]))
    if method.law_.refusal("sample"):
        return
    samples = method.sample(_SAMPLES, seed=0)
    if method.schema_.kind == "image":
        from pushforward.report.grids import image_grid, png_bytes

        x = method.schema_.encode(samples)
        write_atomically(folder / "samples.png", png_bytes(image_grid(method.schema_.as_images(x), columns=8)))
    else:
        write_atomically(folder / "samples.csv", _csv(samples))


def _csv(values: Any) -> str:
    import pandas as pd

    frame = values if isinstance(values, pd.DataFrame) else pd.DataFrame(np.asarray(values))
    text: str = frame.to_csv(index=False)
    return text


def config_of(method: Method, status: str) -> dict[str, Any]:
    """Everything but the weights, in plain types."""
    from pushforward import __version__

    return {
        "format": FORMAT,
        "method": type(method).__name__,
        "parameters": {name: _plain(value) for name, value in method.params_.items()},
        "status": status,
        "run": dict(method.run_),
        "data": dict(method.data_info_),
        "validation": {key: float(value) for key, value in method.validation_.items()},
        "seconds": {key: round(float(value), 3) for key, value in method.seconds_.items()},
        "warnings": list(method.warnings_),
        "versions": {"pushforward": __version__, "torch": str(torch.__version__), "python": platform.python_version()},
        "condition": method.condition_.to_dict() if method.condition_ is not None else None,
        "schema": method.schema_.to_dict(),
    }


def _plain(value: Any) -> Any:
    """A parameter as YAML can hold it; an object is noted by the name of its class and given again at loading."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return value if isinstance(value, _PLAIN) else {"object": f"{type(value).__module__}.{type(value).__qualname__}"}


def load(path: str | Path, **objects: Any) -> Method:
    """Load a saved model, on the CPU.

    Args:
        path: the folder.
        **objects: constructor arguments that are objects (a network, a feature map), which no file holds. A critic can be left
            out where only fitting needs it; it is None then.

    Raises:
        ModelError: a file is missing, was edited, or is of a newer version; or training has not finished yet.
    """
    folder = Path(path).expanduser()
    config = read_config(folder)
    if "weights_sha256" not in config:
        raise ModelError(f"the training in {folder} has not finished; continue it with `pushforward resume {folder}`.")
    tensors = _read_weights(folder, config)
    method = rebuild(config, objects, fitted=True)
    law = method._build(method.schema_.event_shape, _classes(method))
    _load_law(law, {name[4:]: tensor for name, tensor in tensors.items() if name.startswith("law.")}, folder)
    method.law_ = law.eval()
    method.train_rows_, method.held_rows_ = tensors["rows.train"].numpy(), tensors["rows.held"].numpy()
    method.history_ = _read_history(folder)
    return method


def resume(
    path: str | Path,
    data: object = None,
    *,
    condition: object = None,
    group: object = None,
    source: object = None,
    progress: bool | None = None,
    **objects: Any,
) -> Method:
    """Continue the fit that was interrupted in the folder ``path``.

    Args:
        path: the folder.
        data: the same data again; None reads them from where the run read them.
        condition: the same labels again, where the run was given an array of them.
        group: the same groups again, where the run was given an array of them.
        source: the same source again, where the run was given one; None reads it from where the run read it.
        progress: show progress; None shows it on terminals only.
        **objects: constructor arguments that are objects.

    Raises:
        ModelError: there is nothing to resume, or the data differ.
    """
    from pushforward.run import Run

    folder = Path(path).expanduser()
    config = read_config(folder)
    if config["status"] == "finished":
        raise ModelError(
            f"the run in {folder} has finished; load it with pushforward.load, or fit again into another folder."
        )
    data = data if data is not None else config["data"]["source"]
    if data is None:
        raise ModelError(f"the run in {folder} was fitted to data in memory; give them again: resume(path, data).")
    if config["data"].get("labels_given") and condition is None:
        raise ModelError(
            f"the run in {folder} was given an array of labels; give them again: resume(path, condition=labels)."
        )
    if config["data"].get("groups_given") and group is None:
        raise ModelError(
            f"the run in {folder} was given an array of groups; give them again: resume(path, group=groups)."
        )
    source = source if source is not None else config["data"].get("source_path")
    if config["data"].get("source_rows") and source is None:
        raise ModelError(f"the run in {folder} was given a source in memory; give it again: resume(path, source=rows).")
    condition = config["data"].get("condition") if condition is None else condition
    group = config["data"].get("group") if group is None else group
    made = config["run"]
    run = Run(
        out=folder,
        resume=True,
        seed=made["seed"],
        validation=made["validation"],
        budget=made["budget"],
        device="cpu" if made["device"] == "cpu" else "auto",
        checkpoint_every=made["checkpoint_every"],
        progress=progress,
    )
    return rebuild(config, objects).fit(data, condition=condition, group=group, source=source, run=run)


def require_same_data(folder: Path, fingerprint: str) -> None:
    """Refuse to resume a run on other data than those that it began with."""
    if (folder / "config.yaml").exists() and read_config(folder)["run"].get("fingerprint") not in (None, fingerprint):
        raise ModelError(
            f"the data differ from those that the run in {folder} began with; give it the same data and labels."
        )


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of a saved model or of a run.

    Raises:
        ModelError: it is missing, unreadable or of a newer version.
    """
    import yaml

    file = folder / "config.yaml"
    if not file.exists():
        kept = f" An earlier model is kept in {folder / '.previous'}." if (folder / ".previous").exists() else ""
        raise ModelError(f"{folder} is not a saved model: it has no config.yaml.{kept}")
    try:
        config = yaml.load(file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        version = int(config["format"])
        missing = [key for key in _KEYS if key not in config] if version <= FORMAT else []
        if missing or not isinstance(config["format"], int):
            raise KeyError(f"{', '.join(missing)} missing")
    except (yaml.YAMLError, KeyError, TypeError, ValueError, OSError) as error:
        raise ModelError(f"{file} cannot be read ({error}); restore it from a copy.") from error
    if version > FORMAT:
        raise ModelError(
            f"{folder} was saved in format {version}, and this version of pushforward reads up to {FORMAT}: update the package."
        )
    plain: dict[str, Any] = config
    return plain


def _read_weights(folder: Path, config: dict[str, Any]) -> dict[str, Tensor]:
    from safetensors.torch import load as load_tensors

    file = folder / "model.safetensors"
    if not file.exists():
        raise ModelError(f"{folder} has no model.safetensors; restore it from a copy or fit again.")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ModelError(f"{file} cannot be read ({error.strerror or error}).") from error
    if hashlib.sha256(content).hexdigest() != config["weights_sha256"]:
        raise ModelError(
            f"{file} is not the file that was saved with this config.yaml: it was edited, damaged or swapped."
        )
    tensors: dict[str, Tensor] = load_tensors(content)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    core = header.get("__metadata__", {}).get("core")
    if core != _digest(_core(config)):
        raise ModelError(
            f"{folder / 'config.yaml'} was edited after the model was saved (method, parameters, schema or condition); "
            "restore it from a copy."
        )
    return tensors


def rebuild(config: dict[str, Any], objects: dict[str, Any], *, fitted: bool = False) -> Method:
    """The method of a configuration, without weights; one that is fitted does without objects that only fitting needs."""
    from pushforward.method import find_method

    try:
        cls = find_method(config["method"])
        parameters = {**config["parameters"], **objects}
        for name, value in parameters.items():
            if isinstance(value, dict) and "object" in value:
                if not (fitted and name in cls.only_to_fit):
                    raise ModelError(f"the parameter {name!r} was a {value['object']}; give it again: {name}=....")
                parameters[name] = None
        make: Callable[..., Method] = cls
        method = make(**parameters)
        method.schema_ = Schema.from_dict(config["schema"])
        method.condition_ = Condition.from_dict(config["condition"]) if config["condition"] else None
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"config.yaml does not describe a model of this version: {error}.") from error
    method.params_ = method.get_params()
    method.run_, method.data_info_ = config["run"], config["data"]
    method.run_["status"] = config["status"]
    method.validation_, method.seconds_, method.warnings_ = config["validation"], config["seconds"], config["warnings"]
    method.history_, method.train_rows_, method.held_rows_ = [], np.empty(0, dtype=int), np.empty(0, dtype=int)
    return method


def _load_law(law: nn.Module, tensors: dict[str, Tensor], folder: Path) -> None:
    """Load weights and buffers; a buffer takes the shape that the file has."""
    for name, buffer in list(law.named_buffers()):
        if name in tensors and buffer.shape != tensors[name].shape:
            owner = law.get_submodule(name.rpartition(".")[0])
            setattr(owner, name.rpartition(".")[2], torch.empty_like(tensors[name]))
    try:
        law.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(f"the weights in {folder} do not fit the method of its config.yaml: {error}") from error


def _untied(law: nn.Module) -> dict[str, Tensor]:
    """The state of a law; tensors that share memory are copied, because the file format refuses them."""
    seen: set[int] = set()
    state: dict[str, Tensor] = {}
    for name, tensor in law.state_dict().items():
        state[name] = tensor.clone() if tensor.data_ptr() in seen else tensor
        seen.add(tensor.data_ptr())
    return state


def _classes(method: Method) -> int:
    return len(method.condition_.values) if method.condition_ is not None else 1


def _read_history(folder: Path) -> list[dict[str, Any]]:
    file = folder / "history.jsonl"
    try:
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    except json.JSONDecodeError as error:
        raise ModelError(f"{file} is not JSON lines ({error}); delete it, the model does not need it.") from error


def _core(config: dict[str, Any]) -> dict[str, Any]:
    """The part of the configuration that the weights depend on."""
    return {key: config[key] for key in ("method", "parameters", "condition", "schema")}


def _digest(plain: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _yaml(config: dict[str, Any]) -> str:
    import yaml

    text: str = yaml.dump(
        config, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False, allow_unicode=True, width=120
    )
    return text
