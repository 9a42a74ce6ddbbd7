"""A prediction service as they are often written: one model, which an ``async def`` calls in the event loop.

``python -m scripts.benchmarks.serving.simple_service NAME.tflite``; it says where it listens as `sonyc-ml serve` does.
"""

from __future__ import annotations

import socket
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sonyc_ml import load_model
from sonyc_ml.base.blas import one_blas_thread
from sonyc_ml.web.predict import answers
from sonyc_ml.web.predict.requests import Parameters
from sonyc_ml.web.predict.sound import opened


def main(path: str) -> None:
    """Serve until SIGTERM."""
    model = load_model(path)
    model.warm_up()

    async def predict(request: Request) -> Response:
        with one_blas_thread(), opened(await request.body(), "the body") as recording:
            output = model.embed(recording)
        return Response(answers.predictions([output], Parameters(encoding="b64")), media_type=answers.JSON)

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ready"})

    app = Starlette(routes=[Route("/predict", predict, methods=["POST"]), Route("/health", health)])
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(f"listening on http://127.0.0.1:{listening.getsockname()[1]}\nready: ", file=sys.stderr, flush=True)
        uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False)).run(sockets=[listening])


if __name__ == "__main__":
    main(sys.argv[1])
