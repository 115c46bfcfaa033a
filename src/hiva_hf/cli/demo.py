"""`hiva-hf demo`: serve the web page on this computer."""

import argparse
import os
import signal
import socket
import sys
from tempfile import TemporaryDirectory
from types import FrameType

from ..extras import import_from_extra


# By default, they end Python without any clean-up. Windows has no SIGHUP, which closing a terminal sends.
_END_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]

_DESCRIPTION = """\
Open a web page that reads photos, the webcam and videos. It works without a network, and what is uploaded stays on
this computer. Ctrl-C stops it."""


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Adds the command."""
    parser = commands.add_parser("demo", help="open the web page: photo, webcam, video", description=_DESCRIPTION)
    parser.add_argument(
        "--model", help="folder or Hub repository of a detector (default: the packaged starter checkpoint)"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps, ... (default: a GPU if there is one)")
    parser.add_argument(
        "--host", default="127.0.0.1", help="0.0.0.0 lets other computers connect (default: %(default)s)"
    )
    parser.add_argument("--port", type=int, help="default: the first free one from 7860 on")
    parser.add_argument(
        "--share",
        action="store_true",
        help="let everybody who has the link connect, through a server of Gradio's makers",
    )
    parser.add_argument("--inbrowser", action="store_true", help="open the page in the browser")
    parser.add_argument(
        "--max_video_seconds", type=float, default=120.0, help="longer videos are refused (default: %(default)s)"
    )
    parser.set_defaults(run=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    """Serves the page until Ctrl-C, SIGTERM or the end of the terminal."""
    if not args.max_video_seconds > 0:
        args.parser.error(f"--max_video_seconds must be positive, got {args.max_video_seconds:g}")
    _check_address(args)
    for number in _END_SIGNALS:
        # With nohup, the page outlives its terminal.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _exit)
    # Gradio's default folder is shared by all users of a machine: its first user owns the uploads of the others, or
    # they can't write to it.
    with TemporaryDirectory(prefix="hiva-demo-", ignore_cleanup_errors=True) as folder:
        # Gradio reads it on import, and later.
        os.environ.setdefault("GRADIO_TEMP_DIR", folder)
        import_from_extra("gradio", "demo", "The web page")
        from ..web import build_demo, launch_options

        demo = build_demo(args.model, max_video_seconds=args.max_video_seconds, device=args.device)
        try:
            demo.launch(
                server_name=args.host,
                server_port=args.port,
                share=args.share,
                inbrowser=args.inbrowser,
                **launch_options(),
            )
        finally:
            demo.close()
    return 0


def _exit(number: int, frame: FrameType | None) -> None:
    # Often several come, from the terminal, its shell and the system: the next ones must not stop the clean-up.
    for other in _END_SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    # The code that shells expect of a program that a signal ended.
    sys.exit(128 + number)


def _check_address(args: argparse.Namespace) -> None:
    """Tries to listen there: Gradio would try for ever, or suggest options that this command does not have."""
    if args.port is not None and not 1 <= args.port <= 65535:
        args.parser.error(f"--port must lie between 1 and 65535, got {args.port}")
    # IPv6 addresses in brackets, as browsers write them.
    host = args.host.removeprefix("[").removesuffix("]")
    try:
        family = socket.getaddrinfo(host, args.port, type=socket.SOCK_STREAM)[0][0]
        socket.create_server((host, args.port or 0), family=family).close()
    except OSError as error:
        where = f"--host {args.host}" + ("" if args.port is None else f" --port {args.port}")
        args.parser.error(f"{where}: the page can't be served there ({error.strerror}). Pass another one.")
