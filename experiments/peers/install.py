"""Install every peer by its own pip command, and write down what became of it.

Run by `make peers` with the Python of the environment that they are for. One that fails does not
stop the others.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RECORD = (
    Path(sys.prefix) / "peers.json"
)  # name of a peer -> why it did not install; empty if it did
PIP = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]


def main() -> None:
    """Install all peers."""
    sys.path.insert(0, str(ROOT / "experiments"))
    from peers import PEERS

    outcomes = {peer.name: install(peer.install) for peer in PEERS}
    RECORD.write_text(json.dumps(outcomes, indent=2) + "\n")
    for name, outcome in outcomes.items():
        print(f"{name}: {outcome or 'installed'}")


def install(commands: tuple[tuple[str, ...], ...]) -> str:
    """Return why one of pip's commands failed; empty if none did."""
    for arguments in commands:
        command = [*PIP, "-c", str(ROOT / "constraints.txt"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            return f"pip install {' '.join(arguments)}: {(errors or ['it failed'])[-1]}"
    return ""


if __name__ == "__main__":
    main()
