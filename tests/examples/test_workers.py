"""The worker, the AWS Lambda function and the notebook under `examples/` run as users run them."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from support.services import EXAMPLES, environ, output_of

from marketplace_async import InstalledAddOn, MarketplaceClient, to_dict
from marketplace_async.emulator import Emulator
from marketplace_async.testing import account

SPAM_SCORE = "XB06d5274893cc9af4198667d2f7d74d09"
SPEECH = "XB85b56ed9ce713e0ac62342b901233193"


@asynccontextmanager
async def running(
    *arguments: str, base_url: str, **more: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=EXAMPLES,
        env={**environ(base_url), **more},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            async with asyncio.timeout(20):
                await process.communicate()


async def test_a_taskiq_worker_resolves_the_credentials_of_the_sids_it_gets(
    marketplace_emulator: Emulator, marketplace_client: MarketplaceClient, unused_tcp_port: int
) -> None:
    pytest.importorskip("taskiq", reason="the example is a taskiq worker")
    pytest.importorskip("zmq", reason="the example sends its tasks over ZeroMQ")
    url, port = marketplace_emulator.url, str(unused_tcp_port)
    accounts = marketplace_emulator.add_subaccounts(account().account_sid, 3)
    arguments = ("-m", "taskiq", "worker", "taskiq_worker:broker", "--workers", "1")
    async with running(*arguments, base_url=url, PORT=port) as worker:
        sids = [sid for sid, _ in accounts]
        for _ in range(2):  # a task may be delivered twice
            await output_of("taskiq_worker.py", *sids, base_url=url, PORT=port)
        done: list[str] = []
        assert worker.stdout is not None
        async with asyncio.timeout(60):
            while len(done) < 6:
                line = (await worker.stdout.readline()).decode()
                assert line, "the worker has ended"
                if line.startswith("AC"):
                    done.append(line.strip())
    assert sorted(done) == sorted(
        f"{sid} {action}" for sid in sids for action in ("installed", "unchanged")
    )
    for sid in sids:
        owner = await marketplace_client.accounts.fetch(sid)
        add_ons = marketplace_client.with_account(owner).installed_add_ons
        assert [one.unique_name async for one in add_ons.list()] == ["spam-score"]


async def test_a_taskiq_task_takes_a_record() -> None:
    taskiq = pytest.importorskip("taskiq", reason="the page says so")
    broker = taskiq.InMemoryBroker()

    @broker.task(task_name="name_of")  # type: ignore[untyped-decorator, unused-ignore]
    async def name_of(installed: InstalledAddOn) -> str | None:
        return installed.unique_name

    await broker.startup()
    task = await name_of.kiq(to_dict(InstalledAddOn(sid="XE1", unique_name="speech")))
    result = await task.wait_result(timeout=10)
    await broker.shutdown()
    assert result.return_value == "speech"


class RuntimeAPI:
    """The API from which AWS Lambda's runtime takes invocations, and to which it responds."""

    def __init__(self) -> None:
        self.invocations: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.responses: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._number = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        app = web.Application()
        base = "/2018-06-01/runtime"
        app.router.add_get(f"{base}/invocation/next", self._next)
        app.router.add_post(f"{base}/{{path:.*}}", self._respond)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            host, port = runner.addresses[0][:2]
            yield f"{host}:{port}"
        finally:
            await runner.cleanup()

    async def _next(self, request: web.Request) -> web.Response:
        event = await self.invocations.get()
        self._number += 1
        headers = {
            "Lambda-Runtime-Aws-Request-Id": f"request-{self._number}",
            "Lambda-Runtime-Deadline-Ms": str(event.pop("deadline")),
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-west-1:1:function:made-up",
        }
        return web.json_response(event, headers=headers)

    async def _respond(self, request: web.Request) -> web.Response:
        self.responses.put_nowait({"path": request.path, "body": json.loads(await request.read())})
        return web.json_response({}, status=202)


async def test_a_lambda_function_serves_many_invocations_with_one_client(
    marketplace_emulator: Emulator,
) -> None:
    pytest.importorskip("awslambdaric", reason="it is the runtime of AWS Lambda for Python")
    (sid,) = marketplace_emulator.install(account().account_sid, SPAM_SCORE)
    api = RuntimeAPI()
    async with api.serving() as address:
        arguments = ("-m", "awslambdaric", "lambda_function.handler")
        more = {"AWS_LAMBDA_RUNTIME_API": address, "LAMBDA_TASK_ROOT": str(EXAMPLES)}
        url = marketplace_emulator.url
        async with running(*arguments, base_url=url, **more), asyncio.timeout(60):
            for number in range(3):
                api.invocations.put_nowait({"deadline": _milliseconds_from_now(30)})
                response = await api.responses.get()
                assert response["path"].endswith(f"/invocation/request-{number + 1}/response")
                assert response["body"]["statusCode"] == 200
                assert [one["sid"] for one in json.loads(response["body"]["body"])] == [sid]
            marketplace_emulator.faults.add("GET", "*", delay=10.0, times=None)
            api.invocations.put_nowait({"deadline": _milliseconds_from_now(1)})
            response = await api.responses.get()
            assert response["body"]["statusCode"] == 502


def _milliseconds_from_now(seconds: float) -> int:
    return int((time.time() + seconds) * 1000)


async def outputs_of_the_notebook(base_url: str, directory: Path) -> str:
    pytest.importorskip("nbclient", reason="it runs the notebook")
    pytest.importorskip("ipykernel", reason="it is the kernel of the notebook")
    pytest.importorskip("pandas", reason="the notebook shows tables")
    notebook = directory / "notebook.ipynb"
    await output_of(
        *("-c", "from nbclient.cli import main; main()", "notebook.ipynb", f"--output={notebook}"),
        base_url=base_url,
        IPYTHONDIR=str(directory / "ipython"),
        JUPYTER_CONFIG_DIR=str(directory / "jupyter"),
        PYDEVD_DISABLE_FILE_VALIDATION="1",
    )
    cells = json.loads(notebook.read_text())["cells"]
    return os.linesep.join(str(cell["outputs"]) for cell in cells if "outputs" in cell)


async def test_the_notebook_runs(marketplace_emulator: Emulator, tmp_path: Path) -> None:
    for add_on, configuration in ((SPAM_SCORE, {}), (SPEECH, {"callback_method": "POST"})):
        marketplace_emulator.install(account().account_sid, add_on, configuration)
    outputs = await outputs_of_the_notebook(marketplace_emulator.url, tmp_path)
    assert "nomorobo_spamscore" in outputs
    assert SPEECH in outputs
    assert "configuration.callback_method" in outputs
    assert "made-up" not in outputs


async def test_the_notebook_runs_for_an_account_without_add_ons(
    marketplace_emulator: Emulator, tmp_path: Path
) -> None:
    assert "date_created" in await outputs_of_the_notebook(marketplace_emulator.url, tmp_path)
