"""`python -m ringmaster_operator.cli`: the command `ringmaster`, where it is not in PATH."""

from ringmaster_operator.cli import main

main()
