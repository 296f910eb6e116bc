"""`h2o completion`: the shell's part of tab completion."""

from __future__ import annotations

import click

from .options import RelayCommand

INSTALL = {
    "bash": 'add to ~/.bashrc:  eval "$(h2o completion bash)"',
    "zsh": 'add to ~/.zshrc, after compinit:  eval "$(h2o completion zsh)"',
    "fish": "h2o completion fish > ~/.config/fish/completions/h2o.fish",
}


@click.command(cls=RelayCommand, short_help="Print the script for tab completion.")
@click.argument("shell", type=click.Choice(list(INSTALL)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes h2o's commands and options in your shell.

    \b
    eval "$(h2o completion bash)"     now, in this shell
    h2o completion fish > ~/.config/fish/completions/h2o.fish
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    root = ctx.find_root().command
    script = found(root, {}, "h2o", "_H2O_COMPLETE").source().strip()
    click.echo(f"# To install: {INSTALL[shell]}\n{script}")
