"""The app of the console: the JSON API below `/api`, the pages, and the files that they are made with.

A module of `api/` or `pages/` with a `router` is found by itself; a page with `TITLE` and `PLACE` stands in the menu.
In: requests of people whom Airflow knows. Out: answers that nobody else's page can frame or change. Never: a route
without `asks`, which the app itself asks for; a script, style or picture of another host.
"""

from __future__ import annotations

import gc
import importlib
import mimetypes
import pkgutil
import threading
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlencode

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException as NoRoute

from console import api, html, menu, pages
from console.access import asks
from crossdock.errors import CrossdockError, NotAllowed, Transient

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; frame-src 'self'; frame-ancestors 'self'; base-uri 'none'; form-action 'self'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "private, no-store",
}
STATIC = Path(__file__).parent / "static"


@cache
def app() -> FastAPI:
    """The app. It has no description of itself, for that would be a route without a login."""
    made = FastAPI(dependencies=[Depends(asks)], openapi_url=None, docs_url=None, redoc_url=None)
    for module in modules(api):
        made.include_router(module.router, prefix="/api")
    for module in modules(pages):
        made.include_router(module.router, default_response_class=Response)
    threading.Thread(target=_prepare, name="crossdock-prepare", daemon=True).start()
    made.state.menu = menu.entries(modules(pages))
    made.get("/static/{name:path}")(static)
    made.middleware("http")(_guarded)
    made.exception_handler(CrossdockError)(_refused)
    made.exception_handler(HTTPException)(_not_served)
    made.exception_handler(NoRoute)(_no_route)
    made.exception_handler(RequestValidationError)(_not_understood)
    return made


def _prepare() -> None:
    """Imports what a verdict needs while the first page is read: it takes seconds. What is imported stays: a look
    through all of it for garbage would hold up a page for 200 ms every now and then."""
    importlib.import_module("crossdock.steps.suites").prepare()
    gc.collect()
    gc.freeze()


def modules(package: ModuleType) -> list[ModuleType]:
    """The modules of a package that have a router, by name."""
    names = sorted(found.name for found in pkgutil.iter_modules(package.__path__))
    loaded = [importlib.import_module(f"{package.__name__}.{name}") for name in names]
    return [module for module in loaded if hasattr(module, "router")]


def static(name: str) -> FileResponse:
    """A script, a style, a picture. HTTP 404 for anything else."""
    path = (STATIC / name.replace("\0", "\ufffd")).resolve()  # no path holds the character NUL
    if not path.is_relative_to(STATIC) or not path.is_file():
        raise HTTPException(status_code=404, detail=f"There is no file {name}.")
    kind, _ = mimetypes.guess_type(path.name)
    # Their addresses carry the version of what is in them.
    return FileResponse(path, media_type=kind, headers={"Cache-Control": "private, max-age=31536000, immutable"})


async def _guarded(request: Request, call_next: Any) -> Response:
    answer: Response = await call_next(request)
    for name, value in HEADERS.items():
        answer.headers.setdefault(name, value)
    return answer


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, CrossdockError)
    status = 403 if isinstance(error, NotAllowed) else 503 if isinstance(error, Transient) else 422
    return _answer(request, status, error.message, error.do)


async def _not_served(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 401 and request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        return _to_login(request)
    return _answer(request, error.status_code, str(error.detail), "")


async def _no_route(request: Request, error: Exception) -> Response:
    """An address that nothing answers: nobody was asked who they are, so that nothing of a person is said."""
    assert isinstance(error, NoRoute)
    words = {404: "There is no such page.", 405: "This address does not take such a request."}
    message = words.get(error.status_code, str(error.detail))
    root = str(request.scope.get("root_path", "")).rstrip("/")
    do = f"Begin at the overview, {root}/."
    if "text/html" in request.headers.get("accept", "") and not _is_api(request):
        return html.bare(error.status_code, root, message)
    return JSONResponse({"detail": message, "do": do}, error.status_code, headers=error.headers)


def _to_login(request: Request) -> Response:
    """To Airflow's login, and back to the page that a person wanted. A part of a page loads all of it anew."""
    if request.headers.get("hx-request"):
        return Response(status_code=401, headers={"HX-Refresh": "true"})
    root = str(request.scope.get("root_path", "")).removesuffix("/crossdock")
    wanted = urlencode({"next": str(request.url)})
    return RedirectResponse(f"{root}/api/v2/auth/login?{wanted}", status_code=303)


async def _not_understood(request: Request, error: Exception) -> Response:
    """Names the fields, and not the values, which may be personal data."""
    assert isinstance(error, RequestValidationError)
    wrong = "; ".join(f"{'.'.join(str(part) for part in one['loc'][1:])}: {one['msg']}" for one in error.errors())
    return _answer(request, 422, f"The request cannot be read: {wrong}.", "Correct these values.")


def _answer(request: Request, status: int, message: str, do: str) -> Response:
    """A refusal in words: JSON for a program, a page or a part of one for a person."""
    if _is_api(request) or not hasattr(request.state, "person"):
        return JSONResponse({"detail": message, "do": do}, status)
    return html.refusal(request, status, message, do)


def _is_api(request: Request) -> bool:
    return request.url.path.removeprefix(str(request.scope.get("root_path", ""))).startswith("/api/")
