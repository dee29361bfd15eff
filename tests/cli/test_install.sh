#!/usr/bin/env bash
# An installed tree works from wherever it is moved to: its programs find its plugins, other projects find
# it with pkg-config and CMake, its headers compile alone, and the library exports what nlm.h declares.
set -euo pipefail

[ -z "${NLM_SANITIZE:-}" ] || { echo "skipped: programs outside the build do not carry the sanitizers"; exit 77; }

work=$(mktemp -d "$NLM_BUILD/test-install-XXXXXX")
trap 'rm -rf "$work"' EXIT
unset NLM_PLUGIN_REGISTRY NLM_PLUGIN_REGISTRY_ADD LD_LIBRARY_PATH

fail() {
    echo "FAILED: $*"
    exit 1
}

cmake --install "$NLM_BUILD" --prefix "$work/first" >"$work/install.log"
mv "$work/first" "$work/moved"
tree=$work/moved
library=$(find "$tree" -name libnlm.so)
libdir=${library%/*}
export PKG_CONFIG_PATH=$libdir/pkgconfig

echo "- programs find the plugins of their tree from another folder"
cd /
"$tree/bin/nlm-plugins" >"$work/plugins.txt" || fail "nlm-plugins: exit $?"
grep -q cpu_scalar "$work/plugins.txt" || fail "nlm-plugins does not list cpu_scalar: $(cat "$work/plugins.txt")"
"$tree/bin/nlm-plugins" --json >"$work/plugins.json"
"$NLM_PYTHON" - "$work/plugins.json" "$libdir/nlm/" <<'PYTHON' || fail "$(cat "$work/plugins.json")"
import json, sys
plugins = json.load(open(sys.argv[1]))["plugins"]
scalar = [p for p in plugins if p["name"] == "cpu_scalar"]
assert scalar and scalar[0]["state"] == "ready", "cpu_scalar is not ready"
assert all(p["library"].startswith(sys.argv[2]) for p in plugins), "a plugin of another tree"
PYTHON

echo "- a backend of somebody else's is vetted by the tree's own nlm-vet"
mkdir "$work/other"
cp "$NLM_BUILD/tests/fixtures/good.so" "$work/other"
printf '[[plugin]]\nname = "good"\nlibrary = "good.so"\n' >"$work/other/plugins.toml"
XDG_CACHE_HOME=$work "$tree/bin/nlm-plugins" --registry "$work/other/plugins.toml" >"$work/other.txt"
grep -q 'fixture device' "$work/other.txt" || fail "$(cat "$work/other.txt")"

echo "- nlm-conform finds its models"
"$tree/bin/nlm-conform" --backend cpu_scalar --filter models/mamba-f32 >"$work/conform.txt" || fail "$(cat "$work/conform.txt")"

echo "- what its documents link to is there"
"$NLM_PYTHON" - "$tree/share/doc/nlm" <<'PYTHON' || fail "a link of an installed document leads nowhere"
import pathlib, re, sys
folder = pathlib.Path(sys.argv[1])
links = [(page, link) for page in folder.rglob("*.md") for link in re.findall(r"\]\(([^):#]+)\)", page.read_text())]
missing = [f"{page}: {link}" for page, link in links if not (page.parent / link).exists()]
assert len(links) > 5 and not missing, missing
for name in ("docs/abi-rules.md", "docs/training.md", "docs/writing-a-backend.md", "examples/generate.c",
             "examples/generate.py", "examples/train.py",
             "examples/example_stream/CMakeLists.txt", "examples/example_stream/device.h"):
    assert (folder / name).exists(), name
PYTHON

echo "- no binary looks for libraries at an absolute path"
find "$tree" -type f \( -path '*/bin/*' -o -name '*.so*' \) | while read -r binary; do
    if readelf -d "$binary" | grep -E 'R(UN)?PATH' | grep -qE '(\[|:)/'; then fail "$binary has an absolute RPATH"; fi
done

echo "- libnlm.so exports exactly what nlm.h, sampler.h, text.h, grammar.h, train.h and mamba.h declare"
sed -nE 's/^NLM_API .*[ *](nlm_[a-z0-9_]+)\(.*/\1/p' "$tree"/include/nlm/{nlm,sampler,text,grammar,train,mamba}.h | sort >"$work/declared"
nm -D --defined-only "$library" | sed -nE 's/.* T ([^@]*)(@.*)?$/\1/p' | sort >"$work/exported"
nm -D --defined-only "$library" | grep -vE ' (T nlm_|A NLM_)' && fail "other symbols are exported"
[ "$(grep -c nlm_training_ "$work/declared")" -gt 7 ] || fail "the declarations of the headers were not recognised"
diff "$work/declared" "$work/exported" || fail "declared (<) and exported (>) functions differ"

mkdir "$work/project"
cat >"$work/project/program.c" <<'C'
#include <nlm/nlm.h>
#include <stdio.h>

int main(void) {
    nlm_error error = NLM_ERROR_INIT;
    nlm_engine_options options = {.struct_size = (uint32_t)sizeof options, .backend = "cpu_scalar", .threads = 1};
    nlm_engine_info info = {.struct_size = (uint32_t)sizeof info};
    nlm_engine *engine = NULL;
    if (nlm_api_version() >> 16 != NLM_API_MAJOR) return 2;
    if (nlm_engine_create(&options, &engine, &error) != NLM_OK || nlm_engine_describe(engine, &info, &error) != NLM_OK) {
        fprintf(stderr, "%s: %s\n", error.where, error.msg);
        return 1;
    }
    printf("%s %s\n", nlm_version(), info.backend);
    nlm_engine_destroy(engine);
    return 0;
}
C
cat >"$work/project/plugin.c" <<'C'
#include <nlm/plugin.h>

const nlm_plugin_v1 *nlm_plugin_query_v1(uint32_t host_minor) {
    (void)host_minor;
    return NULL;
}
C
cat >"$work/project/CMakeLists.txt" <<'CMAKE'
cmake_minimum_required(VERSION 3.25)
project(embedding LANGUAGES C)
find_package(nlm 0.1 REQUIRED)
add_executable(program program.c)
target_link_libraries(program PRIVATE nlm::nlm)
add_library(plugin MODULE plugin.c)
target_link_libraries(plugin PRIVATE nlm::plugin)
CMAKE
version=$(pkg-config --modversion nlm)

echo "- a program finds the tree with pkg-config"
# shellcheck disable=SC2046
"${CC:-cc}" -std=c11 "$work/project/program.c" $(pkg-config --cflags --libs nlm) "-Wl,-rpath,$libdir" -o "$work/program"
[ "$("$work/program")" = "$version cpu_scalar" ] || fail "the program made with pkg-config"

echo "- a program and a plugin find it with find_package"
cmake -S "$work/project" -B "$work/project/build" "-DCMAKE_PREFIX_PATH=$tree" >"$work/cmake.log" 2>&1 &&
    cmake --build "$work/project/build" >>"$work/cmake.log" 2>&1 || fail "$(tail -n 20 "$work/cmake.log")"
[ "$("$work/project/build/program")" = "$version cpu_scalar" ] || fail "the program made with find_package"

echo "- every public header compiles alone as C11 and as C++17"
for header in "$tree"/include/nlm/*.h; do
    strict=(-fsyntax-only -pedantic -Wall -Wextra -Wconversion -Werror "-I$tree/include" -)
    name=nlm/${header##*/}
    "${CC:-cc}" -std=c11 -x c "${strict[@]}" <<<"#include <$name>" || fail "$name as C11"
    "${CXX:-c++}" -std=c++17 -x c++ "${strict[@]}" <<<"#include <$name>" || fail "$name as C++17"
done
echo "ok"
