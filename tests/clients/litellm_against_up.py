"""Starts BudgetGate on a directory of its own and runs tests/clients/litellm_roundtrip.py against it.

The argument is the Python that has LiteLLM; what follows goes to the script. `make litellm-client` runs this.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.up import running

SCRIPT = Path(__file__).parent / "litellm_roundtrip.py"


def main() -> int:
    python, *options = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="budgetgate-litellm-") as parent, running(Path(parent) / "var") as up:
        # Its table of models comes from its package and not over the network, and its settings from an empty home.
        environment = os.environ | {
            "BUDGETGATE_MASTER_KEY": up.local()["BUDGETGATE_MASTER_KEY"],
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "HOME": parent,
        }
        command = [python, str(SCRIPT), f"http://127.0.0.1:{up.port}", *options]
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
