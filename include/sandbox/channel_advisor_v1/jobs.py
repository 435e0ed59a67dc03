"""Jobs of the account: asked for, polled until they are done, their file fetched by its address.

In: what makes the file. Out: a job as v1 shows it, its ZIP. Never: a job that is done at the first poll, or made twice.
"""

from __future__ import annotations

import io
import secrets
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sandbox.channel_advisor_v1.bodies import bad
from sandbox.channel_advisor_v1.face import Beside, Face, Path, query_value
from sandbox.kernel import clock
from sandbox.kernel.http import Answer, Refusal
from sandbox.kernel.system import Call

STEPS = ("Pending", "InProgressQueuedforProcessing", "Complete")  # at each poll one further
FILES = "/exports/"


@dataclass
class Job:
    """`make` gives the text of the file, once; `polls`: how often it was asked for."""

    token: str
    profile: int
    make: Callable[[], str]
    started: int
    polls: int = 0
    file: bytes = b""

    @property
    def status(self) -> str:
        return STEPS[min(self.polls, len(STEPS) - 1)]


class Jobs:
    """The jobs of this server; a restart forgets them."""

    def __init__(self, face: Face) -> None:
        self._jobs: dict[str, Job] = {}
        face.beside[FILES] = Beside(self.file, is_open=True)

    def begin(self, call: Call, profile: int, make: Callable[[], str]) -> Answer:
        job = Job(secrets.token_hex(12), profile, make, call.now)
        self._jobs[job.token] = job
        return Answer(200, self._shown(job, call))

    def poll(self, call: Call, path: Path) -> Answer:
        job = self._jobs.get(query_value(call, "token") or "")
        if job is None or job.profile not in call.access.profiles:
            raise bad("The request is invalid. There is no job with this token.")
        job.polls += 1
        if job.status == "Complete" and not job.file:
            job.file = _packed(job)
        return Answer(200, self._shown(job, call))

    def file(self, call: Call) -> Answer:
        """The ZIP of a job, without a login, as its address is a secret."""
        job = self._jobs.get(call.raw_path.removeprefix(FILES).removesuffix(".zip"))
        if job is None or not job.file:
            raise Refusal(404, "not_found", "There is no such file.")
        return Answer(200, job.file, {"Content-Type": "application/zip"}, media="application/zip")

    @staticmethod
    def _shown(job: Job, call: Call) -> dict[str, Any]:
        return {
            "$id": "1",
            "Token": job.token,
            "Status": job.status,
            "StartedOnUtc": clock.text(job.started),
            "ResponseFileUrl": f"{call.base_url}{FILES}{job.token}.zip" if job.file else None,
        }


def _packed(job: Job) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as folder:
        folder.writestr(f"{job.token}.txt", job.make().encode())
    return packed.getvalue()


def profile_of(call: Call) -> int:
    """The profile that a job is about. Refusal 400."""
    covered, text = call.access.profiles, query_value(call, "profileid")
    if text is None and len(covered) == 1:
        return covered[0]
    if text is None or not text.isdigit() or int(text) not in covered:
        raise bad("The request is invalid. profileid must name a profile of the token.")
    return int(text)
