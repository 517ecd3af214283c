"""What error reporters record of an exception: Sentry and rich, both with local variables."""

import contextlib
import io
import pickle

import rich.console
import rich.traceback
import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport
from sentry_sdk.utils import event_from_exception


class _Recorder(Transport):
    """Keeps what Sentry would send."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""

    def capture_envelope(self, envelope: Envelope) -> None:
        self.sent += envelope.serialize()


def reports(error: BaseException) -> dict[str, str]:
    """Return what each reporter shows of an exception, by name."""
    found = {
        "text": str(error),
        "repr": repr(error),
        "sentry": _by_sentry(error),
        "rich": _by_rich(error),
    }
    # An argument that is not ours may not be possible to pickle.
    with contextlib.suppress(TypeError, AttributeError, pickle.PicklingError):
        found["pickle"] = pickle.dumps(error).decode("latin-1")
    return found


def _by_sentry(error: BaseException) -> str:
    recorder = _Recorder()
    # Not `sentry_sdk.init`, which would patch the libraries of all other tests.
    client = sentry_sdk.Client(
        dsn="http://key@127.0.0.1:9/1",
        transport=recorder,
        default_integrations=False,
        auto_enabling_integrations=False,
        include_local_variables=True,
        max_value_length=10**6,
    )
    with sentry_sdk.new_scope() as scope:
        scope.set_client(client)
        event, hint = event_from_exception(error, client_options=client.options)
        client.capture_event(event, hint, scope)
    return recorder.sent.decode()


def _by_rich(error: BaseException) -> str:
    console = rich.console.Console(file=io.StringIO(), width=400, color_system=None)
    traceback = rich.traceback.Traceback.from_exception(
        type(error),
        error,
        error.__traceback__,
        show_locals=True,
        locals_max_length=10**6,
        locals_max_string=10**6,
    )
    console.print(traceback)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text
