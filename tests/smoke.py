"""The first five minutes on a bare machine: `make smoke` runs this with nothing installed but requirements.txt.

Starts everything, makes a key with two windows, calls the demo model, waits until every part works, and stops. The
tests themselves run with more libraries than `make run` installs, so they cannot see that one of those is missing.
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from tests.up import Up, running

LIMITS = [{"budget_duration": "1h", "max_budget": 10.0}, {"budget_duration": "30d", "max_budget": 500.0}]
QUESTION = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}
BEAT_S = 12.0


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="budgetgate-smoke-") as parent, running(Path(parent) / "var") as up:
        key = _call(up, "/key/generate", {"budget_limits": LIMITS}, key=up.local()["BUDGETGATE_MASTER_KEY"])["key"]
        answer = _call(up, "/v1/chat/completions", QUESTION, key=key)
        print(answer["choices"][0]["message"]["content"])
        time.sleep(BEAT_S)  # beat has sent its tasks, and the worker has run them
        code = up.stop()
        assert code == 0, f"manage.py up ended with {code}:\n{up.out}{up.err}"
        assert "starting it again" not in up.out, f"a part ended by itself:\n{up.out}"
        assert "Traceback" not in up.out, f"a part failed:\n{up.out}"
    print("smoke: every part started, worked and stopped")


def _call(up: Up, path: str, body: object, *, key: str) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {key}"}
    response = httpx.post(f"http://127.0.0.1:{up.port}{path}", json=body, headers=headers, trust_env=False, timeout=10)
    response.raise_for_status()
    answer = json.loads(response.content)
    assert isinstance(answer, dict), "every answer is an object"
    return answer


if __name__ == "__main__":
    main()
