"""What a recipe's model knows about its settings: names, variants, and refusals in plain words."""

import difflib
import re
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from components.config import Config
from pipelines.recipe_document import Document, Path, Place, Problem, dotted

_SHOWN_CHARACTERS = 60


@dataclass(frozen=True)
class Contradiction:
    """Settings that are each allowed but cannot be together, and one line that says why."""

    settings: tuple[str, ...]
    """Dotted names of the settings that take part."""
    message: str


class Contradictions(ValueError):
    """Refusal of a recipe for everything in it that cannot be together."""

    def __init__(self, items: Sequence[Contradiction]) -> None:
        super().__init__("; ".join(item.message for item in items))
        self.items = items


def variants(annotation: Any) -> list[type[Config]]:
    """Return the configs that a field may hold: none for a number, several for a choice."""
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return [annotation]
    if get_origin(annotation) is Annotated:
        return variants(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [config for option in get_args(annotation) for config in variants(option)]
    return []


def mapped(annotation: Any) -> type[Config] | None:
    """Return the config of each value of a field that is a mapping by free names."""
    if get_origin(annotation) is not dict:
        return None
    options = variants(get_args(annotation)[1])
    return options[0] if len(options) == 1 else None


def listed(annotation: Any) -> FieldInfo | None:
    """Return what each item is of a field that is a list of sections."""
    items = get_args(annotation)
    if get_origin(annotation) is not tuple or not items or not variants(items[0]):
        return None
    return FieldInfo.from_annotation(items[0])


def tag_field(field: FieldInfo) -> str | None:
    """Return the setting that tells the variants of a field apart, as `name`."""
    return field.discriminator if isinstance(field.discriminator, str) else None


def default_tag(field: FieldInfo) -> Any:
    """Return the discriminator of the field's default, or None where it has no default."""
    if field.is_required():
        return None
    return getattr(field.get_default(call_default_factory=True), tag_field(field) or "", None)


def sections(
    model: type[Config], values: Any, path: Path = ()
) -> Iterator[tuple[Path, FieldInfo, dict[str, Any]]]:
    """Yield the sections that `values` holds, outermost first: path, field and their settings."""
    for name, field in model.model_fields.items():
        section = values.get(name)
        if isinstance(section, dict) and variants(field.annotation):
            yield (*path, name), field, section
            chosen = chosen_variant(field, section)
            if chosen is not None:
                yield from sections(chosen, section, (*path, name))
        entry = mapped(field.annotation)
        if isinstance(section, dict) and entry is not None:
            for key, value in section.items():
                if isinstance(value, dict):
                    yield (*path, name, key), FieldInfo(annotation=entry), value
                    yield from sections(entry, value, (*path, name, key))
        item = listed(field.annotation)
        if isinstance(section, list) and item is not None:
            for index, value in enumerate(section):
                if isinstance(value, dict):
                    yield (*path, name, index), item, value


def chosen_variant(field: FieldInfo, section: dict[str, Any]) -> type[Config] | None:
    """Return the config that describes a section as it is written."""
    name = tag_field(field)
    if name is None:
        only = variants(field.annotation)
        return only[0] if len(only) == 1 else None
    tag = section.get(name, default_tag(field))
    for option in get_args(field.annotation):
        if any(tag in get_args(v.model_fields[name].annotation) for v in variants(option)):
            # An option may again be several, told apart by another setting.
            return chosen_variant(FieldInfo.from_annotation(option), section)
    return None


def setting_names(model: type[Config], path: Path = ()) -> Iterator[Path]:
    """Yield every setting of a model with its path, all variants included."""
    for name, field in model.model_fields.items():
        yield (*path, name)
        entry = mapped(field.annotation)
        if entry is not None:
            yield from setting_names(entry, (*path, name, "NAME"))
        item = listed(field.annotation)
        if item is not None:
            for variant in variants(item.annotation):
                yield from setting_names(variant, (*path, name, "N"))
        for variant in variants(field.annotation):
            yield from setting_names(variant, (*path, name))


def explain(error: ValidationError, model: type[Config], document: Document) -> list[Problem]:
    """Turn pydantic's refusal of a document into problems: setting, value, reason, place."""
    problems: list[Problem] = []
    messages: dict[Path, list[str]] = {}
    for detail in _by_branch(error.errors(), document):
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, Contradictions):
            problems += [Problem(_place(item, document), item.message) for item in cause.items]
            continue
        path = _real_path(detail, document)
        if detail["type"] == "extra_forbidden":
            message = _unknown(path, model, document)
        elif detail["type"] == "missing":
            path = _first_required(path, model, document)
            message = f"{dotted(path)} is missing and has no default; give it a value"
        else:
            path, message = _reason(detail, path)
        messages.setdefault(path, []).append(message)
    for path, found in messages.items():
        problems.append(Problem(document.place(path), _joined(list(dict.fromkeys(found)))))
    return problems


def _by_branch(details: list[ErrorDetails], document: Document) -> list[ErrorDetails]:
    """Leave out what the other branches of a union say of a section: that it is no word."""
    paths = [_real_path(detail, document) for detail in details]
    kept = []
    for path, detail in zip(paths, details, strict=True):
        deeper = any(len(other) > len(path) and other[: len(path)] == path for other in paths)
        if not (deeper and detail["type"] == "literal_error"):
            kept.append(detail)
    return kept


def _place(item: Contradiction, document: Document) -> Place:
    """Return where the last of the settings was written: overrides come after the file."""
    written = [place for path, place in document.places.items() if dotted(path) in item.settings]
    return max(written, default=Place(0, document.title))


def _first_required(path: Path, model: type[Config], document: Document) -> Path:
    """Return the first setting that must be written in a section that is missing."""
    fields = _fields_around(path, model, document)
    required = variants(fields[str(path[-1])].annotation) if path[-1] in fields else []
    while len(required) == 1:
        needed = [(n, f) for n, f in required[0].model_fields.items() if f.is_required()]
        if not needed:
            break
        path = (*path, needed[0][0])
        required = variants(needed[0][1].annotation)
    return path


def _joined(messages: list[str]) -> str:
    """Join what the branches of a union said of one value: `must be a number or 'auto'`."""
    first, *others = messages
    tails = [other.partition(": must be ")[2] or other for other in others]
    return " or ".join([first, *tails])


def _real_path(detail: ErrorDetails, document: Document) -> Path:
    """Leave out of pydantic's location the names of union branches, which nobody wrote."""
    path: Path = ()
    at: Any = document.values
    for part in detail["loc"]:
        if isinstance(at, dict) and part in at:
            at = at[str(part)]
        elif isinstance(at, list) and isinstance(part, int) and part < len(at):
            at = at[part]
        elif not (detail["type"] == "missing" and part == detail["loc"][-1]):
            continue
        path = (*path, part)
    return path


def _unknown(path: Path, model: type[Config], document: Document) -> str:
    siblings = list(_fields_around(path, model, document))
    message = f"{dotted(path)} is not a setting of {_described(path[:-1], model, document)}"
    near = _nearest(path, siblings, list(setting_names(model)))
    if near:
        return f"{message}; did you mean {near}?"
    return f"{message}, which takes {', '.join(siblings)}"


def _described(path: Path, model: type[Config], document: Document) -> str:
    for known, field, section in sections(model, document.values):
        if known == path:
            tag = section.get(tag_field(field) or "")
            return dotted(path) + (f" {tag!r}" if tag is not None else "")
    return dotted(path) or "a recipe"


def _fields_around(path: Path, model: type[Config], document: Document) -> dict[str, FieldInfo]:
    """Return what the section that holds `path` takes."""
    for known, field, section in sections(model, document.values):
        if known == path[:-1]:
            chosen = chosen_variant(field, section)
            return chosen.model_fields if chosen else {}
    return model.model_fields


def _nearest(path: Path, siblings: list[str], settings: list[Path]) -> str | None:
    name = str(path[-1])
    for match in difflib.get_close_matches(name.lower(), siblings, n=1, cutoff=0.7):
        return dotted((*path[:-1], match))
    others = [setting for setting in settings if setting[:-1] != path[:-1]]
    # The right name at the wrong depth: `epochs=3` for `train.epochs=3`.
    elsewhere = [dotted(setting) for setting in others if setting[-1] == name]
    if elsewhere:
        return min(elsewhere, key=len)
    tails = {str(setting[-1]): dotted(setting) for setting in others}
    for match in difflib.get_close_matches(name.lower(), list(tails), n=1, cutoff=0.8):
        return tails[match]
    return None


def _reason(detail: ErrorDetails, path: Path) -> tuple[Path, str]:
    """Say in the words of a recipe what pydantic found wrong with one value."""
    kind, context, name = detail["type"], detail.get("ctx", {}), dotted(path) or "the recipe"
    if kind == "value_error":
        return _own_words(str(context["error"]), path, detail["input"])
    if kind == "union_tag_not_found":
        key = str(context["discriminator"]).strip("'")
        return path, f"{name} does not say which it is; give {name}.{key}"
    if kind == "union_tag_invalid":
        key, tag = str(context["discriminator"]).strip("'"), context["tag"]
        expected = " or ".join(context["expected_tags"].rsplit(", ", 1))
        refusal = f"{name}.{key} = {shown(tag)}: must be {expected}"
        return (*path, key), refusal + _did_you_mean(tag, expected)
    value = shown(detail["input"])
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return path, f"{name} = {value}: must be a section with settings of its own"
    if kind == "literal_error":
        hint = _did_you_mean(detail["input"], context["expected"])
        return path, f"{name} = {value}: must be {context['expected']}{hint}"
    return path, f"{name} = {value}: {_plain(kind, detail['msg'])}"


def _own_words(message: str, path: Path, section: Any) -> tuple[Path, str]:
    """Point a config's own refusal at the first setting that it names."""
    message = " ".join(message.split())
    if isinstance(section, dict):
        return (*path, *_first_named(message, section)), f"{dotted(path)}: {message}"
    return path, f"{dotted(path)} = {shown(section)}: {message}"


def _first_named(message: str, section: dict[str, Any]) -> Path:
    """The first setting of a section that a message names, and what it names in that one."""
    named: Path = ()
    at: Any = section
    for word in re.sub(r"[,;:']", " ", message).split():
        if isinstance(at, dict) and word in at:
            named, at = (*named, word), at[word]
        elif not named:
            inside = [name for name, part in section.items() if isinstance(part, dict)]
            found = next((name for name in inside if word in section[name]), None)
            if found is not None:
                return found, word
    return named


_PLAIN = {
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be text; put it in quotes",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
}


def _plain(kind: str, message: str) -> str:
    return _PLAIN.get(kind) or message.replace("Input should", "must").replace(
        "String should", "must"
    ).replace("Tuple should", "must").replace("List should", "must")


def _did_you_mean(value: Any, expected: str) -> str:
    names = expected.replace(" or ", ", ").replace("'", "").split(", ")
    near = difflib.get_close_matches(str(value).lower(), names, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near and len(names) > 1 else ""


def shown(value: Any) -> str:
    """Show a value as it would be written in YAML, cut where it is long."""
    special: dict[Any, str] = {None: "null", True: "true", False: "false"}
    text = special[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."


def is_single(annotation: Any) -> bool:
    """Tell whether a field always holds one section, so that nothing written means defaults."""
    return bool(variants(annotation)) and type(None) not in get_args(annotation)
