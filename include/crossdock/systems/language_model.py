"""A language model that names candidates for a mapping, where a connection `crossdock_ai` says so.

In: the connection (host: the base URL of an API that speaks OpenAI's chat completions, login: the model, password: the
key), the fields of two contracts with the masks of their values. Out: candidate source fields by target field; nothing
where anything goes wrong, which the log says. Never: a value of a record in a request; an exception; a wait beyond
SECONDS; an answer believed: the evidence ranks it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, Queue
from threading import Thread
from typing import Any

import msgspec
import requests
from requests.utils import get_environ_proxies

from crossdock.errors import ConfigError
from crossdock.mapping.contracts import Document, Field
from crossdock.mapping.suggest import masks
from crossdock.mapping.suggest.evidence import written
from crossdock.mapping.suggest.sample import Sample, entries, lists
from crossdock.mapping.table import OF_HEAD, target_field
from crossdock.systems.connections import Connection, from_environment, is_loopback

log = logging.getLogger(__name__)

NAME = "crossdock_ai"
CONNECT, SECONDS = 3.0, 20.0
LARGEST, CHUNK = 1 << 20, 1 << 14  # bytes of an answer, and of what is read of it at once
MOST = 3  # candidates that are heard of a field
LISTED = "[]."  # between a list and a field of its entries, in what the model reads
_TASK = (
    "You map fields between two business systems. For each target field name up to three source fields that hold the "
    "same fact, the likeliest first, or none. Answer with one JSON object: "
    '{"suggestions": {"<path of a target field>": ["<path of a source field>", ...]}}. Use the paths as given.'
)

Wanted = Sequence[tuple[str, str]]  # target path, and the list that it is in ("" for the head)
Candidates = dict[tuple[str, str], tuple[str, ...]]


class _Message(msgspec.Struct):
    content: str


class _Choice(msgspec.Struct):
    message: _Message


class _Answer(msgspec.Struct):
    choices: list[_Choice]


class _Named(msgspec.Struct):
    suggestions: dict[str, list[str]]


@dataclass(frozen=True)
class LanguageModel:
    """The model behind a connection."""

    connection: Connection
    seconds: float = SECONDS

    def candidates(self, sample: Sample, wanted: Wanted) -> Candidates:
        """Source fields for each wanted field, as a mapping would write them."""
        question = ask(self.connection.login, sample, wanted)
        try:
            answer = self._within_time(question)
            content = msgspec.json.decode(answer, type=_Answer).choices[0].message.content
            named = msgspec.json.decode(_bare(content), type=_Named).suggestions
        except Exception as error:  # whatever a foreign server does
            log.warning(
                "The language model of the connection %s was no help (%s); suggestions go on without it.",
                self.connection.name, type(error).__name__,
            )  # fmt: skip
            return {}
        return _heard(named, sample, wanted)

    def _within_time(self, question: dict[str, Any]) -> bytes:
        """The body of the answer. Raises TimeoutError where it takes too long: a server may drip one byte at a time."""
        answers: Queue[bytes | Exception] = Queue()

        def work() -> None:
            try:
                answers.put(self._post(question, time.monotonic() + self.seconds))
            except Exception as error:  # whatever it is, it is said by who waits
                answers.put(error)

        Thread(target=work, daemon=True).start()
        try:
            answer = answers.get(timeout=self.seconds + CONNECT)
        except Empty:
            raise TimeoutError from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _post(self, question: dict[str, Any], until: float) -> bytes:
        """Raises ValueError where the answer is none: a redirect, an error, too large, too late."""
        url = f"{self.connection.base_url}/chat/completions"
        with requests.Session() as session:
            session.trust_env = False  # no login from a .netrc
            loopback = is_loopback(self.connection.host.rsplit(":", 1)[0].strip("[]"))
            with session.post(
                url, data=msgspec.json.encode(question), timeout=(CONNECT, self.seconds), stream=True,
                allow_redirects=False, proxies={} if loopback else get_environ_proxies(url),
                headers={"Content-Type": "application/json", "Authorization": f"Bearer {self.connection.secret}"},
            ) as response:  # fmt: skip
                if response.status_code != 200:
                    raise ValueError("it did not answer 200")
                body = b""
                while chunk := response.raw.read1(CHUNK, decode_content=True):
                    body += chunk
                    if len(body) > LARGEST or time.monotonic() > until:
                        raise ValueError("its answer is too large or too late")
                return body


def connected(read: Callable[[str], Connection] = from_environment) -> LanguageModel | None:
    """The model, where a person has made the connection; None otherwise: it is off by default. `read`: of the
    environment, or of Airflow."""
    try:
        return LanguageModel(read(NAME))
    except ConfigError as error:
        log.info("No language model is asked: %s", error.message)
        return None


def ask(model: str, sample: Sample, wanted: Wanted) -> dict[str, Any]:
    """The request: names, types, descriptions and masks; no value, no code, no key."""
    source, target = sample.source_document, sample.target_document
    fields = [_described(path, one, _masks(sample, path)) for path, one in source.leaves.items()]
    for name in lists(source):
        fields += [_described(f"{name}{LISTED}{path}", one, []) for path, one in entries(source, name).leaves.items()]
    targets = []
    for path, inside in wanted:
        field = _field(target, path, inside)
        if field is not None:
            targets.append(_described(_shown(path, inside), field, []))
    content = {
        "source": {"system": source.system, "document": source.name, "fields": fields},
        "target": {"system": target.system, "document": target.name, "fields": targets},
    }
    return {
        "model": model,
        "temperature": 0,
        "response_format": {"type": "json_object"},
        "messages": [
            {"role": "system", "content": _TASK},
            {"role": "user", "content": msgspec.json.encode(content).decode()},
        ],
    }


def _described(path: str, field: Field, shapes: list[str]) -> dict[str, Any]:
    described: dict[str, Any] = {"path": path, "type": "amount" if field.money else field.type}
    if field.description:
        described["description"] = field.description
    if shapes:
        described["shapes"] = shapes
    return described


def _masks(sample: Sample, path: str) -> list[str]:
    return masks.shapes([text for text in written(sample.source[path]) if text is not None]) if len(sample) else []


def _field(document: Document, path: str, inside: str) -> Field | None:
    return target_field(entries(document, inside) if inside else document, path)


def _shown(path: str, inside: str) -> str:
    return f"{inside}{LISTED}{path}" if inside else path


def _bare(content: str) -> bytes:
    """The JSON in an answer; models like to put it into a fence."""
    start, end = content.find("{"), content.rfind("}")
    return content[start : end + 1].encode()


def _heard(named: dict[str, list[str]], sample: Sample, wanted: Wanted) -> Candidates:
    """Of what the model says: known source fields for fields that were asked for."""
    source = sample.source_document
    of_lines = {f"{name}{LISTED}{path}": path for name in lists(source) for path in entries(source, name).leaves}
    found: Candidates = {}
    unknown = 0
    for path, inside in wanted:
        paths = []
        for one in named.get(_shown(path, inside), ())[:MOST]:
            if one in source.leaves:
                paths.append(OF_HEAD + one if inside else one)
            elif inside and one in of_lines:
                paths.append(of_lines[one])
            else:
                unknown += 1
        found[path, inside] = tuple(dict.fromkeys(paths))
    if unknown:
        log.warning("The language model named %d source fields that there are not; they are left out.", unknown)
    return found
