"""moto, asked for what this package does not answer itself: networks, keys, roles, and services to come.

What moto cannot answer is raised, so that the caller hears InvalidAction (501) instead of something that looks like
a passing trouble.
"""

import io
import os
from typing import Any

from deploy.sandbox import corrections
from deploy.sandbox.http import Request, Response

os.environ.setdefault("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")


class Moto:
    """moto's WSGI application, called in process."""

    def __init__(self) -> None:
        import moto.backends
        from moto.moto_server import werkzeug_app

        modules = frozenset(moto.backends.list_of_moto_modules())
        moto.backends.list_of_moto_modules = lambda: modules  # it lists a directory at each request otherwise
        corrections.apply()
        self._app = werkzeug_app.DomainDispatcherApplication(werkzeug_app.create_backend_app)

    def handle(self, request: Request, account: str) -> Response:
        """Ask moto on behalf of an account. NotImplementedError and AttributeError mean that it cannot."""
        environ = self._environ(request, account)
        answered: list[Any] = []

        def start(status: str, headers: list, exc_info: Any = None) -> None:
            answered[:] = [int(status.split(maxsplit=1)[0]), headers]

        parts = self._app(environ, start)
        body = b"".join(parts)
        if hasattr(parts, "close"):
            parts.close()
        status, headers = answered
        kept = {k: v for k, v in headers if k.lower() not in ("content-length", "connection", "server", "date")}
        said = (
            next((v for k, v in headers if k.lower() == "content-length"), None) if request.method == "HEAD" else None
        )
        return Response(status, kept, body, length=int(said or 0))

    @staticmethod
    def _environ(request: Request, account: str) -> dict[str, Any]:
        path, _, query = request.target.partition("?")
        from urllib.parse import unquote

        environ: dict[str, Any] = {
            "REQUEST_METHOD": request.method,
            "PATH_INFO": unquote(path, encoding="latin-1"),
            "RAW_URI": request.target,
            "REQUEST_URI": request.target,
            "QUERY_STRING": query,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": request.headers.get("host", ":80").rpartition(":")[2] or "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "SCRIPT_NAME": "",
            "CONTENT_LENGTH": str(len(request.body)),
            "CONTENT_TYPE": request.headers.get("content-type", ""),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(request.body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "HTTP_X_MOTO_ACCOUNT_ID": account,
        }
        for name, value in request.headers.items():
            if name not in ("content-length", "content-type"):
                environ["HTTP_" + name.upper().replace("-", "_")] = value
        return environ

    @staticmethod
    def reset() -> None:
        """Forget everything that moto holds, in all accounts."""
        import moto.backends
        from moto.core.base_backend import BackendDict

        for service in ("applicationautoscaling", "dynamodb", "ec2", "kms", "iam", "sts", "s3"):
            held = moto.backends.get_backend(service)
            if isinstance(held, BackendDict):
                held.reset()
