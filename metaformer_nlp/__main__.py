"""The command `metaformer`: the scripts by name, from a checkout or a wheel.

metaformer train_vision --config recipe:digits
accelerate launch -m metaformer_nlp train_vision --config recipe:digits
"""

from __future__ import annotations

import ast
import sys

from metaformer_nlp.config.names import nearest
from metaformer_nlp.config.recipes import SCRIPTS


def main() -> None:
    """Run the script that the command line names; without a name, or with ``--help``, list all."""
    scripts = {path.stem: path for path in sorted(SCRIPTS.glob("*.py"))}
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        print("usage: metaformer COMMAND [options]      metaformer COMMAND --help explains a command\n")
        for name, path in scripts.items():
            purpose = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            print(f"  {name:<18} {purpose.partition(chr(10))[0]}")
        print(f"\nRecipes, for --config recipe:NAME, and launch files of accelerate are in {SCRIPTS}.")
    elif name not in scripts:
        print(f"error: there is no command {name!r}; {nearest(name, scripts)}", file=sys.stderr)
        sys.exit(2)
    else:
        sys.argv[:2] = [f"metaformer {name}"]  # as usage lines have it
        # Not by runpy: it would put the file's path there.
        exec(compile(scripts[name].read_bytes(), scripts[name], "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    main()
