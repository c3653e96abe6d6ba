"""Client of Optuna's gRPC storage proxy that waits for a restarting server and says clearly when it is gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from optuna.storages import GrpcStorageProxy

from gazegaussian.errors import first_line
from helpers.optuna_private import wrap_stub
from helpers.storage.errors import StorageError

RETRY_TIMEOUT = 300.0  # seconds that a call waits for a server which is down
# Every other code carries a meaning that Optuna reads (no such study, trial already finished).
_FAILURES = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
)


class _PatientStub:
    """The generated stub, each call with a deadline and a clear error."""

    def __init__(self, stub: Any, address: str) -> None:
        self._wrapped = stub
        self._address = address

    def __getattr__(self, name: str) -> Callable[[Any], Any]:
        call = getattr(self._wrapped, name)

        def patient(spec: Any) -> Any:
            try:
                return call(spec, wait_for_ready=True, timeout=RETRY_TIMEOUT)
            except grpc.RpcError as error:
                if error.code() not in _FAILURES:
                    raise
                reason = first_line(error.details() or "") or error.code().name
                raise StorageError(
                    f"The gRPC storage proxy at {self._address} failed ({reason}); what it confirmed is stored: start "
                    "it again and run the same command."
                ) from error

        return patient


class Proxy(GrpcStorageProxy):
    """Optuna's proxy with patient calls."""

    def _setup(self) -> None:
        super()._setup()
        wrap_stub(self, _PatientStub)
