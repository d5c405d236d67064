"""Every parameter of the experiment: name, type, allowed values, and strict loading.

Defaults stand in ``params/defaults.yaml``, differences of a size in ``params/<size>.yaml``,
and whatever the make line, papermill or a notebook's parameters cell sets comes last.
A key that is misspelt, of the wrong type or impossible is an error that names the key,
the place where it stands and, for a misspelling, the nearest valid name.
"""

import ast
import datetime
import difflib
import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from cutoff import paths
from cutoff.errors import CutoffError
from cutoff.experiment import STAGES as STAGES
from cutoff.parameter_table import SECRETS as SECRETS
from cutoff.parameter_table import TABLE as TABLE
from cutoff.parameter_table import Parameter as Parameter


class Params:
    """Resolved parameters: read as attributes (``p.lora_rank``), never changed."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.__dict__["_values"] = dict(values)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_values"][name]
        except KeyError:
            # AttributeError, not CutoffError: copy and pickle probe for missing attributes.
            raise AttributeError(f"no parameter {name!r}; {nearest(name)}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"parameters are read only; set {name!r} before loading")

    def __repr__(self) -> str:
        return f"Params({', '.join(f'{k}={v!r}' for k, v in self.as_dict().items())})"

    def as_dict(self) -> dict[str, Any]:
        """All parameters in the order of the table; ``${NAME}`` values stay unresolved."""
        return dict(self.__dict__["_values"])

    def hash_for(self, stage: str) -> str:
        """Hash (16 hex digits) of the parameters that matter to ``stage`` or an earlier one."""
        if stage not in STAGES:
            raise ValueError(f"unknown stage {stage!r}; one of {STAGES}")
        relevant = STAGES[: STAGES.index(stage) + 1]
        values = {k: v for k, v in self.as_dict().items() if TABLE[k].stage in relevant}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def load(
    size: str, overrides: Mapping[str, Any] | None = None, where: str = "the overrides"
) -> Params:
    """Defaults <- ``params/<size>.yaml`` <- ``overrides`` (typed values), all checked.

    ``where`` says in error messages where the overrides were written.
    """
    folder = paths.root() / "params"
    sizes = sorted(path.stem for path in folder.glob("*.yaml") if path.stem != "defaults")
    if size not in sizes:
        raise CutoffError(f"There is no size {size!r}; the sizes are {', '.join(sizes)}.")
    values = _read_file(folder / "defaults.yaml")
    missing = [name for name in TABLE if name not in values]
    if missing:
        raise CutoffError(f"params/defaults.yaml lacks {', '.join(missing)}.")
    of_size = _read_file(folder / f"{size}.yaml")
    if of_size.get("size") != size:
        raise CutoffError(f"params/{size}.yaml must hold the line 'size: {size}'.")
    values |= of_size
    for name, value in (overrides or {}).items():
        values[name] = check(name, value, where)
    values["size"] = size
    _check_together(values)
    return Params({name: values[name] for name in TABLE})


def resolve(namespace: Mapping[str, Any]) -> Params:
    """Parameters of a notebook: call with ``globals()`` right after the parameters cell.

    Takes ``size``, ``limit`` and every other parameter that the cell, or papermill,
    has set by name. A literal that is no parameter is taken for a misspelling.
    """
    where = "the parameters cell"
    given = {name: namespace[name] for name in _literals(namespace)}
    for name in given:
        if name not in TABLE:
            raise CutoffError(f"Unknown parameter {name!r} in {where}; {nearest(name)}")
    size = given.pop("size", "tiny")
    return load(check("size", size, where), given, where)


def parse(name: str, text: str, where: str) -> Any:
    """Value of parameter ``name`` written as ``text`` on a command line, checked."""
    parameter = _known(name, where)
    if parameter.optional and text.strip().lower() in ("", "null", "none"):
        return None
    value: Any = text
    try:
        if parameter.type in (int, float):
            value = parameter.type(text)
        elif parameter.type is bool:
            value = {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
    except ValueError:
        pass  # check() says what was expected
    return check(name, value, where)


def check(name: str, value: Any, where: str) -> Any:
    """Return ``value`` in the parameter's type or raise ``CutoffError``."""
    parameter = _known(name, where)
    if value is None and parameter.optional:
        return None
    if parameter.type is float and isinstance(value, str | int) and not isinstance(value, bool):
        try:  # YAML reads 1e-4 (without a point) as a text, and a person means the number
            value = float(value)
        except ValueError:
            pass
    if parameter.type is str and type(value) is datetime.date:  # YAML reads 2024-12-01 as a day
        value = value.isoformat()
    good = type(value) is parameter.type
    if good and parameter.type in (int, float):
        good = math.isfinite(value)
        good = good and (parameter.low is None or value >= parameter.low)
        good = good and (parameter.high is None or value <= parameter.high)
    elif good and parameter.type is str:
        good = bool(value.strip()) and (not parameter.choices or value in parameter.choices)
    if name in SECRETS and not (good and re.fullmatch(r"\$\{\w+\}", value)):
        # Not even this message may repeat it: it ends in logs.
        raise CutoffError(
            f"{name} in {where}: must be the name of an environment variable in the form "
            "${OPENAI_API_KEY}, never the key itself."
        )
    if not good:
        raise CutoffError(f"{name} = {value!r} in {where}: must be {parameter.allowed()}.")
    return value


def nearest(name: str, valid: Iterable[str] = TABLE) -> str:
    """The end of an error sentence: the ``valid`` name that looks most like ``name``."""
    close = difflib.get_close_matches(name.lower(), list(valid), n=1, cutoff=0.0)
    return f"did you mean {close[0]!r}? (`python -m cutoff params` lists all.)"


def reveal(value: str) -> str:
    """Replace ``${NAME}`` by the environment variable at the moment of use.

    Only the unresolved text is ever stored in ``Params``, so that no output can hold a key.
    """

    def variable(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise CutoffError(f"The environment variable {match[1]} is not set; export it first.")
        return os.environ[match[1]]

    return re.sub(r"\$\{(\w+)\}", variable, value)


def _known(name: str, where: str) -> Parameter:
    if name not in TABLE:
        raise CutoffError(f"Unknown parameter {name!r} in {where}; {nearest(name)}")
    return TABLE[name]


def _read_file(path: Path) -> dict[str, Any]:
    where = f"params/{path.name}"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CutoffError(f"Cannot read {where}: {' '.join(str(error).split())}.") from None
    if not isinstance(content, dict):
        raise CutoffError(f"{where} must hold lines of the form 'name: value'.")
    return {str(name): check(str(name), value, where) for name, value in content.items()}


def _literals(namespace: Mapping[str, Any]) -> list[str]:
    """Names that parameters cells have set.

    In IPython a parameters cell is one that holds nothing but assignments of literals;
    variables of later cells must not count when somebody runs the cells again by hand.
    """
    plain = (str, int, float, bool, type(None))
    names = [
        name
        for name, value in namespace.items()
        if not name.startswith("_") and isinstance(value, plain)
    ]
    if "In" not in namespace:
        return names
    assigned: set[str] = set()
    for source in namespace["In"]:
        try:
            statements = ast.parse(source).body
            for statement in statements:
                if not isinstance(statement, ast.Assign):
                    raise ValueError("not a parameters cell")
                ast.literal_eval(statement.value)
        except (SyntaxError, ValueError):
            continue
        for statement in statements:
            assert isinstance(statement, ast.Assign)
            assigned |= {t.id for t in statement.targets if isinstance(t, ast.Name)}
    return [name for name in names if name in assigned]


def _check_together(values: Mapping[str, Any]) -> None:
    if values["n_unseen_papers"] >= values["n_post_papers"]:
        raise CutoffError(
            f"n_unseen_papers = {values['n_unseen_papers']} must be smaller than n_post_papers = "
            f"{values['n_post_papers']}: the other papers are the training papers."
        )
    if values["max_new_tokens"] >= values["num_ctx"]:
        raise CutoffError(
            f"max_new_tokens = {values['max_new_tokens']} must be smaller than num_ctx = "
            f"{values['num_ctx']}: the prompt needs room too."
        )
