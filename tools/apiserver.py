"""`make apiserver`: a real API server with dinp registered, to try it by hand, until ^C.

There are no nodes: Pods are admitted, and stay Pending. It is the one of the tests, so
tests/cluster says how it is made.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.cluster import assets
from tests.cluster.api import Api
from tests.cluster.assets import AssetsError
from tests.cluster.control_plane import control_plane
from tests.cluster.installation import RULE_NAMESPACES, installed
from tests.cluster.processes import StartError
from tools.processes import interrupt_by_signals

_INTRODUCTION: Final = """
A Kubernetes API server is running, and dinp is registered with it. In another terminal:

  export KUBECONFIG={kubeconfig}
  export PATH="{bin}:$PATH"
  kubectl label namespace default dinp.io/migrate=sidecar
  kubectl create -n annotated -f manifests/examples/… --dry-run=server -o yaml

A namespace for each rule is there: {namespaces}.
What dinp logs is in {log}. ^C ends everything and leaves nothing.
"""


def main() -> int:
    """Run it."""
    interrupt_by_signals()
    try:
        programs = assets.find_or_build(_say)
        with (
            tempfile.TemporaryDirectory(prefix="dinp-apiserver-") as name,
            control_plane(programs, Path(name)) as cluster,
            installed(cluster, Path(name)) as dinp,
        ):
            introduction = _INTRODUCTION.format(
                kubeconfig=cluster.kubeconfig,
                bin=cluster.kubectl_program.parent,
                namespaces=", ".join(RULE_NAMESPACES),
                log=dinp.log,
            )
            print(introduction, flush=True)
            _make_service_accounts(dinp.api)
    except KeyboardInterrupt:
        return 0
    except (AssetsError, StartError) as error:
        print(f"dinp: {error}", file=sys.stderr)
        return 1
    return 0


def _say(line: str) -> None:
    print(f"dinp: {line}", file=sys.stderr, flush=True)


def _make_service_accounts(api: Api) -> None:
    """Give each new namespace its default ServiceAccount: no controller-manager runs here."""
    known: set[str] = set()
    while True:
        namespaces = api.must("GET", "/api/v1/namespaces")["items"]
        names = {namespace["metadata"]["name"] for namespace in namespaces}
        for name in names - known:
            api.create_service_account(name, "default")
        known = names
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
