"""The ASGI application: LLM routes go to the data plane's own entry, everything else to Django."""

import os
import warnings
from typing import Any

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "budgetgate.settings")
django_application = get_asgi_application()

# Models can be imported only once Django is set up.
from django.conf import settings  # noqa: E402

from budgetgate.plane import AssembledPlane  # noqa: E402
from proxy.entry import VIEWS, ProxyEntry, Receive, Scope, Send  # noqa: E402

DRAIN_S = 5.0

# Whitenoise reads its small files synchronously; Django gathers them first, and says so for each.
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")


class Application:
    """Starts the data plane with the server and stops it, settled, with the server."""

    def __init__(self) -> None:
        self._assembled: AssembledPlane | None = None
        self._entry: ProxyEntry | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] in VIEWS:
            assert self._entry is not None, "the server runs the lifespan protocol (uvicorn --lifespan on)"
            await self._entry(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await django_application(scope, receive, send)  # type: ignore[arg-type]

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "lifespan.startup", "the lifespan protocol begins so"
        try:
            await self._start()
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": f"the data plane cannot start: {error}"})
            raise
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._stop()
        await send({"type": "lifespan.shutdown.complete"})

    async def _start(self) -> None:
        self._assembled = AssembledPlane()
        await self._assembled.start()
        self._entry = ProxyEntry(self._assembled.plane, body_bytes_max=settings.BODY_BYTES_MAX)

    async def _stop(self) -> None:
        assert self._assembled is not None, "only a started plane is stopped"
        assert self._entry is not None, "it is made when the plane is started"
        await self._entry.drain(timeout_s=DRAIN_S)
        await self._assembled.stop()


application: Any = Application()
