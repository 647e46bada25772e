"""Ring schemes: how the slots of a table rank the members.

Law: pure. A scheme is a small value made from members and settings. The scalar part, which ranks
one slot on demand, is free of numpy, since workers import it; what builds whole tables at once is
a module of its own (`*_build`) and is imported where a table is compiled.
"""
