"""A Valkey of a test's own, which the test may stop and start again, without a trace left behind."""

import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from urllib.parse import quote, urlsplit

from budgetgate import embedded
from budgetgate.processes import child_options


class OwnValkey:
    """Listens on a port and on a unix socket; asks for a password. A context that ends with the process stopped."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="bgv-"))  # a socket's path may have 107 bytes only
        self.server = embedded.valkey(self.directory, durable=False)
        self.socket = self.directory / "valkey.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def password(self) -> str:
        return urlsplit(self.url).password or ""

    @property
    def socket_url(self) -> str:
        return f"unix://:{quote(self.password)}@{self.socket}"

    def start(self) -> None:
        command = (*self.server.command, "--unixsocket", str(self.socket))
        options = child_options(user=None, death_signal=self.server.stop_signal)
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
        embedded.wait_until_ready(self.server, self._process, timeout_s=10)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None

    def __enter__(self) -> "OwnValkey":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)
