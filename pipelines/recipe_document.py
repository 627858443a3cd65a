"""The text of a recipe: YAML read with the place of each setting kept, and written again.

The scalars are those of YAML 1.2: only `true` and `false` are booleans (a class called `no` stays a
word), `1e-3` is a number, `010` and `2024-01-31` are text.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from components.errors import RecipeError

Path = tuple[str | int, ...]

_TAG = "tag:yaml.org,2002:"
_MAX_DEPTH = 32
_NULL = re.compile(r"^(?:~|null|Null|NULL|)$")
_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_INT = re.compile(r"^[-+]?(?:0|[1-9][0-9]*(?:_[0-9]+)*)$")
_FLOAT = re.compile(
    r"^[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.inf|\.nan)$"
)


@dataclass(frozen=True, order=True)
class Place:
    """Where a setting was written; orders as the reader meets them: the file, then overrides."""

    order: int
    text: str
    from_file: bool = True


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, ready to be shown on one line."""

    place: Place
    message: str

    def __str__(self) -> str:
        return f"{self.place.text}: {self.message}"


@dataclass
class Document:
    """The settings of a recipe as plain values, and where each was written."""

    title: str
    """What messages call the file, as `recipe digits.yaml`."""
    values: dict[str, Any] = field(default_factory=dict)
    places: dict[Path, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place(self, path: Path) -> Place:
        """Return the place of `path`, or of the nearest section around it that was written."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return Place(0, self.title)

    def complain(self, path: Path, message: str) -> None:
        """Note a problem with the setting at `path`."""
        self.problems.append(Problem(self.place(path), message))


def dotted(path: Path) -> str:
    """Write a path as in an override: `train.optimizer.name`."""
    return ".".join(str(part) for part in path)


class _RecipeLoader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


for _name, _pattern, _first in (
    ("null", _NULL, ["~", "n", "N", ""]),
    ("bool", _BOOL, list("tTfF")),
    ("int", _INT, list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
):
    _RecipeLoader.add_implicit_resolver(_TAG + _name, _pattern, _first)


def parse_document(text: str, title: str) -> Document:
    """Read YAML text into plain values with the line of each setting.

    Keys given twice and values that are no plain data become problems of the document.

    Raises:
        RecipeError: The text is not YAML, or not a mapping; one line with the place.
    """
    root = _compose(text, title)
    document = Document(title)
    if root is None or (isinstance(root, yaml.ScalarNode) and root.tag == _TAG + "null"):
        return document
    if not isinstance(root, yaml.MappingNode):
        raise RecipeError(f"{title}: the file must hold settings as `name: value`, one per line")
    document.values = _value(root, (), document)
    return document


def _compose(text: str, title: str) -> yaml.Node | None:
    try:
        _require_simple(text, title)
        return yaml.compose(text, Loader=_RecipeLoader)
    except yaml.MarkedYAMLError as error:
        context = f" {error.context}" if error.context else ""
        line = _line_text(error.problem_mark)
        raise RecipeError(f"{title}{line}: not valid YAML:{context} {error.problem}") from error
    except yaml.reader.ReaderError as error:
        line = f", line {text.count(chr(10), 0, int(error.position)) + 1}"
        raise RecipeError(f"{title}{line}: not valid YAML: {error.reason}") from error


def _require_simple(text: str, title: str) -> None:
    """Refuse aliases, which grow without bound in their own kind, and endless nesting."""
    depth = 0
    for event in yaml.parse(text, Loader=_RecipeLoader):
        line = _line_text(event.start_mark)
        if isinstance(event, yaml.AliasEvent):
            raise RecipeError(f"{title}{line}: *{event.anchor} is an alias; write the value out")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise RecipeError(f"{title}{line}: settings more than {_MAX_DEPTH} deep are no recipe")


def _line_text(mark: Any) -> str:
    return "" if mark is None else f", line {mark.line + 1}"


def _value(node: yaml.Node, path: Path, document: Document) -> Any:
    """Turn a node into plain data and note the line of everything in it."""
    document.places.setdefault(path, _line(document, node))
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, document)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*path, i), document) for i, item in enumerate(node.value)]
    try:
        return _scalar(node.tag.removeprefix(_TAG), node.value)
    except ValueError:
        shown = node.tag.replace(_TAG, "!!")
        document.complain(path, f"{dotted(path)}: {node.value!r} cannot be read as {shown}")
        return node.value


def _mapping(node: yaml.MappingNode, path: Path, document: Document) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            document.problems.append(
                Problem(_line(document, key_node), "a setting's name must be a single word")
            )
            continue
        key = (*path, key_node.value)
        place = _line(document, key_node)
        if key_node.value in values:
            first = document.places[key].text.rpartition(", ")[2]
            message = f"{dotted(key)} is given twice (first in {first}); remove one"
            document.problems.append(Problem(place, message))
            continue
        document.places[key] = place
        values[key_node.value] = _value(value_node, key, document)
    return values


def _line(document: Document, node: yaml.Node) -> Place:
    number = node.start_mark.line + 1
    return Place(number, f"{document.title}, line {number}")


def plain_scalar(text: str) -> Any:
    """Read text that stands alone as YAML 1.2 does: null, true, 3, 1e-3, or the text itself."""
    for kind, pattern in (("null", _NULL), ("bool", _BOOL), ("int", _INT), ("float", _FLOAT)):
        if pattern.match(text):
            try:
                return _scalar(kind, text)
            except ValueError:
                # More digits than Python reads: no setting is such a number, and text is refused.
                return text
    return text


def _scalar(kind: str, text: str) -> Any:
    if kind == "str":
        return text
    if kind == "null":
        return None
    if kind == "bool" and _BOOL.match(text):
        return text.lower() == "true"
    if kind == "int":
        return int(text)
    if kind == "float":
        return float(text.replace(".inf", "inf").replace(".nan", "nan"))
    raise ValueError(text)


class _RecipeDumper(yaml.SafeDumper):
    """Writes text in quotes wherever this loader or one of YAML 1.1 would read another type."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        # Lists are indented under their name, as people write them.
        super().increase_indent(flow, False)


_RecipeDumper.add_implicit_resolver(_TAG + "float", _FLOAT, list("-+.0123456789"))
_RecipeDumper.add_implicit_resolver(_TAG + "int", _INT, list("-+0123456789"))


def _represent_list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.Node:
    plain = all(not isinstance(item, list | dict) for item in items)
    return dumper.represent_sequence(_TAG + "seq", items, flow_style=plain)


_RecipeDumper.add_representer(list, _represent_list)


def dump_document(values: dict[str, Any]) -> str:
    """Write plain values as YAML in their own order; `parse_document` reads the same back."""
    text: str = yaml.dump(
        values,
        Dumper=_RecipeDumper,
        sort_keys=False,
        allow_unicode=True,
        width=100,
        default_flow_style=False,
    )
    return text
