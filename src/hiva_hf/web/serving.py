"""Serving the page: it loads nothing from other hosts and sends nothing to them."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware


STYLE_SHEET = Path(__file__).with_name("page.css")
MAX_FILE_SIZE = "1gb"
# With it, browsers load nothing from other hosts, whatever Gradio's components or a visitor's file request.
CONTENT_POLICY = b"default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'"


class OwnHostOnly:
    """ASGI middleware that adds the content policy to every response."""

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
    """Options to launch [`build_demo`]'s page with: `demo.launch(**launch_options())`."""
    return {
        "app_kwargs": {"middleware": [Middleware(OwnHostOnly)]},
        "css_paths": STYLE_SHEET,
        # Fonts of the visitor's computer, so that none are downloaded.
        "theme": gr.themes.Default(
            primary_hue="blue",
            neutral_hue="slate",
            font=("system-ui", "sans-serif"),
            font_mono=("ui-monospace", "monospace"),
        ),
        "footer_links": [],
        # It would keep all pictures in the visitor's browser.
        "run_history": False,
        "enable_monitoring": False,
        "max_file_size": MAX_FILE_SIZE,
        "show_error": True,
        # Server-side rendering needs Node; a progressive web app would be installed on the visitor's device.
        "ssr_mode": False,
        "pwa": False,
    }
