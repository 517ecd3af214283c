"""A network namespace: a second machine on this one, whose network can be cut."""

import asyncio
import contextlib
import os
import shutil
import sys
from typing import Self


class Namespace:
    """A network namespace with two links to this one; use it as `async with`.

    One link can be cut: packets vanish in both directions, and no connection is closed. The other
    one stays. The addresses are from the range for benchmarks (RFC 2544), which no network routes.

    Attributes:
        name: The name for `ip netns exec`.
        host: The address of this side on the link that can be cut.
        inner_host: The address of the other side on that link.
        service_host: The address of this side on the link that stays.
    """

    def __init__(self) -> None:
        number = os.getpid() % 256
        self.name = f"marketplace-{os.getpid()}"
        self.host = f"198.18.{number}.1"
        self.inner_host = f"198.18.{number}.2"
        self.service_host = f"198.19.{number}.1"
        self._links = {f"mc{os.getpid()}": "198.18", f"ms{os.getpid()}": "198.19"}
        self._cut = next(iter(self._links))
        self._number = number

    async def __aenter__(self) -> Self:
        await _delete_abandoned()
        await _ip("netns", "add", self.name)
        try:
            await _ip("-n", self.name, "link", "set", "lo", "up")
            for link, prefix in self._links.items():
                network = f"{prefix}.{self._number}"
                await _ip(
                    *("link", "add", link, "type", "veth", "peer", link, "netns", self.name),
                )
                for side, address in ((), 1), (("-n", self.name), 2):
                    await _ip(*side, "address", "add", f"{network}.{address}/30", "dev", link)
                    await _ip(*side, "link", "set", link, "up")
        except BaseException:
            await self._delete()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._delete()

    async def _delete(self) -> None:
        # The links end with it. Programs inside must have ended: they would keep it alive.
        await _ip("netns", "delete", self.name)

    async def cut(self) -> None:
        await _ip("link", "set", self._cut, "down")

    async def heal(self) -> None:
        await _ip("link", "set", self._cut, "up")


async def can_be_made() -> bool:
    """Return whether this process may create network namespaces with links."""
    if sys.platform != "linux" or shutil.which("ip") is None:
        return False
    with contextlib.suppress(OSError):
        async with Namespace():
            return True
    return False


async def _delete_abandoned() -> None:
    """Delete the namespaces of processes that were killed."""
    for line in (await _ip("netns", "list")).splitlines():
        name = line.split()[0]
        pid = name.removeprefix("marketplace-")
        if pid != name and not _is_alive(int(pid)):
            await _ip("netns", "delete", name)


def _is_alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


async def _ip(*arguments: str) -> str:
    """Run `ip` and return its output."""
    process = await asyncio.create_subprocess_exec(
        *("ip", *arguments), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    if process.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {errors.decode().strip()}")
    return output.decode()
