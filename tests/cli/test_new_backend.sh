#!/usr/bin/env bash
# tools/new-backend makes what it says, or says why not. What it makes builds without a warning in C and is certified
# by test_guide.py.
set -euo pipefail

work=$(mktemp -d "$NLM_BUILD/test-new-backend-XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
tool=$NLM_SOURCE/tools/new-backend

fail() {
    echo "FAILED: $*"
    exit 1
}

# refused WORDS CODE ARGUMENT...: fails with that code and those words, and makes nothing.
refused() {
    local words=$1 expected=$2 code=0
    shift 2
    "$tool" "$@" >out.txt 2>err.txt || code=$?
    [ $code = "$expected" ] || fail "new-backend $*: exit $code, expected $expected"
    grep -qF -- "$words" err.txt || fail "new-backend $*: does not say '$words': $(cat err.txt)"
    [ -z "$(find . -mindepth 1 -type d -newer mark ! -name taken)" ] || fail "new-backend $* made a folder"
}

mkdir taken
ln -s nowhere dangling
touch mark

echo "- bad names"
long=$(printf 'x%.0s' {1..64})
for name in Demo 1st _x my-backend 'a b' ../up '' 'x;y'; do refused "is no name" 1 "$name"; done
refused "64 characters, at most 63" 1 "$long"
refused "clash with nlm's own" 1 nlm_fast
refused "is a name of nlm's own backends" 1 cpu_scalar

echo "- bad folders"
refused "taken exists already" 1 demo taken
refused "taken exists already" 1 taken
refused "dangling exists already" 1 demo dangling
refused "no folder ./no/such" 1 demo ./no/such/folder

echo "- wrong use"
refused "usage: new-backend" 2
refused "usage: new-backend" 2 a b c
"$tool" --help | grep -q "usage: new-backend" || fail "--help"

echo "- what it makes has its name everywhere and compiles without a warning"
"$tool" mine "folder of mine" >out.txt
grep -rq skeleton "folder of mine" && fail "the word skeleton is left: $(grep -r skeleton "folder of mine")"
for file in CMakeLists.txt README.md mine.c mine.h ops/matmul.c plugin.map plugins.toml; do
    [ -s "folder of mine/$file" ] || fail "no $file"
done
cd "folder of mine"
for source in mine.c ops/matmul.c; do
    "${CC:-cc}" -std=c11 -Wall -Wextra -Wconversion -pedantic -Werror -fsyntax-only -I. "-I$NLM_SOURCE/core/include" "$source"
done
echo "ok"
