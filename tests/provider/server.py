"""The provider of the tests as a real HTTP server: uvicorn on a port of its own, in a thread of this process.

`with Provider() as provider:` starts and stops it. Calls from any process on this machine reach it at `base_url`.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tests.provider.app import API_KEY, TRANSPORT, make_app
from tests.provider.behaviour import Behaviour
from tests.provider.recorder import Call, Recorder, Rule


class _Protocol(HttpToolsProtocol):
    """Gives the app the connection under its request."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope[TRANSPORT] = self.transport  # type: ignore[literal-required]  # our own key beside ASGI's


class Provider:
    """The handle that tests hold."""

    api_key = API_KEY

    def __init__(self, *, port: int = 0) -> None:
        self._recorder = Recorder()
        self._socket = socket.create_server(("127.0.0.1", port), backlog=2048)
        config = uvicorn.Config(
            make_app(self._recorder),
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="provider", daemon=True)

    @property
    def port(self) -> int:
        port: int = self._socket.getsockname()[1]
        return port

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def calls(self) -> list[Call]:
        """Every request since the last reset, in the order of arrival."""
        return self._recorder.calls()

    def behave(
        self,
        behaviour: Behaviour,
        *,
        model: str | None = None,
        containing: str | None = None,
        times: int | None = None,
    ) -> None:
        """For calls of this model, with this text anywhere in the body, so many times. The newest rule goes first."""
        self._recorder.add_rule(Rule(behaviour, model, containing, times))

    def wait_for_calls(self, count: int, *, timeout_s: float = 5.0) -> list[Call]:
        """Until so many calls have ended, well or not; the answer has them all, also those that run."""
        return self.wait_until(lambda calls: sum(call.ended for call in calls) >= count, timeout_s=timeout_s)

    def wait_until(self, enough: Callable[[list[Call]], bool], *, timeout_s: float = 5.0) -> list[Call]:
        """Asks again whenever a call begins or ends."""
        return self._recorder.wait(enough, timeout_s=timeout_s)

    def reset(self) -> None:
        """Forgets calls and rules. Calls that still hang end when their client leaves."""
        self._recorder.reset()

    def __enter__(self) -> Self:
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise RuntimeError("the provider of the tests did not start")
            time.sleep(0.005)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(timeout=10)
        self._socket.close()
