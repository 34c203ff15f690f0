"""`python -m tests.provider --port 9999`: the provider alone, to point a gateway at by hand. Prints every call."""

import argparse
import contextlib
import json
import threading

from tests.provider.recorder import Call
from tests.provider.server import Provider


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9999)
    with Provider(port=parser.parse_args().port) as provider, contextlib.suppress(KeyboardInterrupt):
        print(f"OPENAI_BASE_URL={provider.base_url} OPENAI_API_KEY={provider.api_key}", flush=True)
        told: set[str] = set()
        while True:
            for call in provider.wait_for_calls(len(told) + 1, timeout_s=threading.TIMEOUT_MAX):
                if call.ended and call.id not in told:
                    told.add(call.id)
                    print(described(call), flush=True)


def described(call: Call) -> str:
    outcome = "finished" if call.finished else "client left" if call.hung_up else "broken off"
    return f"{call.id} {call.model} {call.status} {outcome} {json.dumps(call.usage)}"


if __name__ == "__main__":
    main()
