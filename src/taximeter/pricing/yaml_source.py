"""Catalogs as YAML files: read strictly, every fault reported with its file and line.

Only plain data is read: mappings, lists, texts, whole and decimal numbers, true and false.  Anchors,
aliases and tags are refused, because a few lines of them can expand to gigabytes.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from yaml.resolver import Resolver

from taximeter.pricing import checks
from taximeter.pricing.documents import read
from taximeter.pricing.errors import CatalogInvalid, Problem, VersionIsPublished
from taximeter.pricing.model import Document
from taximeter.pricing.nodes import PLAIN, Node, Scalar

FILE_BYTES_MAX = 1_000_000
FILES_MAX = 1000
DEPTH_MAX = 20
# Written so, a number is what it looks like in every YAML dialect.
_INT = "tag:yaml.org,2002:int"
_FLOAT = "tag:yaml.org,2002:float"
_BOOL = "tag:yaml.org,2002:bool"
_NULL = "tag:yaml.org,2002:null"
_RESOLVER: Any = Resolver()
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Fault(Exception):
    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


def builtin_dir() -> Path:
    """The folder of the catalog that comes with the program."""
    return Path(str(resources.files("taximeter").joinpath("catalog")))


def load_dir(
    path: Path, meters: checks.MeterBook | None = None, existing: Sequence[Document] = (), *, to_publish: bool = False
) -> tuple[Document, ...]:
    """Every document in the ``.yaml`` and ``.yml`` files of a folder and its subfolders, in the order of their paths.

    Args:
        path: the folder, or a single file.
        meters: what the meters produce; with it, models and cards are checked against them.
        existing: documents published already, to which these may refer.
        to_publish: refuse other content under a version of ``existing`` before anything else: it is not checked as if it could be published.

    Raises:
        CatalogInvalid: with every fault found.
        VersionIsPublished: see ``to_publish``; the message names each and says what to do.
    """
    problems: list[Problem] = []
    documents = []
    for file in _files(path, problems):
        shown = str(file.relative_to(path)) if file != path else file.name
        documents += _load_file(file, shown, problems)
    if to_publish:
        refuse_changed(checks.changed(documents, existing))
    problems += checks.problems(documents, existing, meters)
    problems += checks.offers(documents, existing)
    if problems:
        raise CatalogInvalid(sorted(problems, key=lambda problem: (problem.file, problem.line)))
    return tuple(documents)


def refuse_changed(changed: Sequence[Document]) -> None:
    """Raises VersionIsPublished when there are documents whose version is published with other content."""
    lines = []
    for document in changed:
        kind, name, version = document.key
        lines.append(
            f"{document.file}:{document.line}: {kind} {name}@{version} is published with other content; "
            f"published versions never change, so write version: {version + 1}"
        )
    if lines:
        raise VersionIsPublished("\n".join(lines))


def load_text(text: str, file: str = "catalog.yaml") -> tuple[Document, ...]:
    """The documents in a text, checked one by one.  Raises CatalogInvalid."""
    problems: list[Problem] = []
    documents = _load_text(text, file, problems)
    if problems:
        raise CatalogInvalid(problems)
    return tuple(documents)


def _files(path: Path, problems: list[Problem]) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.exists():
        problems.append(Problem(str(path), 0, "there is no such folder"))
        return []
    files = sorted(file for file in path.rglob("*") if file.suffix in {".yaml", ".yml"} and file.is_file())
    if not files:
        problems.append(Problem(str(path), 0, "there is no .yaml file here; give a folder with a catalog"))
    if len(files) > FILES_MAX:
        problems.append(Problem(str(path), 0, f"there are more than {FILES_MAX} files here; give the folder with the catalog alone"))
        return []
    return files


def load_nodes(file: Path, shown: str, problems: list[Problem]) -> list[Node]:
    """The documents of one file as trees; what is wrong with it as YAML is added to ``problems`` under the name ``shown``."""
    try:
        data = file.read_bytes() if file.stat().st_size <= FILE_BYTES_MAX else None
        if data is None:
            problems.append(Problem(shown, 0, f"the file is larger than {FILE_BYTES_MAX} bytes"))
            return []
        text = data.decode("utf-8")
    except OSError as error:
        problems.append(Problem(shown, 0, f"the file cannot be read ({error.strerror})"))
        return []
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        problems.append(Problem(shown, line, "the file is not UTF-8"))
        return []
    return _nodes(text, shown, problems)


def _load_file(file: Path, shown: str, problems: list[Problem]) -> list[Document]:
    return _documents(load_nodes(file, shown, problems), shown, problems)


def _load_text(text: str, file: str, problems: list[Problem]) -> list[Document]:
    return _documents(_nodes(text, file, problems), file, problems)


def _documents(nodes: Sequence[Node], file: str, problems: list[Problem]) -> list[Document]:
    documents = (read(node, file, problems) for node in nodes)
    return [document for document in documents if document is not None]


def _nodes(text: str, file: str, problems: list[Problem]) -> list[Node]:
    nodes: list[Node] = []
    try:
        nodes.extend(_trees(text))
    except _Fault as fault:
        problems.append(Problem(file, fault.line, fault.message))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problems.append(Problem(file, mark.line + 1 if mark else 0, f"this is not YAML: {error.problem or error.context}"))
    except yaml.YAMLError as error:
        first, *_ = str(error).splitlines()
        problems.append(Problem(file, 0, f"this is not YAML: {first}"))
    return nodes


def _trees(text: str) -> Iterator[Node]:
    events = yaml.parse(text, Loader=_LOADER)
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            node = _node(next(events), events, 0)
            # A file may end in "---", or hold nothing but comments.
            if node.value is not None:
                yield node


def _node(event: Any, events: Iterator[Any], depth: int) -> Node:  # noqa: ANN401 - PyYAML has no types for events
    line = event.start_mark.line + 1
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
        raise _Fault(line, "anchors (&) and aliases (*) are not supported; write the value out")
    if depth > DEPTH_MAX:
        raise _Fault(line, f"this is nested more than {DEPTH_MAX} deep")
    if getattr(event, "tag", None) is not None:
        raise _Fault(line, f"tags ({event.tag}) are not supported; write plain values")
    if isinstance(event, yaml.ScalarEvent):
        return Node(_scalar(event, line), line)
    if isinstance(event, yaml.SequenceStartEvent):
        items = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            items.append(_node(event, events, depth + 1))
        return Node(items, line)
    return Node(_mapping(events, depth), line)


def _mapping(events: Iterator[Any], depth: int) -> dict[str, Node]:
    entries: dict[str, Node] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        key = _node(event, events, depth + 1)
        if not isinstance(key.value, str):
            raise _Fault(key.line, "a key must be a text; put it in quotes")
        value = _node(next(events), events, depth + 1)
        if key.value in entries:
            raise _Fault(key.line, f"the key {key.value!r} stands twice")
        # A problem with a value that is itself a mapping is shown where its key stands.
        entries[key.value] = Node(value.value, key.line)
    return entries


def _scalar(event: Any, line: int) -> Scalar:  # noqa: ANN401 - PyYAML has no types for events
    text: str = event.value
    if not event.implicit[0]:
        return text
    tag = _RESOLVER.resolve(yaml.ScalarNode, text, (True, False))
    if tag == _NULL:
        return None
    if tag == _BOOL:
        return text.lower() in {"true", "yes", "on"}
    if tag == _INT:
        digits = text.lstrip("+-")
        if not digits.isdecimal() or (len(digits) > 1 and digits[0] == "0") or len(digits) > 30:  # noqa: PLR2004 - as in nodes.DIGITS_MAX
            raise _Fault(line, f"{text[:40]!r} is not a plain whole number; put it in quotes if it is a text")
        return int(text)
    if tag == _FLOAT:
        if PLAIN.fullmatch(text) is None:
            raise _Fault(line, f"{text[:40]!r} is not a number that can be used here; write it with digits and a point alone")
        return Decimal(text)
    return text
