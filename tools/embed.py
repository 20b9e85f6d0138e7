#!/usr/bin/python3
"""embed.py FILE OUT.c NAME: FILE as `const char NAME[]; const size_t NAME_bytes;`, a NUL behind it."""
import sys

source, out, name = sys.argv[1:]
data = open(source, 'rb').read() + b'\0'
numbers = [str(b - 256 if b > 127 else b) for b in data]     # a char is signed here
rows = [','.join(numbers[i:i + 24]) for i in range(0, len(numbers), 24)]
with open(out, 'w') as f:
    f.write('#include <stddef.h>\n'
            f'extern const char {name}[];\nextern const size_t {name}_bytes;\n'
            f'const char {name}[] = {{\n' + ',\n'.join(rows) + '};\n'
            f'const size_t {name}_bytes = sizeof {name} - 1;\n')
