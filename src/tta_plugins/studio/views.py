"""The page's view of a run: its state as text, and the reward curve."""

import html
import urllib.parse

import pandas as pd

from tta_plugins.studio.history import Past
from tta_plugins.studio.job import State


def status(state: State, past: Past | None) -> str:
    """The state as HTML. Text from users, plugins and models is escaped."""
    notes = "".join(f"<p class='note'>{html.escape(note)}</p>" for note in state.notes)
    return f"<div role='{'alert' if state.phase == 'failed' else 'status'}' class='run {state.phase}'>{_text(state, past)}{notes}</div>"


def _text(state: State, past: Past | None) -> str:
    if state.phase == "waiting":
        return f"<p>Waiting for {state.ahead} other run(s).</p>" if state.ahead else "<p>Waiting.</p>"
    if state.phase == "preparing":
        return "<p>Preparing: loading the parts, encoding the prompt, sampling the plain image.</p><progress></progress>"
    if state.phase == "running":
        reward = f" · reward {state.rewards[-1][1]:.4f}" if state.rewards else ""
        return f"<p>{state.done} of {state.total}{reward}</p><progress value='{state.done}' max='{state.total}'></progress>"
    message = f"<p>{html.escape(state.message)}</p>" if state.message else ""
    return message if past is None else f"{summary(past)}{message}"


def summary(past: Past) -> str:
    """A saved run as HTML: its prompt, scores, method and folder, and a link to a zip file of the folder."""
    link = urllib.parse.quote(f"runs/{past.folder.name}.zip")
    return (
        f"<p class='prompt'>{html.escape(past.prompt)}</p><p class='scores'>{html.escape(past.scores)}</p>"
        f"<p class='quiet'>{html.escape(past.method)}, saved in <code>{html.escape(str(past.folder))}</code></p>"
        f"<p><a id='download' href='{link}' download>Download the run's folder</a></p>"
    )


def curve(rewards: tuple[tuple[int, float], ...]) -> pd.DataFrame:
    """The rewards as a table for the plot."""
    return pd.DataFrame(list(rewards), columns=["snapshot", "reward"])
