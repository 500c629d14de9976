"""Writes `schemas/records.py`: what the core works on, derived from the models of `schemas/commands.py`.

Law: there is one schema, the models. A record has the fields of its model in their order, with their types, bounds of numbers and
defaults; patterns and lengths stay with the models, because behind intake nobody but this system writes.
"""

from collections.abc import Iterable, Iterator
from datetime import date
from inspect import cleandoc
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AwareDatetime
from pydantic.fields import FieldInfo

from schemas.base import Model
from schemas.checks import AnyCheck
from schemas.codes import Code
from schemas.commands import AnyCommand

_HEAD = '''\
"""The commands as the core takes them: plain records, read and printed faster than models, and no looser in type.

Printed from `schemas/commands.py` by `make schemas` (`schemas/derive.py`). Do not edit.
"""

from datetime import date, datetime
from typing import Annotated, Generic, Literal, TypeVar

from msgspec import Meta, Struct

from schemas.codes import Code

Instant = Annotated[datetime, Meta(tz=True)]
Part_co = TypeVar("Part_co", covariant=True)


class Record(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Immutable; printed as its model is: in the order of the fields, without what has its default."""
'''
_FORM = "frozen=True, kw_only=True"  # said of each class, because type checkers do not inherit it
_NAMES: dict[Any, str] = {str: "str", bool: "bool", date: "date", AwareDatetime: "Instant", Code: "Code"}
_COMMANDS: tuple[type[Model], ...] = get_args(AnyCommand)
_COMMON: Any = _COMMANDS[0].__base__
"""What every command says, its model kept private."""


def records() -> str:
    """The text of the module."""
    models = list(dict.fromkeys(part for command in _COMMANDS for part in _parts(command)))
    common = "".join(_fields(_COMMON, _COMMON.model_fields))
    head = (
        f'class Command(Record, {_FORM}):\n    """What every command says: its cause, account, program version and origin."""\n\n'
    )
    return "\n\n".join([_HEAD, head + common, *map(_class, models), _unions()])


def _unions() -> str:
    carried = {model: f"Any{name.title()}" for model in _COMMANDS for name in _carried(model)}
    lines = [f"{carried[model]} = {_either(union)}" for model in carried for union in _carried(model).values()]
    names = [f"{model.__name__}[{carried[model]}]" if model in carried else model.__name__ for model in _COMMANDS]
    return "\n".join(
        [*lines, f"AnyCheck = {_either(get_args(AnyCheck))}", "AnyCommand = (", "    " + "\n    | ".join(names), ")\n"]
    )


def _either(models: Iterable[type]) -> str:
    return " | ".join(model.__name__ for model in models)


def _parts(model: type[Model]) -> Iterator[type[Model]]:
    """The models in its fields, and itself after them."""
    for field in model.model_fields.values():
        for part in _models(field.annotation):
            yield from _parts(part)
    yield model


def _models(annotation: Any) -> Iterator[type[Model]]:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _carried(model: type[Model]) -> dict[str, tuple[type[Model], ...]]:
    """The field that holds one of several models told apart by their `type`. At most one."""
    return {name: get_args(field.annotation) for name, field in model.model_fields.items() if field.discriminator}


# ---------------------------------------------------------------- one record


def _class(model: type[Model]) -> str:
    is_command, generic = model in _COMMANDS, ", Generic[Part_co]" if _carried(model) else ""
    head = f"class {model.__name__}({'Command' if is_command else 'Record'}{generic}, {_FORM}):\n"
    known = [name for name in model.model_fields if not (is_command and name in _COMMON.model_fields) and _is_known(model, name)]
    return head + f'    """{cleandoc(model.__doc__ or "")}"""\n\n' + "".join(_fields(model, known))


def _fields(model: type[Model], names: Iterable[str]) -> list[str]:
    return [f"    {name}: {_field(model.model_fields[name])}\n" for name in names]


def _is_known(model: type[Model], name: str) -> bool:
    """Whether the core knows the field: of a check it never sees who showed which card."""
    return not (issubclass(model, AnyCheck) and name == "member")


def _field(field: FieldInfo) -> str:
    if field.discriminator:
        return "Part_co"
    default = "" if field.is_required() else f" = {_value(field.default)}"
    return _type(field.annotation, field.metadata) + default


def _type(annotation: Any, about: Iterable[Any] = ()) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0], [told for one in arguments[1:] for told in getattr(one, "metadata", [one])])
    if origin in (Union, UnionType):
        return " | ".join(map(_type, arguments))
    if origin is Literal:
        return f"Literal[{', '.join(map(_value, arguments))}]"
    if origin is tuple:
        return f"tuple[{_type(arguments[0])}, ...]"
    return _number(about) if annotation is int else _NAMES.get(annotation) or _name(annotation)


def _number(about: Iterable[Any]) -> str:
    bounds = [f"{end}={limit:_}" for one in about for end in ("ge", "le") if (limit := getattr(one, end, None)) is not None]
    return f"Annotated[int, Meta({', '.join(bounds)})]"


def _name(kind: type) -> str:
    return "None" if kind is type(None) else kind.__name__


def _value(value: Any) -> str:
    if isinstance(value, Code):
        return f"Code.{value.name}"
    return f'"{value}"' if isinstance(value, str) else repr(value)
