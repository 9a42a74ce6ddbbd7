"""A model in a process of its own: the same calls as in this one, and what dies is not yours.

::

    from sonyc_ml.client import connect, spawn

    with spawn("models/NAME.tflite") as model:  # a process that ends with this one
        embedding = model.get_embedding(y, sr)

    with connect("unix:/run/sonyc-ml/audio.sock") as model:  # a daemon that runs
        outputs = model.get_outputs(y, sr)

    with connect("http://127.0.0.1:8080") as model:  # `sonyc-ml serve`
        outputs = model.get_outputs(y, sr)

Importing this needs neither numpy nor a runtime; numpy is imported with the first call.
"""

from sonyc_ml.client.connecting import connect, spawn
from sonyc_ml.client.model import RemoteModel
from sonyc_ml.client.stream import Answer, Stream

__all__ = ["Answer", "RemoteModel", "Stream", "connect", "spawn"]
