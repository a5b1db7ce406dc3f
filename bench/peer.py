"""A bare aiohttp server over TLS to measure dinp against: the floor of what this stack can do.

    python -m bench.peer {echo,allow,annotate} CERTIFICATE KEY

`echo` answers with the body it got; `allow` and `annotate` are webhooks that decode the
review, and allow it, or add one annotation.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import sys
from typing import Any, Final

import msgspec
from aiohttp import web

_PATCH: Final = base64.b64encode(
    b'[{"op":"add","path":"/metadata/annotations/bench.example.com~1seen","value":"yes"}]'
).decode()


async def echo(request: web.Request) -> web.Response:
    """Answer with the same body."""
    return web.Response(body=await request.read(), content_type="application/json")


async def allow(request: web.Request) -> web.Response:
    """Answer a review: the Pod may come, as it is."""
    return _answer(await request.read(), {})


async def annotate(request: web.Request) -> web.Response:
    """Answer a review: the Pod may come, with an annotation. It must have one already."""
    return _answer(await request.read(), {"patchType": "JSONPatch", "patch": _PATCH})


def _answer(body: bytes, more: dict[str, str]) -> web.Response:
    uid = msgspec.json.decode(body)["request"]["uid"]
    response: dict[str, Any] = {"uid": uid, "allowed": True, **more}
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
    return web.Response(body=msgspec.json.encode(review), content_type="application/json")


HANDLERS: Final = {"echo": echo, "allow": allow, "annotate": annotate}


async def _serve(mode: str, certificate: str, key: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    application = web.Application()
    application.router.add_post("/{path:.*}", HANDLERS[mode])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port = runner.addresses[0][1]
    print(json.dumps({"event": "serving", "port": port, "health_port": 0}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:4]))
