"""What an admin may do from the page: write a wish. A coordinator does the rest."""

from typing import Any

from flask import Blueprint, flash, redirect, request, url_for
from flask_login import current_user

from admin.fleet import ask_drain
from admin.requests import request_cancel, request_letters
from admin.web.guard import clock, only_admin

bp = Blueprint("actions", __name__)


@bp.post("/dead-letters/<any(requeue, drop):verb>")
@only_admin
def letters(verb: str) -> Any:
    """Ask that a dead letter, or all of them, is sent again or dropped."""
    letter = request.form.get("letter", "")[:18]  # fewer digits than the largest number has
    number = request_letters(verb, letter, who=current_user.id, clock=clock())
    flash(f"Request {number}: {verb} {'all letters' if letter == 'all' else f'letter {letter}'}.")
    return redirect(url_for("pages.letters"))


@bp.post("/runs/<int(max=9223372036854775807):number>/cancel")
@only_admin
def cancel(number: int) -> Any:
    """Ask that what has not started of a run does not start."""
    wish = request_cancel(str(number), who=current_user.id, clock=clock())
    flash(f"Request {wish}: cancel run-{number}.")
    return redirect(url_for("pages.run", number=number))


@bp.post("/workers/<any(drain, undrain):verb>")
@only_admin
def workers(verb: str) -> Any:
    """Ask that a worker takes nothing more, or takes messages again."""
    name = request.form.get("name", "")[:200]
    names = ask_drain(name, drain=verb == "drain", who=current_user.id, clock=clock())
    flash(f"Asked to {'drain' if verb == 'drain' else 'go on'}: {', '.join(names)}.")
    return redirect(url_for("pages.overview"))
