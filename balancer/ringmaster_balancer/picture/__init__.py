"""The ring as pictures: SVG text from plain values.

Law: pure. No picture loads anything: no script, no style sheet, no font, no link. Colours and
sizes are attributes; classes (`rm-…`) are there so that a page can give a dark room other ones.
Every picture has a title and a description that says in words what is seen.
"""
