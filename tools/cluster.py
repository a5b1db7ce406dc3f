"""`make cluster`: a real cluster of one node with dinp in it, to try it by hand, until ^C.

It is the one of the tests, so tests/node says how it is made. With --down, end those of this
checkout that run in other terminals, and remove what a killed one has left.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.cluster.assets import AssetsError
from tests.cluster.installation import RULE_NAMESPACES
from tests.cluster.processes import StartError, wait_until
from tests.node import programs
from tests.node.cluster import NodeCluster, node_cluster
from tests.node.contents import CLIENT, DIND_20_10, DIND_29
from tests.node.leftovers import PREFIX, remove_leftovers, run_directory
from tools.processes import interrupt_by_signals
from tools.serving import ServingError

_INTRODUCTION: Final = """
A Kubernetes cluster of one node is running, with dinp. In another terminal:

  export KUBECONFIG={kubeconfig}
  export PATH="{bin}:$PATH"
  kubectl run try --namespace=annotated --image={client} --annotations=dinp.io/inject=sidecar \\
    --restart=Never --command -- docker version
  kubectl logs --namespace=annotated try --follow --container=try

Images that are there (no other can be pulled): {images}.
A namespace for each rule is there: {namespaces}.
What each component logs is in {directory}. ^C, or make cluster-down, ends
everything and leaves nothing.
"""


_PID: Final = "cluster.pid"
_CHECKOUT: Final = "checkout"
_ROOT: Final = Path(__file__).parents[1].resolve()


def main() -> int:
    """Run it, or end those that run."""
    if sys.argv[1:] == ["--down"]:
        return down()
    interrupt_by_signals()
    try:
        found = programs.find_or_build(_say)
        with run_directory() as directory:
            (directory / _CHECKOUT).write_text(str(_ROOT), encoding="utf-8")
            (directory / _PID).write_text(str(os.getpid()), encoding="ascii")
            with node_cluster(found, directory, _say) as started:
                print(_introduction(started), flush=True)
                signal.pause()
    except KeyboardInterrupt:
        return 0
    except (AssetsError, StartError, ServingError) as error:
        print(f"dinp: {error}", file=sys.stderr)
        return 1
    return 0


def down() -> int:
    """End every cluster that was started from this checkout; return the exit code."""
    remove_leftovers()
    for file in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{_PID}"):
        with suppress(OSError, ValueError):
            if (file.parent / _CHECKOUT).read_text(encoding="utf-8") == str(_ROOT):
                os.kill(int(file.read_text(encoding="ascii")), signal.SIGTERM)
                _wait_until_gone(file.parent)
    return 0


def _wait_until_gone(folder: Path) -> None:
    wait_until(lambda: not folder.exists(), f"{folder} is gone")


def _introduction(started: NodeCluster) -> str:
    cluster = started.cluster
    return _INTRODUCTION.format(
        kubeconfig=cluster.kubeconfig,
        bin=cluster.kubectl_program.parent,
        client=CLIENT,
        images=f"{CLIENT}, {DIND_20_10}, {DIND_29}",
        namespaces=", ".join(RULE_NAMESPACES),
        directory=started.directory / "logs",
    )


def _say(line: str) -> None:
    print(f"dinp: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
