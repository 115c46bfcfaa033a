"""How the page is served: nothing of it comes from, or goes to, another host."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware


STYLE_SHEET = Path(__file__).with_name("page.css")
MAX_FILE_SIZE = "1gb"
# Browsers then load nothing from elsewhere, whatever Gradio's parts or a visitor's file ask for.
CONTENT_POLICY = b"default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'"


class OwnHostOnly:
    """Sends the content policy with every answer (ASGI)."""

    def __init__(self, app: Callable[..., Awaitable[None]]):
        self._app = app

    async def __call__(self, scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        async def send_with_policy(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ()), (b"content-security-policy", CONTENT_POLICY)]
                message = message | {"headers": headers}
            await send(message)

        await self._app(scope, receive, send_with_policy if scope["type"] == "http" else send)


def launch_options() -> dict[str, Any]:
    """What [`build_demo`]'s page is to be launched with: `demo.launch(**launch_options())`."""
    return {
        "app_kwargs": {"middleware": [Middleware(OwnHostOnly)]},
        "css_paths": STYLE_SHEET,
        # The fonts of the visitor's computer: nothing to be fetched.
        "theme": gr.themes.Default(
            primary_hue="blue",
            neutral_hue="slate",
            font=("system-ui", "sans-serif"),
            font_mono=("ui-monospace", "monospace"),
        ),
        "footer_links": [],
        # Would keep all pictures in the visitor's browser.
        "run_history": False,
        "enable_monitoring": False,
        "max_file_size": MAX_FILE_SIZE,
        "show_error": True,
        # Would need Node, and the visitor's home screen.
        "ssr_mode": False,
        "pwa": False,
    }
