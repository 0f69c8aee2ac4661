"""A record: a JSON object whose values are declared, and the two ways of reading one."""

import copy
import json
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from transformer_lab.settings import ConfigError, shown

FORMAT = 1  # of run.json and meta.json
LAST_TIME = 4_102_444_800.0  # seconds since 1970: the year 2100, which every calendar can show
LONGEST_TEXT = 10_000  # characters of a title or a reason
FOUND_AT_ONCE = 100  # wrong values of one file that are mended

Count = Annotated[int, Field(ge=0, lt=2**53)]
Share = Annotated[float, Field(ge=0, le=1)]
Time = Annotated[float, Field(ge=0, le=LAST_TIME)]
Text = Annotated[str, Field(max_length=LONGEST_TEXT)]
STRICT = ConfigDict(strict=True, extra="allow", allow_inf_nan=False, frozen=True)


class RecordError(ValueError):
    """Something stored that is not as it is declared here; the message names it."""


class Record(BaseModel):
    """A JSON object of plain values. Keys that are not declared are left as they are."""

    model_config = STRICT
    OPTIONAL: ClassVar[frozenset[str]] = frozenset()  # keys that an older or other run has not

    def plain(self) -> dict[str, Any]:
        """The object as it is written, without optional keys that were not given."""
        left_out = {name for name in self.OPTIONAL if name not in self.model_fields_set}
        return self.model_dump(exclude=left_out)


RecordT = TypeVar("RecordT", bound=Record)


def checked(record: type[RecordT], content: object, where: str) -> RecordT:
    """A whole record, every declared value of which is right. Raises RecordError."""
    made = _validated(record, content, where)
    missing = sorted(set(record.model_fields) - made.model_fields_set - record.OPTIONAL)
    for name, inner in made:
        if isinstance(inner, Record) and name in made.model_fields_set:
            absent = set(type(inner).model_fields) - inner.model_fields_set - inner.OPTIONAL
            missing += [f"{name}.{key}" for key in sorted(absent)]
    if missing:
        raise RecordError(f"{where} is not ours: {missing[0]} is missing.")
    return made


def mended(record: type[RecordT], content: object, where: str) -> RecordT:
    """A record in which what is wrong has its default. Raises RecordError where there is none."""
    content = copy.deepcopy(content)
    for _ in range(FOUND_AT_ONCE):
        try:
            return record.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            name = first["loc"][0] if first["loc"] else ""
            lost = name in record.model_fields and record.model_fields[name].is_required()
            if lost or not _take_out(content, list(first["loc"])):
                raise RecordError(sentence(first, where)) from error
    return _validated(record, content, where)


def _validated(record: type[RecordT], content: object, where: str) -> RecordT:
    try:
        return record.model_validate(content)
    except ValidationError as error:
        raise RecordError(sentence(error.errors()[0], where)) from error


def _take_out(content: Any, path: list[Any]) -> bool:
    """Remove the value at a path, as far as the content has it; whether anything was removed."""
    while path:
        inner = content
        try:
            for key in path[:-1]:
                inner = inner[key]
            del inner[path[-1]]
        except (LookupError, TypeError):
            path = path[:-1]  # a kind of union, or a key that is missing: what it stands in goes
        else:
            return True
    return False


def sentence(error: Any, where: str) -> str:
    """What is wrong, from what pydantic tells of it."""
    name = ".".join(str(part) for part in error["loc"])
    if name == "format" and isinstance(error["input"], int):
        return (
            f"{where} has format {error['input']}, and this lab knows {FORMAT}: "
            "use a newer Transformer Lab."
        )
    known = error.get("ctx", {}).get("error")
    if isinstance(known, ConfigError):
        return f"The settings in {where} cannot be used: {known}"
    if isinstance(known, ValueError):
        return f"{where} is not ours: {name} {known}."
    if error["type"] == "missing":
        return f"{where} is not ours: {name} is missing."
    return f"{where} is not ours: {name or 'it'} is {shown(error['input'])}."


def parsed(text: str | bytes, where: str) -> dict[str, Any]:
    """A JSON object. Raises RecordError."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{where} is no JSON: {error}.") from error
    if not isinstance(content, dict):
        raise RecordError(f"{where} is no JSON object.")
    return content
