#!/bin/sh
# Check src/ and copy it to out/; touch the trigger only if that worked (-e: the first command that fails is the last).
set -eu
cd "$(dirname "$0")"
python -c 'compile(open("src/page.py").read(), "src/page.py", "exec")'
mkdir -p out
cp src/page.py out/page.py
touch out/built
echo 'built out/page.py'
