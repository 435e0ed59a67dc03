"""Who may see the pages: whoever is logged in to Airflow, and nobody else.

Airflow gives the apps of a plugin no login of its own, and the function that checks one is no public interface. Should
a release move it, or should it fail, then nobody is let in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import HTTPException


def _nobody() -> None:
    raise HTTPException(
        status_code=403, detail="This Airflow cannot tell the pages who is asking: nobody may see them."
    )


def _check() -> Callable[..., Any]:
    try:
        from airflow.api_fastapi.core_api.security import get_user

        return get_user
    except Exception:
        return _nobody


may_see_pages = _check()
