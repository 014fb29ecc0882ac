"""The pages of a service, put into its application."""

from __future__ import annotations

from fastapi import FastAPI

from foveal.serving.pages import (
    case_page,
    key_page,
    model_page,
    problem_page,
    quality_page,
    quarantine_page,
    sign_in,
    signing,
    static,
    trail_page,
    try_page,
    user_page,
    worklist,
)


def add_to(app: FastAPI) -> None:
    """Add every page, and what pages load, to `app`."""
    for room in (
        static,
        sign_in,
        try_page,
        worklist,
        case_page,
        signing,
        problem_page,
        quality_page,
        user_page,
        key_page,
        quarantine_page,
        trail_page,
        model_page,
    ):
        app.include_router(room.router)
