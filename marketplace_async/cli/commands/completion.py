"""`marketplace-async --install-completion`: set up completion for a shell."""

from collections.abc import Callable

from cyclopts.completion.install import create_install_completion_command

from ..app import app

install: Callable[..., None] = create_install_completion_command(
    app.install_completion, add_to_startup=True
)
