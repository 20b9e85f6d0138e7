#!/usr/bin/python3
"""embed_folder.py OUT.c HEADER NAME FILE…: the files' texts as NAME[], an array of struct embedded_file
{name, text} that ends with NULLs.  HEADER declares both."""
import sys
from pathlib import Path

sys.dont_write_bytecode = True

from gen_common import c_lines, c_string

out, header, name, *paths = sys.argv[1:]
rows = ''.join(f'    {{{c_string(Path(p).name)},\n    {c_lines(Path(p).read_text())}}},\n' for p in paths)
Path(out).write_text(f'#include "{header}"\n\nconst struct embedded_file {name}[] = {{\n{rows}    {{0}},\n}};\n')
